//! The SMTP dialogue as a pure state machine: no I/O, no clock, no tokio.
//!
//! Each state is a type that accepts exactly the input that the state waits for. The input consumes the state and
//! returns the next [`Step`]: an action for the driver, with the state that takes the result. A verdict without a
//! question, or RCPT before MAIL, cannot be expressed.
//!
//! ```text
//!            command             answer               answer
//! Conversation ───► AskSender ───► Conversation ───► AskRecipient ───► Conversation
//!      │                            with MailTransaction                    │ DATA
//!      ├──► Authenticating ───► Verifying ───► Conversation                 ▼
//!      └──► Handshake ───► Conversation                Conversation ◄─── Receiving
//! ```
//!
//! [`Session`] lives as long as the connection, [`state::MailTransaction`] as long as the message: dropping the
//! transaction *is* RSET. `P` is the driver's state of a transaction, dropped together with the transaction.

mod connection;
mod handshake;
mod pending;
mod state;
#[cfg(test)]
mod tests;

use super::command::{Command, is_strict_hello};
use super::path::{self, ForwardPath, Mail};
use super::replies;
use crate::session::machine::state::Phase;

pub use crate::session::machine::connection::{ConnectionOffer, Rules, Session};
pub use crate::session::machine::state::{
    AskRecipient, AskSender, Conversation, FindingVerifier, Handshake, Receiving, RejectedLogin, Step, Verifying,
};

/// Returns the first step of a connection that was admitted: the banner.
pub fn greet<P>(session: Session) -> Step<P> {
    let banner = replies::banner(&session.rules.hostname);
    let next = Conversation {
        session: Box::new(session),
        phase: Phase::Connected,
    };
    Step::Listen(Some(banner), next)
}

impl<P> Conversation<P> {
    /// Session of the client.
    pub fn session(&self) -> &Session {
        &self.session
    }

    /// True if no transaction would be lost by closing the connection here.
    pub fn is_between_transactions(&self) -> bool {
        !matches!(self.phase, Phase::Mail(_))
    }

    /// Takes the number of errors for which the driver delays the reply; 0 is no delay.
    pub fn take_penalty(&mut self) -> usize {
        self.session.take_penalty()
    }

    /// State that the driver keeps for the current transaction, if any.
    pub fn active(&mut self) -> Option<&mut P> {
        match &mut self.phase {
            Phase::Mail(transaction) => Some(&mut transaction.active),
            Phase::Connected | Phase::Greeted => None,
        }
    }

    /// Parses and performs a command line without CR LF.
    pub fn command(self, line: &[u8]) -> Step<P> {
        let hostname = &self.session.rules.hostname;
        match Command::parse_with(line, self.session.rules.bare_addresses) {
            Err(reply) => self.mistake(reply),
            Ok(Command::Ehlo(name)) => self.hello(name, true),
            Ok(Command::Helo(name)) => self.hello(name, false),
            Ok(Command::Mail(mail)) => self.mail(mail),
            Ok(Command::Rcpt(path)) => self.rcpt(path),
            Ok(Command::Data) => self.data(),
            Ok(Command::Auth(mechanism, initial)) => self.auth(&mechanism, initial.as_ref()),
            Ok(Command::StartTls) => self.start_tls(),
            Ok(Command::Rset) => self.reset(),
            Ok(Command::Noop) => self.idle_command(replies::ok()),
            Ok(Command::Help) => self.idle_command(replies::help()),
            Ok(Command::Vrfy) => self.idle_command(replies::cannot_verify()),
            Ok(Command::Quit) => Step::Close(replies::bye(hostname), None),
            Ok(Command::Http) => Step::Close(replies::not_http(), Some("an HTTP request")),
        }
    }

    /// Performs EHLO or HELO (RFC 5321 section 4.1.1.1); ends a transaction (section 4.1.4).
    fn hello(mut self, name: String, extended: bool) -> Step<P> {
        if self.session.rules.strict_hello && !is_strict_hello(&name) {
            return self.mistake(replies::syntax("EHLO domain or address literal"));
        }
        self.session.client.helo = Some(name);
        self.session.extended = extended;
        let reply = if extended {
            self.session.extensions()
        } else {
            replies::hello(&self.session.rules.hostname)
        };
        Self::greeted(self.dropped()).idle_command(reply)
    }

    /// Performs MAIL (RFC 5321 section 4.1.1.2).
    fn mail(mut self, mail: Mail) -> Step<P> {
        match self.phase {
            Phase::Connected => return self.mistake(replies::out_of_order("Send EHLO or HELO first")),
            Phase::Mail(_) => return self.mistake(replies::out_of_order("One transaction at a time")),
            Phase::Greeted => {}
        }
        if let Some(reply) = self.session.missing_requirement() {
            return self.mistake(reply);
        }
        let rules = &self.session.rules;
        if mail.size.is_some_and(|size| size > rules.message_size) {
            return self.mistake(replies::too_big());
        }
        // RFC 6531 section 3.5: the path as written counts, not its canonical form.
        if !mail.is_ascii && !mail.smtputf8 {
            return self.mistake(replies::needs_smtputf8());
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

    /// Performs RCPT (RFC 5321 section 4.1.1.3).
    fn rcpt(self, path: ForwardPath) -> Step<P> {
        let Self {
            session,
            phase: Phase::Mail(mut transaction),
        } = self
        else {
            return self.mistake(replies::out_of_order("Send MAIL first"));
        };
        let (recipient, is_ascii) = match path {
            ForwardPath::Mailbox { mailbox, is_ascii } => (Ok(mailbox), is_ascii),
            ForwardPath::Postmaster => (path::postmaster(&session.rules.hostname), true),
        };
        let recipients = &transaction.envelope.recipients;
        let full = recipients.len() + transaction.refused >= session.rules.recipients;
        let refusal = match recipient {
            Err(error) => Some(replies::bad_recipient(error)),
            Ok(_) if !is_ascii && !transaction.envelope.smtputf8 => Some(replies::needs_smtputf8()),
            // A repeated recipient is accepted again and delivered once.
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
            Some(reply) if reply.is_permanent() => next.mistake(reply),
            reply => Step::Listen(reply, next),
        }
    }

    /// Performs DATA (RFC 5321 section 4.1.1.4).
    fn data(self) -> Step<P> {
        match self.phase {
            Phase::Mail(transaction) if !transaction.envelope.recipients.is_empty() => Step::Receive(Receiving {
                session: self.session,
                transaction,
            }),
            Phase::Mail(_) => self.idle_command(replies::no_recipients()),
            _ => self.mistake(replies::out_of_order("Send MAIL and RCPT first")),
        }
    }

    /// Performs RSET (RFC 5321 section 4.1.1.5).
    fn reset(self) -> Step<P> {
        let phase = match &self.phase {
            Phase::Connected => Phase::Connected,
            Phase::Greeted | Phase::Mail(_) => Phase::Greeted,
        };
        let session = self.dropped();
        Self { session, phase }.idle_command(replies::ok())
    }
}
