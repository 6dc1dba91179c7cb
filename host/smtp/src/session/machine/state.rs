//! The states of the machine, and the steps between the states.

use crate::session::auth::{Credentials, SaslExchange};
use crate::session::login_fault::FailedLogin;
use crate::session::machine::connection::Session;
use crate::session::path::Mail;
use crate::session::scram_exchange::ScramStart;
use host_mail::{Client, Envelope, Mailbox, RecipientDsn, Reply};

/// The next action of the driver, with the state that takes the result.
#[derive(Debug)]
pub enum Step<P> {
    /// Sends the reply, if any; then reads a command.
    Listen(Option<Reply>, Conversation<P>),
    /// Continues like `Listen`, and emits an event: a transaction reached the limit of recipients.
    RecipientsFull(Reply, Conversation<P>),
    /// Sends the challenge, then reads a response.
    Challenge(Reply, Authenticating),
    /// Looks up the verifier of SCRAM.
    FindVerifier(FindingVerifier),
    /// Verifies the credentials.
    Verify(Verifying),
    /// Emits an event: a login failed. The reply follows.
    RejectLogin(RejectedLogin),
    /// Sends the reply, then begins TLS.
    StartTls(Reply, Handshake),
    /// Asks the policy about the sender.
    AskSender(AskSender),
    /// Asks the policy about a recipient.
    AskRecipient(AskRecipient<P>),
    /// Receives a message and decides about the message.
    Receive(Receiving<P>),
    /// Asks the policy about the client behind a front end.
    Identify(Box<IdentifiedClient>),
    /// Starts the queue of a node.
    StartQueue(QueueRequest<P>),
    /// Receives a chunk of a message.
    ReceiveChunk(ReceivingChunk<P>),
    /// Discards this number of octets, which follow the command, then continues.
    Skip(u64, Box<Step<P>>),
    /// Sends the reply and closes; with the reason for an event, or `None` if the client ended the session.
    Close(Reply, Option<&'static str>),
}

/// A mail transaction, from an accepted MAIL on.
#[derive(Debug)]
pub struct MailTransaction<P> {
    /// Envelope as given so far.
    pub envelope: Envelope,
    /// State that the driver keeps for the transaction.
    pub active: P,
    /// Number of recipients that the policy refused. Refused recipients count towards the limit of recipients, and
    /// those in excess of the accepted ones towards the limit of errors, which bounds the probing of addresses.
    pub(super) refused: usize,
    /// True once the event about too many recipients was emitted.
    pub(super) full: bool,
    pub(super) chunks: Chunks,
    /// Client that XFORWARD named.
    pub forwarded: Option<String>,
}

/// Progress of a message in chunks (RFC 3030).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Chunks {
    /// Awaits the first chunk, or DATA.
    None,
    /// The message has begun: only chunks may follow.
    Begun,
    /// A chunk was refused. The client may have sent others already; LAST, RSET or EHLO ends the transaction.
    Refused,
}

/// Progress of the dialogue.
#[derive(Debug)]
pub(super) enum Phase<P> {
    /// Start of the connection, or right after STARTTLS.
    Connected,
    /// EHLO or HELO was received.
    Greeted,
    /// MAIL was accepted.
    Mail(MailTransaction<P>),
}

/// Waits for a command.
#[derive(Debug)]
pub struct Conversation<P> {
    pub(super) session: Box<Session>,
    pub(super) phase: Phase<P>,
}

/// Waits for a response to a challenge.
#[derive(Debug)]
pub struct Authenticating {
    pub(super) session: Box<Session>,
    pub(super) exchange: SaslExchange,
}

/// Waits for the user's verifier of SCRAM.
#[derive(Debug)]
pub struct FindingVerifier {
    /// Session of the client.
    pub session: Box<Session>,
    /// First message of the client.
    pub start: ScramStart,
}

/// Waits for the directory's answer about credentials.
#[derive(Debug)]
pub struct Verifying {
    /// Session of the client.
    pub session: Box<Session>,
    /// Credentials to verify.
    pub credentials: Credentials,
}

/// Waits for the event and the delay of a failed login.
#[derive(Debug)]
pub struct RejectedLogin {
    /// Session of the client.
    pub session: Box<Session>,
    /// Attempt that failed.
    pub failed: FailedLogin,
}

/// Waits for TLS.
#[derive(Debug)]
pub struct Handshake {
    pub(super) session: Box<Session>,
}

/// Waits for the verdict on MAIL.
#[derive(Debug)]
pub struct AskSender {
    pub(super) session: Box<Session>,
    pub(super) mail: Mail,
}

/// Waits for the verdict on RCPT.
#[derive(Debug)]
pub struct AskRecipient<P> {
    /// Session of the client.
    pub session: Box<Session>,
    /// Transaction so far, without the recipient.
    pub transaction: MailTransaction<P>,
    /// Recipient in question.
    pub recipient: Mailbox,
    /// Parameters of RCPT about reports.
    pub dsn: Option<Box<RecipientDsn>>,
}

/// Waits for a message and the reply to the final dot.
#[derive(Debug)]
pub struct Receiving<P> {
    /// Session of the client.
    pub session: Box<Session>,
    /// Transaction with the complete envelope.
    pub transaction: MailTransaction<P>,
}

/// Waits for the admission of the client that XCLIENT named.
#[derive(Debug)]
pub struct IdentifiedClient {
    pub(super) session: Box<Session>,
    /// Client as named.
    pub client: Client,
}

/// Waits for the start of a queue (ETRN).
#[derive(Debug)]
pub struct QueueRequest<P> {
    pub(super) conversation: Conversation<P>,
    /// Argument of ETRN.
    pub node: String,
}

/// Waits for a chunk of a message and the reply to the chunk.
#[derive(Debug)]
pub struct ReceivingChunk<P> {
    /// Session of the client.
    pub session: Box<Session>,
    /// Transaction with the complete envelope.
    pub transaction: MailTransaction<P>,
    /// Number of octets.
    pub size: u64,
    /// True for the last chunk.
    pub last: bool,
}

impl<P> Conversation<P> {
    /// Continues after EHLO or HELO, without a transaction.
    pub(super) fn greeted(session: Box<Session>) -> Self {
        Self {
            session,
            phase: Phase::Greeted,
        }
    }

    /// Replies to the command and waits for the next command.
    pub(super) fn reply(self, reply: Reply) -> Step<P> {
        Step::Listen(Some(reply), self)
    }

    /// Replies to a command that has no effect, and counts the command.
    pub(super) fn idle_command(mut self, reply: Reply) -> Step<P> {
        match self.session.count_idle_command() {
            Ok(()) => self.reply(reply),
            Err(closing_reply) => Step::Close(closing_reply, Some("too many errors")),
        }
    }

    /// Drops the transaction, if any, whose refused recipients count as errors.
    pub(super) fn dropped(mut self) -> Box<Session> {
        if let Phase::Mail(transaction) = &self.phase {
            self.session.add_errors(transaction.refused);
        }
        self.session
    }

    /// Replies to a mistake of the client and counts the mistake. The connection ends at the limit of errors.
    pub(super) fn mistake(mut self, reply: Reply) -> Step<P> {
        match self.session.count_error() {
            Ok(()) => self.reply(reply),
            Err(closing_reply) => Step::Close(closing_reply, Some("too many errors")),
        }
    }
}
