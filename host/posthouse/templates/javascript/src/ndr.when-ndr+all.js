// Notices about undeliverable mail: people are notified, automatic senders are not (RFC 3834).
import { truth } from './lifecycle.js';

export const rules = [
  { name: 'automatic', summary: 'automatic mail is not answered (RFC 3834)' },
  { name: 'report', summary: 'the sender is told, and the administrator if the settings say so' },
];
export const keys = { administrator: truth };

let administrator = false;

export function configure(settings) {
  administrator = settings.administrator ?? false;
}

export const ndr = {
  // `failure.identity` is missing for exempt hosts, for mail from outside and for the host's own.
  plan(failure) {
    if (failure.automatic || failure.envelope.sender.tag === 'null') return [[], { rule: 'automatic' }];
    const notices = [{ to: { tag: 'sender' }, content: 'headers' }];
    if (administrator) notices.push({ to: { tag: 'administrator' }, content: 'headers' });
    return [notices, { rule: 'report' }];
  },
};
