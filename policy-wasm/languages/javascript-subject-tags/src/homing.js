// Mail from outside says so in its subject, and some subjects are refused.

export const rules = [
  { name: 'subject', summary: 'mail from outside with one of these phrases in its subject is refused' },
  { name: 'tag', summary: 'the subject of mail from outside begins with the tag' },
  { name: 'inside', summary: 'mail of clients that authenticated or need not stays as it is' },
];

/** What each setting must be: key (within the value) and text of what is wrong. */
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
    // It was lent; what is not given back when the function returns is a fault.
    message[Symbol.dispose]();
    if (client.identity != null || isTrusted(client)) return [{ tag: 'pass' }, because('inside')];
    const phrase = refused.find((phrase) => subjects.some((subject) => subject.toLowerCase().includes(phrase)));
    if (phrase !== undefined) {
      const reply = { code: 554, status: [5, 7, 1], text: 'A message with this subject is not accepted' };
      return [{ tag: 'reject', val: reply }, because('subject', phrase)];
    }
    // The second field of a message that has two is as good as none: it goes, with the first.
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

/** Other exemptions say nothing of the kind: the world is excused from homing where it delivers. */
const isTrusted = (client) => client.exemptions.includes('authentication');

/** Bytes of UTF-8 are at most three for each unit of UTF-16: good enough for a limit. */
const isShort = (text) => text.length * (/^[ -~]*$/.test(text) ? 1 : 3) <= LONGEST;
