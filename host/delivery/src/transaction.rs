//! A mail transaction with a remote: MAIL, RCPT, DATA (RFC 5321 section 3.3, RFC 2033 section 4.2).

use std::collections::HashMap;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::time::Instant;

use host_mail::{
    BodyType, Content, DeliverByMode, Envelope, HeaderBlock, Mailbox, RecipientDsn, Reply, ReversePath, Timestamp,
};

use super::destination::Protocol;
use super::outcome::{DialogueStep, RecipientOutcome, class};
use crate::client_connection::{Connection, bad_connection};
use crate::client_wire::WireError;
use crate::deferral::is_recipient_limit;
use crate::dot_stuffing::DotStuffer;

/// Maximum commands sent before the replies are read. Bounded, since a remote whose replies are not read may stop
/// reading commands.
const PIPELINE_DEPTH: usize = 50;
/// Bytes of a message that are read and sent at a time.
const CHUNK_SIZE: usize = 64 * 1024;
/// Lowest accepted transfer rate in bytes per second.
const MIN_RATE: u64 = 4 * 1024;
/// Time to wait for a reply that explains why a remote closed the connection.
const CLOSING_REPLY_TIMEOUT: Duration = Duration::from_secs(2);

/// The DATA command.
const DATA: &str = "DATA\r\n";

/// A command before the content of the message.
enum EnvelopeCommand {
    /// RSET, which ends a refused transaction.
    Reset,
    Mail,
    /// RCPT for the recipient with an index.
    Recipient(usize),
    Data,
}

/// Parameters about reports (RFC 3461) by the address that the delivery is for.
pub(super) type ReportRequests = HashMap<Mailbox, RecipientDsn>;

/// A message and the recipients of a transaction.
#[derive(Clone, Copy)]
pub(super) struct OutgoingMessage<'a> {
    /// Reverse-path, which a forwarding may have rewritten.
    pub(super) sender: &'a ReversePath,
    pub(super) envelope: &'a Envelope,
    /// Requests for reports of the recipients; `None` without any.
    pub(super) reports: Option<&'a ReportRequests>,
    /// Time at which this host accepted the message.
    pub(super) received: Timestamp,
    /// True if only the DNS, without proof, names the remote for the domain.
    pub(super) is_named_by_dns: bool,
    pub(super) content: &'a Arc<dyn Content>,
    /// Maximum 100 recipients, a number that every host must accept (RFC 5321 section 4.5.3.1.8).
    pub(super) recipients: &'a [&'a Mailbox],
}

/// Result of a transaction.
pub(super) struct Sent {
    /// Outcomes of the recipients, in order.
    pub(super) outcomes: Vec<RecipientOutcome>,
    /// Indexes of deferred recipients that the remote takes in another transaction.
    pub(super) put_off: Vec<usize>,
    /// True if the connection failed or the remote replied 421 before a recipient was refused and before content was
    /// sent: the transaction may be repeated over another connection.
    pub(super) may_retry: bool,
    pub(super) end: DialogueEnd,
}

/// State of the dialogue after a transaction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum DialogueEnd {
    /// The remote has replied to everything.
    Orderly,
    /// The connection failed; the deferral has this reply.
    CutOff(Reply),
    /// The remote did not reply in time; the deferral has this reply.
    TimedOut(Reply),
}

/// Progress of a transaction.
struct TransactionState {
    outcomes: Vec<Option<RecipientOutcome>>,
    put_off: Vec<usize>,
    may_retry: bool,
}

/// Result of a group of commands before the content.
enum GroupReply {
    /// Recipients may follow.
    GoOn,
    /// The reply to DATA, which ends the envelope.
    Data(Reply),
    /// The remote refused MAIL. Every reply of the group was read.
    SenderRefused(Reply),
}

/// Reason for which a transaction stopped early.
enum TransactionEnd {
    /// The connection failed.
    Lost(WireError),
    /// The remote closed the dialogue (421), or refused all recipients without an outcome. Every reply was read.
    Refused(Reply, DialogueStep),
    /// The dialogue cannot go on: the remote has refused the message and stopped reading, or has sent a reply that
    /// makes no sense.
    Broken(RecipientOutcome),
    /// The message cannot be read. The end of data is not sent, so that the remote discards the message.
    Unreadable(io::Error),
}

