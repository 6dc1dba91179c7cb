//! Decisions about a sender, a recipient or a message, taken by the state that waits for the decision.

use super::connection::Session;
use super::state::{AskRecipient, AskSender, Conversation, MailTransaction, Phase, Receiving, Step};
use crate::session::path::Mail;
use crate::session::replies;
use host_contract::Verdict;
use host_mail::{BodyType, Envelope, Reply};

impl AskSender {
    /// Session of the client.
    pub fn session(&self) -> &Session {
        &self.session
    }

    /// Argument of MAIL.
    pub fn mail(&self) -> &Mail {
        &self.mail
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
            Verdict::Reject(reply) | Verdict::Defer(reply) => Conversation::greeted(self.session).reply(reply),
        }
    }
}

impl<P> AskRecipient<P> {
    /// Adds the recipient if accepted. The transaction continues in any case.
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
        .reply(reply)
    }
}

impl<P> Receiving<P> {
    /// True if MAIL announced octets above 127 (RFC 6152 section 3, RFC 6531 section 3.6).
    pub fn allows_eight_bit(&self) -> bool {
        let envelope = &self.transaction.envelope;
        envelope.smtputf8 || envelope.body == BodyType::EightBitMime
    }

    /// Ends the transaction, with any reply (RFC 5321 section 4.1.1.4).
    pub fn done(self, reply: Reply) -> Step<P> {
        Conversation::greeted(self.session).reply(reply)
    }
}
