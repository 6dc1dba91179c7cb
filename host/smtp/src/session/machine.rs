//! The dialogue as a pure machine: no I/O, no clock, no tokio.
//!
//! Each state is a type that takes exactly the input it waits for, is consumed by it and gives the
//! next [`Step`]: what the driver does, with the state that takes the result. So a verdict nobody
//! asked for, or RCPT before MAIL, cannot be written down.
//!
//! ```text
//!            command             answer               answer
//! Conversation ───► AskSender ───► Conversation ───► AskRecipient ───► Conversation
//!      │                            with Transaction                        │ DATA
//!      ├──► Authenticating ───► Verifying ───► Conversation                 ▼
//!      └──► Handshake ───► Conversation                Conversation ◄─── Receiving
//! ```
//!
//! [`Session`] lives as long as the connection, [`Transaction`] as long as the message: dropping the
//! transaction *is* RSET. `P` is whatever the driver wants dropped with it.

mod connection;
mod handshake;
mod pending;
#[cfg(test)]
mod tests;

use super::command::Command;
use super::path::{self, ForwardPath, Mail};
use super::replies;
use host_mail::{Envelope, Reply};

pub use crate::session::machine::connection::{Rules, Session};
pub use crate::session::machine::handshake::{Authenticating, Handshake, Verified, Verifying};
pub use crate::session::machine::pending::{AskRecipient, AskSender, Receiving};

/// What the driver does next.
#[derive(Debug)]
pub enum Step<P> {
    /// Say this, if anything; then read a command.
    Listen(Option<Reply>, Conversation<P>),
    /// As `Listen`, and tell the operator that a transaction reached the limit of recipients.
    RecipientsFull(Reply, Conversation<P>),
    /// Say this, then read a response.
    Challenge(Reply, Authenticating),
    /// Have these credentials verified.
    Verify(Verifying),
    /// Tell the operator that an exchange claimed to act for somebody else, then go on with the state.
    Impersonation(Verifying),
    /// Say this, then begin TLS.
    StartTls(Reply, Handshake),
    /// Ask about the sender.
    AskSender(AskSender),
    /// Ask about a recipient.
    AskRecipient(AskRecipient<P>),
    /// Receive a message and decide about it.
    Receive(Receiving<P>),
    /// Say this, then close. The reason is none when the client asked for it.
    Close(Reply, Option<&'static str>),
}

/// A mail transaction from an accepted MAIL on.
#[derive(Debug)]
pub struct Transaction<P> {
    /// As given so far.
    pub envelope: Envelope,
    /// The driver's.
    pub policy: P,
    /// Recipients the policy did not take. They count, so that nobody probes addresses without end.
    refused: usize,
    /// The operator has been told that there were too many recipients.
    full: bool,
}

/// What the client has done so far.
#[derive(Debug)]
enum Phase<P> {
    /// Nothing, or nothing that counts after STARTTLS.
    Connected,
    /// EHLO or HELO.
    Greeted,
    /// MAIL, and RCPT as often as the envelope shows.
    Mail(Transaction<P>),
}

/// Waits for a command.
#[derive(Debug)]
pub struct Conversation<P> {
    session: Box<Session>,
    phase: Phase<P>,
}

/// The first step of a connection that was admitted.
pub fn greet<P>(session: Session) -> Step<P> {
    let banner = replies::banner(&session.rules.hostname);
    let next = Conversation {
        session: Box::new(session),
        phase: Phase::Connected,
    };
    Step::Listen(Some(banner), next)
}

impl<P> Conversation<P> {
    /// What is known of the connection.
    pub fn session(&self) -> &Session {
        &self.session
    }

    /// Nothing would be lost if the connection ended here.
    pub fn is_between_transactions(&self) -> bool {
        !matches!(self.phase, Phase::Mail(_))
    }

    /// What the driver keeps for the transaction, if one is under way.
    pub fn policy(&mut self) -> Option<&mut P> {
        match &mut self.phase {
            Phase::Mail(transaction) => Some(&mut transaction.policy),
            Phase::Connected | Phase::Greeted => None,
        }
    }

    /// Takes a line without its CR LF.
    pub fn command(self, line: &[u8]) -> Step<P> {
        let hostname = &self.session.rules.hostname;
        match Command::parse(line) {
            Err(reply) => self.mistake(reply),
            Ok(Command::Ehlo(name)) => self.hello(name, true),
            Ok(Command::Helo(name)) => self.hello(name, false),
            Ok(Command::Mail(mail)) => self.mail(mail),
            Ok(Command::Rcpt(path)) => self.rcpt(path),
            Ok(Command::Data) => self.data(),
            Ok(Command::Auth(mechanism, initial)) => self.auth(&mechanism, initial.as_ref()),
            Ok(Command::StartTls) => self.start_tls(),
            Ok(Command::Rset) => self.reset(),
            Ok(Command::Noop) => self.say(replies::ok()),
            Ok(Command::Help) => self.say(replies::help()),
            Ok(Command::Vrfy) => self.say(replies::cannot_verify()),
            Ok(Command::Quit) => Step::Close(replies::bye(hostname), None),
            Ok(Command::Http) => Step::Close(replies::not_http(), Some("an HTTP request")),
        }
    }