impl From<WireError> for TransactionEnd {
    fn from(error: WireError) -> Self {
        Self::Lost(error)
    }
}

impl Connection {
    /// Sends a message and returns the outcomes. An error means that the message could not be read.
    pub(super) async fn deliver(&mut self, message: OutgoingMessage<'_>) -> io::Result<Sent> {
        self.reusable = false;
        self.transactions += 1;
        let transfer = Duration::from_secs(message.content.size() / MIN_RATE);
        self.deadline = Instant::now() + self.reply_timeout * 8 + transfer;
        let mut progress = TransactionState {
            outcomes: self.refuse_unfit(message).await?,
            put_off: Vec::new(),
            may_retry: true,
        };
        self.put_off_excess(&mut progress);
        let mut end = DialogueEnd::Orderly;
        let open = match self.transact(message, &mut progress).await {
            Ok(()) => {
                progress.may_retry = false;
                RecipientOutcome::Deferred(bad_connection("no reply for this recipient"))
            }
            Err(TransactionEnd::Unreadable(error)) => return Err(error),
            Err(TransactionEnd::Lost(error)) => {
                let reply = bad_connection(&format!("talking to {}: {error}", self.host));
                end = match error.is_timeout() {
                    true => DialogueEnd::TimedOut(reply.clone()),
                    false => DialogueEnd::CutOff(reply.clone()),
                };
                RecipientOutcome::Deferred(reply)
            }
            Err(TransactionEnd::Broken(outcome)) => {
                progress.may_retry = false;
                outcome
            }
            Err(TransactionEnd::Refused(reply, step)) => {
                progress.may_retry &= reply.code == 421;
                // Every reply was read, so that the next transaction may follow (RFC 5321 section 4.1.1.5).
                self.reusable = reply.code != 421;
                self.needs_reset = true;
                RecipientOutcome::from_reply(reply, step, &self.host)
            }
        };
        self.reusable &= self.offers.max_transactions.is_none_or(|max| self.transactions < max);
        let outcomes = progress.outcomes.into_iter().map(|o| o.unwrap_or_else(|| open.clone()));
        Ok(Sent {
            outcomes: outcomes.collect(),
            put_off: progress.put_off,
            may_retry: progress.may_retry,
            end,
        })
    }

    /// Refuses recipients that need an extension that the remote does not offer. Messages are not converted, which
    /// would require taking MIME parts apart.
    async fn refuse_unfit(&self, message: OutgoingMessage<'_>) -> io::Result<Vec<Option<RecipientOutcome>>> {
        let size = message.content.size();
        if self.offers.size.is_some_and(|limit| limit > 0 && size > limit) {
            let reply = Reply::new(
                552,
                (5, 3, 4),
                format!("Message of {size} bytes is too big for {}", self.host),
            );
            return Ok(vec![
                Some(RecipientOutcome::failed_here(class::PROTOCOL_ERROR, reply));
                message.recipients.len()
            ]);
        }
        if message.envelope.body == BodyType::EightBitMime
            && !self.offers.eight_bit
            && has_eight_bit_content(message.content).await?
        {
            let reply = Reply::new(554, (5, 6, 3), format!("{} does not take 8-bit messages", self.host));
            return Ok(vec![
                Some(RecipientOutcome::failed_here(class::CONVERSION_FAILED, reply));
                message.recipients.len()
            ]);
        }
        if message.envelope.body == BodyType::Binary && !self.takes_binary() {
            let reply = Reply::new(554, (5, 6, 3), format!("{} does not take binary messages", self.host));
            return Ok(vec![
                Some(RecipientOutcome::failed_here(class::CONVERSION_FAILED, reply));
                message.recipients.len()
            ]);
        }
        if let Some(reply) = self.unfit_option(message) {
            return Ok(vec![
                Some(RecipientOutcome::failed_here(class::PROTOCOL_ERROR, reply));
                message.recipients.len()
            ]);
        }
        let all_need_utf8 = !self.offers.utf8 && needs_utf8(message)?;
        let unfit = |recipient: &&Mailbox| {
            let needed = all_need_utf8 || (!self.offers.utf8 && !recipient.is_ascii());
            let reply = || {
                Reply::new(
                    553,
                    (5, 6, 7),
                    format!("{} does not take UTF-8 addresses or headers", self.host),
                )
            };
            needed.then(|| RecipientOutcome::failed_here(class::CONVERSION_FAILED, reply()))
        };
        Ok(message.recipients.iter().map(unfit).collect())
    }

