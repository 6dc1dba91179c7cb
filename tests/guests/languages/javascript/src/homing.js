// Wrong in the way the recipient's local part says: for the host to survive. It takes the place of the
// template's file of this name.

export const rules = [{ name: 'mischief', summary: 'does what the recipient says' }];
export const keys = {};
export const configure = () => {};

const because = (entry) => ({ rule: 'mischief', entry });
const pass = () => ({ verdict: { tag: 'pass' }, because: because() });
const reject = (code, text) => ({ verdict: { tag: 'reject', val: { code, status: [5, 7, 1], text } }, because: because() });

const modes = {
  throw(client) {
    return { verdict: { tag: 'pass' }, because: because(client.identity.account) };
  },
  loop() {
    for (;;);
  },
  recurse(client) {
    return modes.recurse(client) && pass();
  },
  allocate() {
    const kept = [];
    for (;;) kept.push(new Uint8Array(1 << 20));
  },
  nonsense: () => reject(250, 'OK'),
  forge: () => reject(550, 'No\r\n250 OK'),
  mistype: () => 'pass',
};

export const homing = {
  checkSender: pass,
  checkRecipient(client, sender, recipient) {
    const mode = modes[recipient.split('@')[0]];
    return mode ? mode(client) : pass();
  },
  checkMessage(client, envelope, message) {
    message[Symbol.dispose]();
    return [{ tag: 'pass' }, because()];
  },
};
