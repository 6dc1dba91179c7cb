//! Decisions about a sender, a recipient or a message, taken by the state that waits for the decision.

use super::connection::Session;
use super::state::{AskRecipient, AskSender, Conversation, MailTransaction, Phase, Receiving, Step};
use crate::session::path::Mail;
use crate::session::replies;
use host_contract::Verdict;
use host_mail::{BodyType, Envelope, Mailbox, Reply, ReversePath};

impl AskSender {
    /// Session of the client.
    pub fn session(&self) -> &Session {
        &self.session
    }

    /// Argument of MAIL.
    pub fn mail(&self) -> &Mail {
        &self.mail
    }

    /// Replaces the reverse-path.
    pub fn replace_sender(&mut self, sender: Mailbox) {
        self.mail.sender = ReversePath::Mailbox(sender);
    }

    /// Begins the transaction if the sender is accepted; otherwise drops `active`.
    pub fn answer<P>(self, verdict: Verdict, active: P) -> Step<P> {
        match verdict {
            Verdict::Accept => {
                let envelope = Envelope {
                    sender: self.mail.sender,
                    recipients: Vec::new(),
                    body: self.mail.body,
                    smtputf8: self.mail.smtputf8,
                };
                let transaction = MailTransaction {
                    envelope,
                    active,
                    refused: 0,
                    full: false,
                };
                let next = Conversation {
                    session: self.session,
                    phase: Phase::Mail(transaction),
                };
                next.reply(replies::sender_ok())
            }
            Verdict::Reject(reply) => Conversation::greeted(self.session).mistake(reply),
            Verdict::Defer(reply) => Conversation::greeted(self.session).reply(reply),
        }
    }
}

impl<P> AskRecipient<P> {
    /// Adds the recipient if accepted. The transaction continues in any case, until refused recipients in excess of the
    /// accepted ones reach the limit of errors.
    pub fn answer(mut self, verdict: Verdict) -> Step<P> {
        let reply = match verdict {
            Verdict::Accept => {
                self.transaction.envelope.recipients.push(self.recipient);
                replies::recipient_ok()
            }
            Verdict::Reject(reply) | Verdict::Defer(reply) => {
                self.transaction.refused += 1;
                let accepted = self.transaction.envelope.recipients.len();
                let excess = self.transaction.refused.saturating_sub(accepted);
                if let Err(closing_reply) = self.session.check_errors(excess) {
                    return Step::Close(closing_reply, Some("too many errors"));
                }
                reply
            }
        };
        let phase = Phase::Mail(self.transaction);
        Conversation {
            session: self.session,
            phase,
        }
        .reply(reply)
    }
}

impl<P> Receiving<P> {
    /// True if MAIL announced octets above 127 (RFC 6152 section 3, RFC 6531 section 3.6), or need not.
    pub fn allows_eight_bit(&self) -> bool {
        let envelope = &self.transaction.envelope;
        self.session.rules.undeclared_eight_bit || envelope.smtputf8 || envelope.body == BodyType::EightBitMime
    }

    /// Notes that the message has octets above 127, announced or not: it goes on as 8BITMIME.
    pub fn note_eight_bit(&mut self) {
        self.transaction.envelope.body = BodyType::EightBitMime;
    }

    /// Ends the transaction, with any reply (RFC 5321 section 4.1.1.4). An accepted message clears the count of errors;
    /// a refused one is an error.
    pub fn done(mut self, reply: Reply) -> Step<P> {
        match reply.code {
            200..=299 => self.session.clear_errors(),
            500.. => {
                self.session.add_errors(self.transaction.refused);
                return Conversation::greeted(self.session).mistake(reply);
            }
            _ => self.session.add_errors(self.transaction.refused),
        }
        Conversation::greeted(self.session).reply(reply)
    }
}
