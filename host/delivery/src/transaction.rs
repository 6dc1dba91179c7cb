//! One mail transaction with a remote: MAIL, RCPT, DATA (RFC 5321 section 3.3, RFC 2033 section 4.2).

use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::time::Instant;

use host_mail::{BodyType, Content, HeaderBlock, Mailbox, Reply, ReversePath};

use super::destination::Protocol;
use super::outcome::{DialogueStep, RecipientOutcome, class};
use crate::client_wire::WireError;
use crate::connect::{Connection, lost};
use crate::dot_stuffing::DotStuffer;

/// Commands sent before their replies are read. Bounded, since a remote that answers while nobody
/// reads would stop reading itself.
const PIPELINE: usize = 50;
/// The message is read and sent in pieces of so many bytes.
const PIECE: usize = 64 * 1024;
/// A remote that takes less than this many bytes a second is given up.
const SLOWEST: u64 = 4 * 1024;
/// How long to look for a reply that explains why a remote hung up.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// Asks for the message to be taken.
const DATA: &str = "DATA\r\n";

/// What comes before the message.
enum EnvelopeCommand {
    Mail,
    /// By its index.
    Recipient(usize),
    Data,
}

/// A message and for whom.
#[derive(Clone, Copy)]
pub(super) struct OutgoingMessage<'a> {
    pub(super) sender: &'a ReversePath,
    pub(super) body: BodyType,
    pub(super) smtputf8: bool,
    pub(super) content: &'a Arc<dyn Content>,
    /// At most 100, so that every host must take them (RFC 5321 section 4.5.3.1.8).
    pub(super) recipients: &'a [&'a Mailbox],
}

/// What a transaction came to.
pub(super) struct Sent {
    /// One for each recipient.
    pub(super) outcomes: Vec<RecipientOutcome>,
    /// The connection broke before any of the message went out: another one may do better.
    pub(super) untouched: bool,
}

/// A transaction in progress.
struct TransactionState {
    outcomes: Vec<Option<RecipientOutcome>>,
    untouched: bool,
}

/// Why a transaction stopped.
enum TransactionEnd {
    /// The connection broke.
    Lost(WireError),
    /// The remote takes leave (421), or refuses all that is still open.
    RefusedLogin(Reply, DialogueStep),
    /// The message cannot be read. The remote has not got an end of data and will drop it.
    Unreadable(io::Error),
}

impl From<WireError> for TransactionEnd {
    fn from(error: WireError) -> Self {
        Self::Lost(error)
    }
}

impl Connection {
    /// Sends a message. An error means that the message itself could not be read.
    pub(super) async fn deliver(&mut self, parcel: OutgoingMessage<'_>) -> io::Result<Sent> {
        self.reusable = false;
        let transfer = Duration::from_secs(parcel.content.size() / SLOWEST);
        self.deadline = Instant::now() + self.reply_timeout * 8 + transfer;
        let mut progress = TransactionState {
            outcomes: self.refuse_unfit(parcel).await?,
            untouched: true,
        };
        let open = match self.transact(parcel, &mut progress).await {
            Ok(()) => {
                progress.untouched = false;
                RecipientOutcome::Deferred(lost("no reply for this recipient"))
            }
            Err(TransactionEnd::Unreadable(error)) => return Err(error),
            Err(TransactionEnd::Lost(error)) => {
                RecipientOutcome::Deferred(lost(&format!("talking to {}: {error}", self.host)))
            }
            Err(TransactionEnd::RefusedLogin(reply, step)) => {
                progress.untouched &= reply.code == 421;
                RecipientOutcome::of_remote(reply, step, &self.host)
            }
        };
        let outcomes = progress.outcomes.into_iter().map(|o| o.unwrap_or_else(|| open.clone()));
        Ok(Sent {
            outcomes: outcomes.collect(),
            untouched: progress.untouched,
        })
    }