    /// Reply if the remote must not get the message, by a parameter of MAIL.
    fn unfit_option(&self, message: OutgoingMessage<'_>) -> Option<Reply> {
        let options = message.envelope.options.as_ref()?;
        // An LMTP server delivers: the message goes no further.
        if self.protocol == Protocol::Lmtp {
            return None;
        }
        // RFC 8689 sections 4.2.1 and 5.
        let is_report = *message.sender == ReversePath::Null;
        if options.require_tls && !is_report {
            let is_verified = self.tls.as_ref().is_some_and(|tls| tls.is_verified) && !message.is_named_by_dns;
            let problem = match (is_verified, self.offers.require_tls) {
                (true, true) => None,
                (false, _) => Some("is not known by verified TLS"),
                (true, false) => Some("does not offer REQUIRETLS"),
            };
            if let Some(problem) = problem {
                return Some(Reply::new(550, (5, 7, 30), format!("{} {problem}", self.host)));
            }
        }
        // RFC 2852 section 4: a host that does not know the time limit would not return the message.
        let must_return = options.deliver_by.is_some_and(|by| by.mode == DeliverByMode::Return);
        (must_return && !self.offers.deliver_by).then(|| {
            let text = format!("{} does not keep time limits (DELIVERBY)", self.host);
            Reply::new(550, (5, 3, 3), text)
        })
    }

    /// True if the remote takes messages that are not made of lines (RFC 3030 section 3).
    fn takes_binary(&self) -> bool {
        self.offers.chunking && self.offers.binary
    }

    /// Puts off the recipients beyond the number that the remote takes in a transaction (RFC 9422).
    fn put_off_excess(&self, progress: &mut TransactionState) {
        let Some(max) = self.offers.max_recipients else {
            return;
        };
        let open: Vec<usize> = (0..progress.outcomes.len())
            .filter(|index| progress.outcomes[*index].is_none())
            .collect();
        for index in open.into_iter().skip(max) {
            let text = format!("{} takes {max} recipients at once", self.host);
            progress.outcomes[index] = Some(RecipientOutcome::Deferred(Reply::new(452, (4, 5, 3), text)));
            progress.put_off.push(index);
        }
    }

    async fn transact(
        &mut self,
        message: OutgoingMessage<'_>,
        progress: &mut TransactionState,
    ) -> Result<(), TransactionEnd> {
        if progress.outcomes.iter().all(Option::is_some) {
            self.reusable = true; // No command was sent.
            return Ok(());
        }
        let (accepted, answer) = self.send_envelope(message, progress).await?;
        let reply = match answer {
            Some(reply) if accepted.is_empty() => return self.finish_without_recipients(&reply, progress).await,
            Some(reply) => reply,
            None if accepted.is_empty() => {
                self.reusable = true;
                self.needs_reset = true;
                return Ok(());
            }
            None if message.envelope.body == BodyType::Binary => {
                progress.may_retry = false;
                Box::pin(self.send_binary(message.content)).await?;
                return self.final_replies(&accepted, progress).await;
            }
            None => self.ask(DATA).await?,
        };
        if reply.code != 354 {
            return Err(refusal(reply, DialogueStep::Data));
        }
        progress.may_retry = false;
        self.send_content(message.content).await?;
        self.activity.set_in_doubt(true);
        self.final_replies(&accepted, progress).await
    }

