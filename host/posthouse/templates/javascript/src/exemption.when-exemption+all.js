// Admission of connections: the listed clients are refused.
import { texts } from './lifecycle.js';

export const rules = [{ name: 'client', summary: 'clients that are sent away' }];
export const keys = { 'refuse-clients': texts };

let refused = new Set();

export function configure(settings) {
  refused = new Set(settings['refuse-clients']);
}

const because = (entry) => ({ rule: 'client', entry });

export const exemption = {
  admit(client) {
    if (!refused.has(client.address)) return [{ tag: 'pass' }, because()];
    const reply = { code: 554, status: [5, 7, 1], text: 'No mail from this address' };
    return [{ tag: 'refuse', val: reply }, because(client.address)];
  },
};
