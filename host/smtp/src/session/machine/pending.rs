//! States that wait for a decision about a sender, a recipient or a message.

use super::{Conversation, Mail, Phase, Session, Step, Transaction, replies};
use host_contract::Verdict;
use host_mail::{BodyType, Envelope, Mailbox, Reply};

/// Waits for the verdict on MAIL.
#[derive(Debug)]
pub struct AskSender {
    pub(super) session: Box<Session>,
    pub(super) mail: Mail,
}

impl AskSender {
    /// Who asks.
    pub fn session(&self) -> &Session {
        &self.session
    }

    /// What MAIL said.
    pub fn mail(&self) -> &Mail {
        &self.mail
    }

    /// Begins the transaction or not; without one `policy` is dropped.
    pub fn answer<P>(self, verdict: Verdict, policy: P) -> Step<P> {
        match verdict {
            Verdict::Accept => {
                let envelope = Envelope {
                    sender: self.mail.sender,
                    recipients: Vec::new(),
                    body: self.mail.body,
                    smtputf8: self.mail.smtputf8,
                };
                let transaction = Transaction {
                    envelope,
                    policy,
                    refused: 0,
                    full: false,
                };
                let next = Conversation {
                    session: self.session,
                    phase: Phase::Mail(transaction),
                };
                next.say(replies::sender_ok())
            }
            Verdict::Reject(reply) | Verdict::Defer(reply) => Conversation::greeted(self.session).say(reply),
        }
    }
}

/// Waits for the verdict on RCPT.
#[derive(Debug)]
pub struct AskRecipient<P> {
    /// Who asks.
    pub session: Box<Session>,
    /// What is known so far.
    pub transaction: Transaction<P>,
    /// The one that is asked about.
    pub recipient: Mailbox,
}

impl<P> AskRecipient<P> {
    /// Adds the recipient or not; the transaction goes on in any case.
    pub fn answer(mut self, verdict: Verdict) -> Step<P> {
        let reply = match verdict {
            Verdict::Accept => {
                self.transaction.envelope.recipients.push(self.recipient);
                replies::recipient_ok()
            }
            Verdict::Reject(reply) | Verdict::Defer(reply) => {
                self.transaction.refused += 1;
                reply
            }
        };
        let phase = Phase::Mail(self.transaction);
        Conversation {
            session: self.session,
            phase,
        }
        .say(reply)
    }
}

/// Waits for a message and what became of it.
#[derive(Debug)]
pub struct Receiving<P> {
    /// Who sends it.
    pub session: Box<Session>,
    /// The complete envelope.
    pub transaction: Transaction<P>,
}

impl<P> Receiving<P> {
    /// MAIL announced octets above 127 (RFC 6152 section 3, RFC 6531 section 3.6).
    pub fn allows_eight_bit(&self) -> bool {
        let envelope = &self.transaction.envelope;
        envelope.smtputf8 || envelope.body == BodyType::EightBitMime
    }

    /// The transaction is over, whatever the reply (RFC 5321 section 4.1.1.4).
    pub fn done(self, reply: Reply) -> Step<P> {
        Conversation::greeted(self.session).say(reply)
    }
}