    /// Ends a transaction in which every recipient was refused after DATA was pipelined. A remote that replied 354 gets
    /// an empty message, and must refuse the message (RFC 2920 section 3.1).
    async fn finish_without_recipients(
        &mut self,
        answer: &Reply,
        progress: &mut TransactionState,
    ) -> Result<(), TransactionEnd> {
        progress.may_retry = false;
        if answer.code == 354 {
            self.ask(".\r\n").await?;
        }
        self.reusable = answer.code != 421;
        self.needs_reset = true;
        Ok(())
    }

    /// Sends MAIL and RCPT, and with PIPELINING also DATA at the end of the last group (RFC 2920 section 3.1). Returns
    /// the indexes of accepted recipients, and the reply to DATA if DATA was sent.
    async fn send_envelope(
        &mut self,
        message: OutgoingMessage<'_>,
        progress: &mut TransactionState,
    ) -> Result<(Vec<usize>, Option<Reply>), TransactionEnd> {
        let open: Vec<usize> = (0..message.recipients.len())
            .filter(|i| progress.outcomes[*i].is_none())
            .collect();
        let group = if self.offers.pipelining { PIPELINE_DEPTH } else { 1 };
        let mut commands = Vec::with_capacity(open.len() + 3);
        if std::mem::take(&mut self.needs_reset) {
            commands.push(EnvelopeCommand::Reset);
        }
        commands.push(EnvelopeCommand::Mail);
        commands.extend(open.into_iter().map(EnvelopeCommand::Recipient));
        if self.offers.pipelining && message.envelope.body != BodyType::Binary {
            commands.push(EnvelopeCommand::Data);
        }
        let mut accepted = Vec::new();
        for group in commands.chunks(group) {
            if matches!(group, [EnvelopeCommand::Data]) && accepted.is_empty() {
                break;
            }
            let lines: String = group
                .iter()
                .map(|command| self.command_line(command, message))
                .collect();
            self.send(lines.as_bytes()).await?;
            match self.envelope_replies(group, &mut accepted, progress).await? {
                GroupReply::GoOn => {}
                GroupReply::Data(reply) => return Ok((accepted, Some(reply))),
                GroupReply::SenderRefused(reply) => {
                    return Err(refusal(reply, DialogueStep::Sender));
                }
            }
        }
        Ok((accepted, None))
    }

    /// Reads the replies to a group of commands. After a refusal of the sender the other replies are read, too, so that
    /// the connection remains usable.
    async fn envelope_replies(
        &mut self,
        group: &[EnvelopeCommand],
        accepted: &mut Vec<usize>,
        progress: &mut TransactionState,
    ) -> Result<GroupReply, TransactionEnd> {
        let mut sender_refused = None;
        for command in group {
            let reply = self.reply().await?;
            match command {
                _ if reply.code == 421 => return Err(TransactionEnd::Refused(reply, DialogueStep::Sender)),
                EnvelopeCommand::Reset if reply.code / 100 == 2 => {}
                EnvelopeCommand::Reset => return Err(TransactionEnd::Lost(WireError::Closed)),
                EnvelopeCommand::Mail if reply.code / 100 == 2 => {}
                EnvelopeCommand::Mail => sender_refused = Some(reply),
                EnvelopeCommand::Recipient(_) if sender_refused.is_some() => {}
                EnvelopeCommand::Recipient(index) if reply.code / 100 == 2 => accepted.push(*index),
                EnvelopeCommand::Recipient(index) => {
                    // The refusal of a recipient is final for this attempt, so the transaction is not repeated.
                    progress.may_retry = false;
                    progress.outcomes[*index] = Some(if !accepted.is_empty() && is_recipient_limit(&reply) {
                        progress.put_off.push(*index);
                        RecipientOutcome::Deferred(reply)
                    } else {
                        RecipientOutcome::from_reply(expect_refusal(reply), DialogueStep::Recipient, &self.host)
                    });
                }
                EnvelopeCommand::Data if sender_refused.is_some() => {
                    if reply.code == 354 {
                        self.ask(".\r\n").await?;
                    }
                }
                EnvelopeCommand::Data => return Ok(GroupReply::Data(reply)),
            }
        }
        Ok(sender_refused.map_or(GroupReply::GoOn, GroupReply::SenderRefused))
    }