    /// Recipients that need what the remote does not offer. Nothing is converted here: that would
    /// mean to take MIME apart.
    async fn refuse_unfit(&self, parcel: OutgoingMessage<'_>) -> io::Result<Vec<Option<RecipientOutcome>>> {
        let size = parcel.content.size();
        if self.offers.size.is_some_and(|limit| limit > 0 && size > limit) {
            let reply = Reply::new(
                552,
                (5, 3, 4),
                format!("Message of {size} bytes is too big for {}", self.host),
            );
            return Ok(vec![
                Some(RecipientOutcome::failed_here(class::PROTOCOL_ERROR, reply));
                parcel.recipients.len()
            ]);
        }
        if parcel.body == BodyType::EightBitMime && !self.offers.eight_bit && has_eight_bit(parcel.content).await? {
            let reply = Reply::new(554, (5, 6, 3), format!("{} does not take 8-bit messages", self.host));
            return Ok(vec![
                Some(RecipientOutcome::failed_here(class::CONVERSION_FAILED, reply));
                parcel.recipients.len()
            ]);
        }
        let everybody = !self.offers.utf8 && needs_utf8(parcel)?;
        let unfit = |recipient: &&Mailbox| {
            let needed = everybody || (!self.offers.utf8 && !recipient.is_ascii());
            let reply = || {
                Reply::new(
                    553,
                    (5, 6, 7),
                    format!("{} does not take UTF-8 addresses or headers", self.host),
                )
            };
            needed.then(|| RecipientOutcome::failed_here(class::CONVERSION_FAILED, reply()))
        };
        Ok(parcel.recipients.iter().map(unfit).collect())
    }

    async fn transact(
        &mut self,
        parcel: OutgoingMessage<'_>,
        progress: &mut TransactionState,
    ) -> Result<(), TransactionEnd> {
        if progress.outcomes.iter().all(Option::is_some) {
            self.reusable = true; // Nothing was begun.
            return Ok(());
        }
        let (accepted, answer) = self.envelope(parcel, progress).await?;
        let reply = match answer {
            Some(reply) if accepted.is_empty() => return self.send_to_nobody(&reply, progress).await,
            Some(reply) => reply,
            None if accepted.is_empty() => return Ok(()),
            None => self.ask(DATA).await?,
        };
        if reply.code != 354 {
            return Err(TransactionEnd::RefusedLogin(no_success(reply), DialogueStep::Data));
        }
        progress.untouched = false;
        self.content(parcel.content).await?;
        self.verdicts(&accepted, progress).await
    }

    /// Every recipient was refused and DATA asked for already. A remote that is ready for the message all
    /// the same gets an empty one, which it has to refuse (RFC 2920 section 3.1).
    async fn send_to_nobody(&mut self, answer: &Reply, progress: &mut TransactionState) -> Result<(), TransactionEnd> {
        progress.untouched = false;
        if answer.code == 354 {
            self.ask(".\r\n").await?;
        }
        Ok(())
    }

    /// MAIL and RCPT, and if the remote takes them in groups DATA at the end of the last group (RFC 2920
    /// section 3.1). The indexes that were accepted, and the answer to DATA if it was asked for.
    async fn envelope(
        &mut self,
        parcel: OutgoingMessage<'_>,
        progress: &mut TransactionState,
    ) -> Result<(Vec<usize>, Option<Reply>), TransactionEnd> {
        let open: Vec<usize> = (0..parcel.recipients.len())
            .filter(|i| progress.outcomes[*i].is_none())
            .collect();
        let group = if self.offers.pipelining { PIPELINE } else { 1 };
        let mut commands = vec![EnvelopeCommand::Mail];
        commands.extend(open.into_iter().map(EnvelopeCommand::Recipient));
        if self.offers.pipelining {
            commands.push(EnvelopeCommand::Data);
        }
        let mut accepted = Vec::new();
        for group in commands.chunks(group) {
            if matches!(group, [EnvelopeCommand::Data]) && accepted.is_empty() {
                break;
            }
            let lines: String = group.iter().map(|command| self.line(command, parcel)).collect();
            self.send(lines.as_bytes()).await?;
            for command in group {
                let reply = self.reply().await?;
                match command {
                    EnvelopeCommand::Mail if reply.code / 100 == 2 => {}
                    EnvelopeCommand::Mail => {
                        return Err(TransactionEnd::RefusedLogin(no_success(reply), DialogueStep::Sender));
                    }
                    EnvelopeCommand::Recipient(_) if reply.code == 421 => {
                        return Err(TransactionEnd::RefusedLogin(reply, DialogueStep::Recipient));
                    }
                    EnvelopeCommand::Recipient(index) if reply.code / 100 == 2 => accepted.push(*index),
                    EnvelopeCommand::Recipient(index) => {
                        // It has answered for somebody: that stands, and is not asked for again at once.
                        progress.untouched = false;
                        let outcome =
                            RecipientOutcome::of_remote(no_success(reply), DialogueStep::Recipient, &self.host);
                        progress.outcomes[*index] = Some(outcome);
                    }
                    EnvelopeCommand::Data => return Ok((accepted, Some(reply))),
                }
            }
        }
        Ok((accepted, None))
    }

    fn line(&self, command: &EnvelopeCommand, parcel: OutgoingMessage<'_>) -> String {
        match command {
            EnvelopeCommand::Mail => self.mail(parcel),
            EnvelopeCommand::Recipient(index) => format!("RCPT TO:<{}>\r\n", parcel.recipients[*index]),
            EnvelopeCommand::Data => DATA.to_owned(),
        }
    }