    /// RFC 5321 section 4.1.1.1; also ends a transaction (section 4.1.4).
    fn hello(mut self, name: String, extended: bool) -> Step<P> {
        self.session.client.helo = Some(name);
        self.session.extended = extended;
        let reply = if extended {
            self.session.extensions()
        } else {
            replies::hello(&self.session.rules.hostname)
        };
        Self::greeted(self.session).say(reply)
    }

    /// RFC 5321 section 4.1.1.2.
    fn mail(mut self, mail: Mail) -> Step<P> {
        match self.phase {
            Phase::Connected => return self.mistake(replies::out_of_order("Send EHLO or HELO first")),
            Phase::Mail(_) => return self.mistake(replies::out_of_order("One transaction at a time")),
            Phase::Greeted => {}
        }
        if let Some(owed) = self.session.owed() {
            return self.mistake(owed);
        }
        let rules = &self.session.rules;
        if mail.size.is_some_and(|size| size > rules.message_size) {
            return self.say(replies::too_big());
        }
        if !path::allowed_without_utf8(mail.sender.mailbox(), mail.smtputf8) {
            return self.say(replies::needs_smtputf8());
        }
        if self.session.transactions >= rules.transactions {
            let reply = replies::too_many_transactions(&rules.hostname);
            return Step::Close(reply, Some("too many transactions"));
        }
        self.session.transactions += 1;
        Step::AskSender(AskSender {
            session: self.session,
            mail,
        })
    }

    /// RFC 5321 section 4.1.1.3.
    fn rcpt(self, path: ForwardPath) -> Step<P> {
        let Self {
            session,
            phase: Phase::Mail(mut transaction),
        } = self
        else {
            return self.mistake(replies::out_of_order("Send MAIL first"));
        };
        let recipient = match path {
            ForwardPath::Mailbox(mailbox) => Ok(mailbox),
            ForwardPath::Postmaster => path::postmaster(&session.rules.hostname),
        };
        let recipients = &transaction.envelope.recipients;
        let full = recipients.len() + transaction.refused >= session.rules.recipients;
        let refusal = match recipient {
            Err(error) => Some(replies::bad_recipient(error)),
            Ok(ref mailbox) if !path::allowed_without_utf8(Some(mailbox), transaction.envelope.smtputf8) => {
                Some(replies::needs_smtputf8())
            }
            // Once is enough: it was accepted, and is delivered once.
            Ok(ref mailbox) if recipients.contains(mailbox) => Some(replies::recipient_ok()),
            Ok(_) if full => Some(replies::too_many_recipients()),
            Ok(recipient) => {
                return Step::AskRecipient(AskRecipient {
                    session,
                    transaction,
                    recipient,
                });
            }
        };
        let first = full && !std::mem::replace(&mut transaction.full, full);
        let next = Self {
            session,
            phase: Phase::Mail(transaction),
        };
        match refusal {
            Some(reply) if first => Step::RecipientsFull(reply, next),
            reply => Step::Listen(reply, next),
        }
    }

    /// RFC 5321 section 4.1.1.4.
    fn data(self) -> Step<P> {
        match self.phase {
            Phase::Mail(transaction) if !transaction.envelope.recipients.is_empty() => Step::Receive(Receiving {
                session: self.session,
                transaction,
            }),
            Phase::Mail(_) => self.say(replies::no_recipients()),
            _ => self.mistake(replies::out_of_order("Send MAIL and RCPT first")),
        }
    }

    /// RFC 5321 section 4.1.1.5.
    fn reset(self) -> Step<P> {
        let phase = match self.phase {
            Phase::Connected => Phase::Connected,
            Phase::Greeted | Phase::Mail(_) => Phase::Greeted,
        };
        Self {
            session: self.session,
            phase,
        }
        .say(replies::ok())
    }

    fn greeted(session: Box<Session>) -> Self {
        Self {
            session,
            phase: Phase::Greeted,
        }
    }

    fn say(self, reply: Reply) -> Step<P> {
        Step::Listen(Some(reply), self)
    }

    /// Something a well-made client does not do: it may happen, but not without end.
    fn mistake(mut self, reply: Reply) -> Step<P> {
        match self.session.count_error() {
            Ok(()) => self.say(reply),
            Err(farewell) => Step::Close(farewell, Some("too many errors")),
        }
    }
}