    fn command_line(&self, command: &EnvelopeCommand, message: OutgoingMessage<'_>) -> String {
        match command {
            EnvelopeCommand::Reset => "RSET\r\n".to_owned(),
            EnvelopeCommand::Mail => self.mail_command(message),
            EnvelopeCommand::Recipient(index) => self.recipient_command(message.recipients[*index], message.reports),
            EnvelopeCommand::Data => DATA.to_owned(),
        }
    }

    fn recipient_command(&self, recipient: &Mailbox, reports: Option<&ReportRequests>) -> String {
        let mut line = format!("RCPT TO:<{recipient}>");
        if let (true, Some(dsn)) = (self.offers.dsn, reports.and_then(|all| all.get(recipient))) {
            if let Some(notify) = dsn.notify {
                line.push_str(&format!(" NOTIFY={notify}"));
            }
            if let Some(original) = &dsn.original {
                line.push_str(&format!(" ORCPT={}", original.as_parameter()));
            }
        }
        line + "\r\n"
    }

    fn mail_command(&self, message: OutgoingMessage<'_>) -> String {
        let mut line = format!("MAIL FROM:{}", message.sender);
        if self.offers.size.is_some() {
            line.push_str(&format!(" SIZE={}", message.content.size()));
        }
        if self.offers.eight_bit && message.envelope.body == BodyType::EightBitMime {
            line.push_str(" BODY=8BITMIME");
        }
        if message.envelope.body == BodyType::Binary {
            line.push_str(" BODY=BINARYMIME");
        }
        let utf8 = message.envelope.smtputf8
            || message.sender.mailbox().is_some_and(|m| !m.is_ascii())
            || message.recipients.iter().any(|r| !r.is_ascii());
        if self.offers.utf8 && utf8 {
            line.push_str(" SMTPUTF8");
        }
        let Some(options) = &message.envelope.options else {
            return line + "\r\n";
        };
        if options.require_tls && self.offers.require_tls && self.tls.is_some() {
            line.push_str(" REQUIRETLS");
        }
        if let (true, Some(by)) = (self.offers.deliver_by, options.deliver_by) {
            line.push_str(&format!(" BY={}", by.parameter(message.received, Timestamp::now())));
        }
        if let (true, Some(priority)) = (self.offers.priority, options.priority) {
            line.push_str(&format!(" MT-PRIORITY={priority}"));
        }
        if self.offers.dsn {
            if let Some(part) = options.return_content {
                line.push_str(&format!(" RET={part}"));
            }
            if let Some(id) = &options.envelope_id {
                line.push_str(&format!(" ENVID={}", id.as_xtext()));
            }
        }
        line + "\r\n"
    }

    async fn send_content(&mut self, content: &Arc<dyn Content>) -> Result<(), TransactionEnd> {
        let (mut stuffer, mut out, mut offset) = (DotStuffer::new(), Vec::new(), 0);
        while offset < content.size() {
            let piece = next_piece(content, offset).await?;
            offset += piece.len() as u64;
            out.clear();
            stuffer.push(&piece, &mut out);
            if offset < content.size() {
                self.send_chunk(&out).await?;
            }
        }
        stuffer.finish(&mut out);
        self.send_chunk(&out).await
    }

    /// Sends the content unchanged as a single chunk (RFC 3030 section 2).
    async fn send_binary(&mut self, content: &Arc<dyn Content>) -> Result<(), TransactionEnd> {
        self.send(format!("BDAT {} LAST\r\n", content.size()).as_bytes())
            .await?;
        let mut offset = 0;
        while offset < content.size() {
            let piece = next_piece(content, offset).await?;
            offset += piece.len() as u64;
            self.activity.set_in_doubt(offset >= content.size());
            self.send_chunk(&piece).await?;
        }
        Ok(())
    }

    /// Sends a part of the content. If sending fails, looks for a reply that explains the failure.
    async fn send_chunk(&mut self, octets: &[u8]) -> Result<(), TransactionEnd> {
        let Err(error) = self.send(octets).await else {
            return Ok(());
        };
        match self.reply_within(CLOSING_REPLY_TIMEOUT).await {
            Ok(reply) => Err(TransactionEnd::Broken(RecipientOutcome::from_reply(
                expect_refusal(reply),
                DialogueStep::Data,
                &self.host,
            ))),
            Err(_) => Err(TransactionEnd::Lost(error)),
        }
    }

