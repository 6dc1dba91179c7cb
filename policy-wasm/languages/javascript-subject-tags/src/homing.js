// Tags the subject of mail from outside, and refuses listed phrases in subjects.

export const rules = [
  { name: 'subject', summary: 'mail from outside with one of these phrases in its subject is refused' },
  { name: 'tag', summary: 'the subject of mail from outside begins with the tag' },
  { name: 'inside', summary: 'mail of clients that authenticated or need not stays as it is' },
];

/** Checks of each setting. Each returns the problems of a value: key (within the value) and text. */
export const keys = {
  tag: (value) => (typeof value === 'string' && /^[ -~]{1,40}$/.test(value) ? [] : [['', 'expected 1 to 40 characters of ASCII']]),
  refuse(value) {
    if (!Array.isArray(value)) return [['', 'expected a list of text']];
    return value.flatMap((phrase, at) =>
      typeof phrase === 'string' && phrase.trim() !== '' ? [] : [[`[${at}]`, 'expected text']]);
  },
};

let tag = '[external]';
let refused = [];

export function configure(settings) {
  tag = settings.tag ?? '[external]';
  refused = (settings.refuse ?? []).map((phrase) => phrase.toLowerCase());
}

/** A header line is at most 998 bytes (RFC 5322 section 2.1.1); the contract counts name and value. */
const LONGEST = 998 - 'Subject'.length;

const because = (rule, entry) => ({ rule, entry });
const pass = () => ({ verdict: { tag: 'pass' }, because: because('inside') });

export const homing = {
  checkSender: pass,
  checkRecipient: pass,

  checkMessage(client, envelope, message) {
    const subjects = message.header('Subject');
    // Borrowed handles must be dropped before the function returns; a handle left over is a fault.
    message[Symbol.dispose]();
    if (client.identity != null || isTrusted(client)) return [{ tag: 'pass' }, because('inside')];
    const phrase = refused.find((phrase) => subjects.some((subject) => subject.toLowerCase().includes(phrase)));
    if (phrase !== undefined) {
      const reply = { code: 554, status: [5, 7, 1], text: 'A message with this subject is not accepted' };
      return [{ tag: 'reject', val: reply }, because('subject', phrase)];
    }
    // A message with two subjects keeps neither: both fields are replaced by one.
    const tagged = [tag, subjects[0] ?? ''].join(' ').trimEnd();
    const isTagged = subjects.length === 1 && subjects[0].startsWith(tag);
    if (isTagged || !isShort(tagged)) return [{ tag: 'pass' }, because('tag')];
    const edits = [
      { tag: 'remove-header', val: 'Subject' },
      { tag: 'add-header', val: ['Subject', tagged] },
    ];
    return [{ tag: 'accept', val: edits }, because('tag', tag)];
  },
};

/** Only these exemptions mark a trusted client; mail from the world is exempt from homing on its listener, too. */
const isTrusted = (client) => client.exemptions.includes('authentication');

/** Upper bound of the length in UTF-8: at most three bytes for each unit of UTF-16. */
const isShort = (text) => text.length * (/^[ -~]*$/.test(text) ? 1 : 3) <= LONGEST;
