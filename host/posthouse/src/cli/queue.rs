//! `posthouse queue`.

use std::process::ExitCode;

use clap::{Args, Subcommand};

use super::output::{self, line};
use super::target::Daemon;
use crate::control::{ClientError, Done, QueueItem, QueuePage, query};
use host_events::escape;
use host_mail::MessageId;
use host_spool::{Message, Recipient, RecipientState, State};

#[derive(Debug, Subcommand)]
pub enum QueueCommand {
    /// List messages, oldest first
    ///
    /// Example: posthouse queue list --state quarantined
    #[command(verbatim_doc_comment)]
    List(ListQueueArgs),
    /// Show one message: where it stands, its recipients, its header
    ///
    /// Example: posthouse queue show 019a1b2c3d4e5f607182
    #[command(verbatim_doc_comment)]
    Show(One),
    /// Make a waiting, frozen or quarantined message due now
    ///
    /// Example: posthouse queue release 019a1b2c3d4e5f607182
    #[command(verbatim_doc_comment)]
    Release(One),
    /// Remove a message for good; nobody is notified
    ///
    /// Example: posthouse queue delete 019a1b2c3d4e5f607182
    #[command(verbatim_doc_comment)]
    Delete(One),
}

#[derive(Debug, Args)]
pub struct ListQueueArgs {
    /// Only queued, failing, quarantined or frozen ones
    #[arg(long)]
    state: Option<String>,
    /// Only those after this one
    #[arg(long, value_name = "ID")]
    after: Option<MessageId>,
    /// At most so many
    #[arg(long, value_name = "N", default_value_t = 100)]
    limit: usize,
    #[command(flatten)]
    daemon: Daemon,
}

#[derive(Debug, Args)]
pub struct One {
    /// The message's id, as events and the list have it
    id: MessageId,
    #[command(flatten)]
    daemon: Daemon,
}

pub async fn run(command: QueueCommand) -> anyhow::Result<ExitCode> {
    match command {
        QueueCommand::List(options) => list(options).await,
        QueueCommand::Show(one) => show(one).await,
        QueueCommand::Release(one) => {
            let done: Done = one
                .daemon
                .client()?
                .post(&format!("/queue/{}/release", one.id), &())
                .await?;
            say(&one.daemon, &done)
        }
        QueueCommand::Delete(one) => {
            let done: Done = one.daemon.client()?.delete(&format!("/queue/{}", one.id)).await?;
            say(&one.daemon, &done)
        }
    }
}

fn say(daemon: &Daemon, done: &Done) -> anyhow::Result<ExitCode> {
    if daemon.json {
        output::json(done)?;
    } else {
        line(escape(&done.done))?;
    }
    Ok(ExitCode::SUCCESS)
}

async fn list(options: ListQueueArgs) -> anyhow::Result<ExitCode> {
    let client = options.daemon.client()?;
    let part = async |after: Option<MessageId>, limit: usize| -> Result<QueuePage, ClientError> {
        let wanted = [
            ("state", options.state.clone()),
            ("after", after.map(|id| id.to_string())),
            ("limit", Some(limit.to_string())),
        ];
        client.get(&query("/queue", &wanted)).await
    };
    let mut page = part(options.after, options.limit).await?;
    while page.messages.len() < options.limit
        && let Some(next) = page.next
    {
        let more = part(Some(next), options.limit - page.messages.len()).await?;
        page.messages.extend(more.messages);
        page.waiting.extend(more.waiting);
        page.next = more.next;
    }
    if options.daemon.json {
        output::json(&page)?;
        return Ok(ExitCode::SUCCESS);
    }
    if page.messages.is_empty() {
        line("the queue is empty")?;
        return Ok(ExitCode::SUCCESS);
    }
    let rows: Vec<_> = page.messages.iter().map(|message| row(message, &page)).collect();
    output::table(&["ID", "STATE", "SIZE", "TRIES", "DUE", "FROM", "TO"], &rows)?;
    if let Some(next) = page.next {
        line(format!("there may be more: --after {next}"))?;
    }
    Ok(ExitCode::SUCCESS)
}

fn row(message: &Message, page: &QueuePage) -> Vec<String> {
    let to = match message.recipients.as_slice() {
        [] => String::new(),
        [one] => escape(one.address.as_str()),
        [first, rest @ ..] => format!("{} and {} more", escape(first.address.as_str()), rest.len()),
    };
    vec![
        message.id.to_string(),
        state_word(&message.state).to_owned(),
        message.size.to_string(),
        message.attempts.to_string(),
        match page.waiting.get(&message.id) {
            Some(destination) => format!("when {} is back", escape(destination)),
            None => message.due.to_string(),
        },
        escape(&message.envelope.sender.to_string()),
        to,
    ]
}

fn state_word(state: &State) -> &'static str {
    match state {
        State::Queued => "queued",
        State::Failing { .. } => "failing",
        State::Quarantined { .. } => "quarantined",
        State::Frozen { .. } => "frozen",
    }
}

async fn show(one: One) -> anyhow::Result<ExitCode> {
    let item: QueueItem = one.daemon.client()?.get(&format!("/queue/{}", one.id)).await?;
    if one.daemon.json {
        output::json(&item)?;
        return Ok(ExitCode::SUCCESS);
    }
    show_record(&item.message, item.waits_for.as_deref())?;
    line("")?;
    for header in item.header.split("\r\n") {
        line(escape(header))?;
    }
    Ok(ExitCode::SUCCESS)
}

fn show_record(message: &Message, waits_for: Option<&str>) -> std::io::Result<()> {
    let field = |name: &str, value: &str| line(format!("{name:<12} {}", escape(value)));
    field("id", &message.id.to_string())?;
    field("state", &described(&message.state))?;
    field("received", &message.received.to_string())?;
    if let Some(client) = &message.client {
        let account = client
            .identity
            .as_ref()
            .map_or("not authenticated", |identity| &identity.account);
        field(
            "client",
            &format!("{} on {}, {account}", client.address, client.listener),
        )?;
    }
    field("size", &format!("{} bytes", message.size))?;
    field("attempts", &message.attempts.to_string())?;
    match waits_for {
        Some(destination) => field("due", &format!("when {destination} can be reached"))?,
        None => field("due", &message.due.to_string())?,
    }
    field("expires", &message.expires.to_string())?;
    field("faults", &message.faults.to_string())?;
    if message.notification {
        field("kind", "a notification: its own failure is not notified")?;
    }
    field("from", &message.envelope.sender.to_string())?;
    for recipient in &message.recipients {
        field("to", &recipient_line(recipient))?;
    }
    Ok(())
}

fn described(state: &State) -> String {
    match state {
        State::Queued => "queued".to_owned(),
        State::Failing { class, because } => format!("failing: {class}, by {because}"),
        State::Quarantined { folder, because } => format!("quarantined in {folder}, by {because}"),
        State::Frozen { reason } => format!("frozen: {reason}"),
    }
}

fn recipient_line(recipient: &Recipient) -> String {
    let original = recipient
        .original
        .as_ref()
        .map_or(String::new(), |original| format!(" (for {original})"));
    let state = match &recipient.state {
        RecipientState::Pending { last: None } => "pending".to_owned(),
        RecipientState::Pending { last: Some(reply) } => format!("pending, last: {reply}"),
        RecipientState::Delivered { at } => format!("delivered {at}"),
        RecipientState::Failed(failed) => format!("failed: {}, {}", failed.class, failed.reply),
    };
    format!("{}{original}: {state}", recipient.address)
}