    fn mail(&self, parcel: OutgoingMessage<'_>) -> String {
        let mut line = format!("MAIL FROM:{}", parcel.sender);
        if self.offers.size.is_some() {
            line.push_str(&format!(" SIZE={}", parcel.content.size()));
        }
        if self.offers.eight_bit && parcel.body == BodyType::EightBitMime {
            line.push_str(" BODY=8BITMIME");
        }
        let utf8 = parcel.smtputf8
            || parcel.sender.mailbox().is_some_and(|m| !m.is_ascii())
            || parcel.recipients.iter().any(|r| !r.is_ascii());
        if self.offers.utf8 && utf8 {
            line.push_str(" SMTPUTF8");
        }
        line + "\r\n"
    }

    async fn content(&mut self, content: &Arc<dyn Content>) -> Result<(), TransactionEnd> {
        let (mut stuffer, mut out, mut offset) = (DotStuffer::new(), Vec::new(), 0);
        while offset < content.size() {
            let piece = read(content, offset).await.map_err(TransactionEnd::Unreadable)?;
            if piece.is_empty() {
                let short = io::Error::new(io::ErrorKind::UnexpectedEof, "the message is shorter than its size");
                return Err(TransactionEnd::Unreadable(short));
            }
            offset += piece.len() as u64;
            out.clear();
            stuffer.push(&piece, &mut out);
            if offset < content.size() {
                self.transfer(&out).await?;
            }
        }
        stuffer.finish(&mut out);
        self.transfer(&out).await
    }

    /// Sends a part of the message. A remote that stops taking it may have said why.
    async fn transfer(&mut self, octets: &[u8]) -> Result<(), TransactionEnd> {
        let Err(error) = self.send(octets).await else {
            return Ok(());
        };
        match self.reply_within(LAST_WORDS).await {
            Ok(reply) => Err(TransactionEnd::RefusedLogin(no_success(reply), DialogueStep::Data)),
            Err(_) => Err(TransactionEnd::Lost(error)),
        }
    }

    /// The replies after the final dot: one, or with LMTP one for each accepted recipient.
    async fn verdicts(&mut self, accepted: &[usize], progress: &mut TransactionState) -> Result<(), TransactionEnd> {
        let mut shared: Option<Reply> = None;
        for index in accepted {
            let reply = match (&shared, self.protocol) {
                (Some(reply), Protocol::Smtp) => reply.clone(),
                _ => self.reply_within(self.reply_timeout * 2).await?,
            };
            let outcome = match reply.code {
                300..=399 => RecipientOutcome::Deferred(no_success(reply.clone())),
                _ => RecipientOutcome::of_remote(reply.clone(), DialogueStep::Data, &self.host),
            };
            progress.outcomes[*index] = Some(outcome);
            shared = Some(reply);
        }
        self.transactions += 1;
        self.reusable = shared.is_some_and(|reply| reply.code / 100 != 3 && reply.code != 421);
        Ok(())
    }
}

/// A success where none makes sense is not taken for one.
fn no_success(reply: Reply) -> Reply {
    if reply.is_positive() {
        lost(&format!("unexpected reply: {reply}"))
    } else {
        reply
    }
}

/// Whether everybody's copy needs SMTPUTF8: because of the sender or the header (RFC 6531
/// section 3.4). A message that was only declared so goes to any host.
fn needs_utf8(parcel: OutgoingMessage<'_>) -> io::Result<bool> {
    if parcel.sender.mailbox().is_some_and(|mailbox| !mailbox.is_ascii()) {
        return Ok(true);
    }
    if !parcel.smtputf8 {
        return Ok(false);
    }
    Ok(!HeaderBlock::read(parcel.content.as_ref())?.as_bytes().is_ascii())
}

async fn has_eight_bit(content: &Arc<dyn Content>) -> io::Result<bool> {
    let mut offset = 0;
    loop {
        let piece = read(content, offset).await?;
        if piece.is_empty() || !piece.is_ascii() {
            return Ok(!piece.is_empty());
        }
        offset += piece.len() as u64;
    }
}

/// A piece of a message. Small messages are likely to be in memory; reading large ones may wait
/// for a disk, away from the tasks that other connections run on.
async fn read(content: &Arc<dyn Content>, offset: u64) -> io::Result<Bytes> {
    if content.size() <= PIECE as u64 {
        return content.read(offset, PIECE);
    }
    let content = content.clone();
    tokio::task::spawn_blocking(move || content.read(offset, PIECE))
        .await
        .map_err(io::Error::other)?
}
