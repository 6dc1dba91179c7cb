//! Decisions about a sender, a recipient or a message, taken by the state that waits for the decision.

use std::sync::Arc;

use super::connection::{Rules, Session};
use super::state::{
    AskRecipient, AskSender, Chunks, Conversation, IdentifiedClient, MailTransaction, Phase, QueueRequest, Receiving,
    ReceivingChunk, Step,
};
use crate::session::path::Mail;
use crate::session::replies;
use host_contract::Verdict;
use host_mail::{BodyType, Client, Envelope, Mailbox, Reply, ReversePath};

impl IdentifiedClient {
    /// Begins the session anew for the admitted client, with a banner. The counted errors stay, and the right to name
    /// clients.
    pub fn admitted<P>(self, rules: Rules, exemptions: Arc<[String]>) -> Step<P> {
        let Self { mut session, client } = self;
        session.forwarded_helo.clone_from(&client.helo);
        session.client = Client { exemptions, ..client };
        session.rules = Rules {
            is_front_end: session.rules.is_front_end,
            ..rules
        };
        // The certificate is the front end's.
        session.certificate_names = None;
        session.extended = false;
        let banner = replies::banner(&session.rules.hostname);
        let next = Conversation {
            session,
            phase: Phase::Connected,
        };
        Step::Listen(Some(banner), next)
    }
}

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
    pub fn answer<P>(mut self, verdict: Verdict, active: P) -> Step<P> {
        match verdict {
            Verdict::Accept => {
                let envelope = Envelope {
                    sender: self.mail.sender,
                    recipients: Vec::new(),
                    body: self.mail.body,
                    smtputf8: self.mail.smtputf8,
                    options: self.mail.options,
                };
                let transaction = MailTransaction {
                    envelope,
                    active,
                    refused: 0,
                    full: false,
                    chunks: Chunks::None,
                    forwarded: self.session.forwarded.take(),
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
                self.transaction.envelope.add_recipient(self.recipient, self.dsn);
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

    /// Notes the type of the body as the octets show it, announced or not: the message goes on with this type.
    pub fn note_body(&mut self, body: BodyType) {
        self.transaction.envelope.body = body;
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

impl<P> QueueRequest<P> {
    /// Replies to the request, which counts as a command without effect.
    pub fn done(self, reply: Reply) -> Step<P> {
        self.conversation.idle_command(reply)
    }
}

impl<P> ReceivingChunk<P> {
    /// Continues with the complete message.
    pub fn complete(self) -> Receiving<P> {
        Receiving {
            session: self.session,
            transaction: self.transaction,
        }
    }

    /// Replies that the chunk has arrived; another one follows.
    pub fn received(mut self) -> Step<P> {
        self.transaction.chunks = Chunks::Begun;
        let reply = replies::chunk_ok(self.size);
        self.conversation().reply(reply)
    }

    /// Refuses the message at a chunk that is not the last.
    pub fn refused(mut self, reply: Reply) -> Step<P> {
        self.transaction.chunks = Chunks::Refused;
        match reply.is_permanent() {
            true => self.conversation().mistake(reply),
            false => self.conversation().reply(reply),
        }
    }

    fn conversation(self) -> Conversation<P> {
        Conversation {
            session: self.session,
            phase: Phase::Mail(self.transaction),
        }
    }
}
