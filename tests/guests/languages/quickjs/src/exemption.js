// Wrong in the way the last number of the client's address says: for the host to survive. It takes the place of
// the template's file of this name.

export const rules = [{ name: 'mischief', summary: 'does what the address says' }];
export const keys = {};
export const configure = () => {};

const because = (entry) => ({ rule: 'mischief', entry });
const pass = () => [{ tag: 'pass' }, because()];
const refuse = (code, text) => [{ tag: 'refuse', val: { code, status: [5, 7, 1], text } }, because()];

const throws = (client) => [{ tag: 'pass' }, because(client.identity.account)];
const loops = () => {
  for (;;);
};
const recurses = (client) => recurses(client) && pass();
const allocates = () => {
  const kept = [];
  for (;;) kept.push(new Uint8Array(1 << 20));
};
const nonsense = () => refuse(250, 'OK');
const forges = () => refuse(554, 'No\r\n250 OK');
const mistypes = () => 'pass';

const modes = { 11: throws, 12: loops, 13: recurses, 14: allocates, 15: nonsense, 16: forges, 17: mistypes };

export const exemption = {
  admit(client) {
    const mode = modes[client.address.split('.').pop()];
    return mode ? mode(client) : pass();
  },
};
