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
use super::front_end::{self, Attribute};
use super::path::{self, ForwardPath, Mail, Rcpt};
use super::replies;
use crate::session::machine::state::{Chunks, Phase};
use host_config::Extension;
use host_mail::{BodyType, Reply};

pub use crate::session::machine::connection::{ConnectionOffer, Rules, Session};
pub use crate::session::machine::state::{
    AskRecipient, AskSender, Conversation, FindingVerifier, Handshake, IdentifiedClient, QueueRequest, Receiving,
    ReceivingChunk, RejectedLogin, Step, Verifying,
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
            Ok(Command::Rcpt(rcpt)) => self.rcpt(rcpt),
            Ok(Command::Data) => self.data(),
            Ok(Command::Bdat(size, last)) => self.bdat(size, last),
            Ok(Command::EndlessBdat) => Step::Close(
                replies::syntax("BDAT octets [LAST]"),
                Some("BDAT without a number of octets"),
            ),
            Ok(Command::Auth(mechanism, initial)) => self.auth(&mechanism, initial.as_ref()),
            Ok(Command::StartTls) => self.start_tls(),
            Ok(Command::Rset) => self.reset(),
            Ok(Command::Noop) => self.idle_command(replies::ok()),
            Ok(Command::Help) => self.idle_command(replies::help()),
            Ok(Command::Vrfy) => self.idle_command(replies::cannot_verify()),
            Ok(Command::XClient(attributes)) => self.xclient(&attributes),
            Ok(Command::XForward(attributes)) => self.xforward(&attributes),
            Ok(Command::Etrn(node)) => self.etrn(node),
            Ok(Command::Quit) => Step::Close(replies::bye(hostname), None),
            Ok(Command::Http) => Step::Close(replies::not_http(), Some("an HTTP request")),
        }
    }

    /// Performs EHLO or HELO (RFC 5321 section 4.1.1.1); ends a transaction (section 4.1.4).
    fn hello(mut self, name: String, extended: bool) -> Step<P> {
        if self.session.rules.strict_hello && !is_strict_hello(&name) {
            return self.mistake(replies::syntax("EHLO domain or address literal"));
        }
        self.session.client.helo = Some(self.session.forwarded_helo.clone().unwrap_or(name));
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
        if let Some(reply) = mail
            .options
            .as_deref()
            .and_then(|options| self.session.unfit_option(options))
        {
            return self.mistake(reply);
        }
        let is_binary = mail.body == BodyType::Binary;
        if is_binary && !(rules.offers(Extension::BinaryMime) && rules.offers(Extension::Chunking)) {
            return self.mistake(replies::bad_parameter("BODY"));
        }
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
    fn rcpt(self, Rcpt { path, dsn }: Rcpt) -> Step<P> {
        if dsn.is_some() && !self.session.rules.offers(Extension::Dsn) {
            return self.mistake(replies::unknown_parameter());
        }
        let Self {
            session,
            phase: Phase::Mail(mut transaction),
        } = self
        else {
            return self.mistake(replies::out_of_order("Send MAIL first"));
        };
        if transaction.chunks != Chunks::None {
            let phase = Phase::Mail(transaction);
            return Self { session, phase }.mistake(replies::out_of_order("The message has begun"));
        }
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
                    dsn,
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
            // RFC 3030 sections 2 and 3.
            Phase::Mail(ref transaction)
                if transaction.chunks != Chunks::None || transaction.envelope.body == BodyType::Binary =>
            {
                self.mistake(replies::out_of_order("The message comes by BDAT"))
            }
            Phase::Mail(transaction) if !transaction.envelope.recipients.is_empty() => Step::Receive(Receiving {
                session: self.session,
                transaction,
            }),
            Phase::Mail(_) => self.idle_command(replies::no_recipients()),
            _ => self.mistake(replies::out_of_order("Send MAIL and RCPT first")),
        }
    }

    /// Performs BDAT (RFC 3030 section 2). The octets of a chunk out of order are discarded, so that none is taken for a
    /// command.
    fn bdat(self, size: u64, last: bool) -> Step<P> {
        if !self.session.rules.offers(Extension::Chunking) {
            return Step::Skip(size, Box::new(self.mistake(replies::not_implemented())));
        }
        let Self { session, phase } = self;
        let mut transaction = match phase {
            Phase::Mail(transaction) => transaction,
            phase => {
                let next = Self { session, phase };
                let mistake = next.mistake(replies::out_of_order("Send MAIL and RCPT first"));
                return Step::Skip(size, Box::new(mistake));
            }
        };
        let reply = match transaction.chunks {
            // The rest of a message that was refused: the client may have sent it before the refusal.
            Chunks::Refused => replies::out_of_order("The message was refused at an earlier chunk"),
            Chunks::None if transaction.envelope.recipients.is_empty() => replies::no_recipients(),
            Chunks::None | Chunks::Begun => {
                return Step::ReceiveChunk(ReceivingChunk {
                    session,
                    transaction,
                    size,
                    last,
                });
            }
        };
        transaction.chunks = Chunks::Refused;
        let next = Self {
            session,
            phase: Phase::Mail(transaction),
        };
        let next = match last {
            true => Self::greeted(next.dropped()),
            false => next,
        };
        let step = match size {
            0 => next.idle_command(reply),
            _ => next.reply(reply),
        };
        Step::Skip(size, Box::new(step))
    }

    /// Performs XCLIENT of Postfix: the session begins anew for the client that the front end names.
    fn xclient(self, attributes: &[Attribute]) -> Step<P> {
        if let Some(reply) = self.front_end_refusal() {
            return self.mistake(reply);
        }
        match front_end::identify(&self.session.client, attributes) {
            Ok(client) => Step::Identify(Box::new(IdentifiedClient {
                session: self.session,
                client,
            })),
            Err(reply) => self.mistake(reply),
        }
    }

    /// Performs XFORWARD of Postfix: events about the next message name the client.
    fn xforward(mut self, attributes: &[Attribute]) -> Step<P> {
        if let Some(reply) = self.front_end_refusal() {
            return self.mistake(reply);
        }
        self.session.forwarded = front_end::forwarded_client(attributes).or(self.session.forwarded.take());
        self.idle_command(replies::ok())
    }

    fn front_end_refusal(&self) -> Option<Reply> {
        match (self.session.rules.is_front_end, &self.phase) {
            (false, _) => Some(replies::no_front_end()),
            (true, Phase::Mail(_)) => Some(replies::out_of_order("Not within a transaction")),
            (true, Phase::Connected | Phase::Greeted) => None,
        }
    }

    /// Performs ETRN (RFC 1985 section 5).
    fn etrn(self, node: String) -> Step<P> {
        if !self.session.rules.offers(Extension::Etrn) || !self.session.rules.holds_mail {
            return self.mistake(replies::not_implemented());
        }
        if !matches!(self.phase, Phase::Greeted) {
            return self.mistake(replies::out_of_order(
                "ETRN comes after EHLO and not within a transaction",
            ));
        }
        if let Some(reply) = self.session.missing_requirement() {
            return self.mistake(reply);
        }
        Step::StartQueue(QueueRequest {
            conversation: self,
            node,
        })
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
