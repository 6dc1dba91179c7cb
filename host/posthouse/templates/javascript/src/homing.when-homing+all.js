// Homing of mail: the listed recipients get no mail.
import { texts } from './lifecycle.js';

export const rules = [{ name: 'refuse', summary: 'recipients that get no mail' }];
export const keys = { refuse: texts };

let refused = new Set();

export function configure(settings) {
  refused = new Set((settings.refuse ?? []).map((address) => address.toLowerCase()));
}

const because = (entry) => ({ rule: 'refuse', entry });
const pass = () => ({ verdict: { tag: 'pass' }, because: because() });

export const homing = {
  // `client.identity` is missing for exempt hosts and for mail from outside: `client.identity?.account`.
  checkSender(client, sender) {
    return pass();
  },

  checkRecipient(client, sender, recipient) {
    if (!refused.has(recipient.toLowerCase())) return pass();
    const reply = { code: 550, status: [5, 7, 1], text: 'This recipient gets no mail' };
    return { verdict: { tag: 'reject', val: reply }, because: because(recipient) };
  },

  checkMessage(client, envelope, message) {
    // The message is borrowed; a handle that is not disposed when the function returns is a fault.
    message[Symbol.dispose]();
    return [{ tag: 'pass' }, because()];
  },
};