    /// Reads the replies after the final dot: a single reply, or with LMTP a reply for each accepted recipient.
    async fn final_replies(
        &mut self,
        accepted: &[usize],
        progress: &mut TransactionState,
    ) -> Result<(), TransactionEnd> {
        let mut shared: Option<Reply> = None;
        for index in accepted {
            let reply = match (&shared, self.protocol) {
                (Some(reply), Protocol::Smtp) => reply.clone(),
                _ => self.reply_within(self.reply_timeout * 2).await?,
            };
            let outcome = match reply.code {
                300..=399 => RecipientOutcome::Deferred(expect_refusal(reply.clone())),
                _ => RecipientOutcome::from_reply(reply.clone(), DialogueStep::Data, &self.host)
                    .over(self.tls.as_ref())
                    .with_duties(self.offers.dsn, self.offers.deliver_by),
            };
            progress.outcomes[*index] = Some(outcome);
            shared = Some(reply);
        }
        self.activity.set_in_doubt(false);
        self.reusable = shared.is_some_and(|reply| reply.code / 100 != 3 && reply.code != 421);
        Ok(())
    }
}

/// The end of a transaction by a reply that should be a refusal.
fn refusal(reply: Reply, step: DialogueStep) -> TransactionEnd {
    match reply.is_positive() {
        true => TransactionEnd::Broken(RecipientOutcome::Deferred(expect_refusal(reply))),
        false => TransactionEnd::Refused(reply, step),
    }
}

/// Turns a positive reply, at a step where a positive reply makes no sense, into a deferral.
fn expect_refusal(reply: Reply) -> Reply {
    if reply.is_positive() {
        bad_connection(&format!("unexpected reply: {reply}"))
    } else {
        reply
    }
}

/// True if every recipient's copy needs SMTPUTF8, because of the sender or the header (RFC 6531 section 3.4). A message
/// that was declared SMTPUTF8 without need can go to any host.
fn needs_utf8(message: OutgoingMessage<'_>) -> io::Result<bool> {
    if message
        .envelope
        .sender
        .mailbox()
        .is_some_and(|mailbox| !mailbox.is_ascii())
    {
        return Ok(true);
    }
    if !message.envelope.smtputf8 {
        return Ok(false);
    }
    Ok(!HeaderBlock::read(message.content.as_ref())?.as_bytes().is_ascii())
}

async fn has_eight_bit_content(content: &Arc<dyn Content>) -> io::Result<bool> {
    let mut offset = 0;
    loop {
        let piece = read_chunk(content, offset).await?;
        if piece.is_empty() || !piece.is_ascii() {
            return Ok(!piece.is_empty());
        }
        offset += piece.len() as u64;
    }
}

/// Reads a chunk of a message. Small messages are likely to be in memory; a large message may wait for the disk and is
/// read on a blocking thread.
async fn read_chunk(content: &Arc<dyn Content>, offset: u64) -> io::Result<Bytes> {
    if content.size() <= CHUNK_SIZE as u64 {
        return content.read(offset, CHUNK_SIZE);
    }
    let content = content.clone();
    tokio::task::spawn_blocking(move || content.read(offset, CHUNK_SIZE))
        .await
        .map_err(io::Error::other)?
}

/// Reads the piece at `offset`, which lies before the end of the message.
///
/// # Errors
/// `Unreadable` if the content cannot be read, or ends before its size.
async fn next_piece(content: &Arc<dyn Content>, offset: u64) -> Result<Bytes, TransactionEnd> {
    let piece = read_chunk(content, offset).await.map_err(TransactionEnd::Unreadable)?;
    if piece.is_empty() {
        let short = io::Error::new(io::ErrorKind::UnexpectedEof, "the message is shorter than its size");
        return Err(TransactionEnd::Unreadable(short));
    }
    Ok(piece)
}
