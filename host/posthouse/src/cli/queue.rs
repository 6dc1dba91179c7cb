//! `posthouse queue`.

use std::process::ExitCode;

use clap::{Args, Subcommand};

use super::output::{self, line};
use super::target::Daemon;
use crate::control::{ClientError, Done, QueueItem, QueuePage, query};
use host_events::escape;
use host_mail::MessageId;
use host_spool::{Message, Recipient, RecipientState, SetAsideMessage, State};

#[derive(Debug, Subcommand)]
pub enum QueueCommand {
    /// List messages, oldest first
    ///
    /// Example: posthouse queue list --state quarantined
    #[command(verbatim_doc_comment)]
    List(ListQueueArgs),
    /// Show a message: state, recipients and header
    ///
    /// Example: posthouse queue show 019a1b2c3d4e5f607182
    #[command(verbatim_doc_comment)]
    Show(QueueMessageArgs),
    /// Make a waiting, frozen or quarantined message due now, or put back one that was set aside
    ///
    /// Example: posthouse queue release 019a1b2c3d4e5f607182
    #[command(verbatim_doc_comment)]
    Release(QueueMessageArgs),
    /// Delete a message without notification
    ///
    /// Example: posthouse queue delete 019a1b2c3d4e5f607182
    #[command(verbatim_doc_comment)]
    Delete(QueueMessageArgs),
}

#[derive(Debug, Args)]
pub struct ListQueueArgs {
    /// State to list: queued, failing, quarantined, frozen or set-aside; without it all
    #[arg(long)]
    state: Option<String>,
    /// Id after which the list begins
    #[arg(long, value_name = "ID")]
    after: Option<MessageId>,
    /// Maximum number of messages
    #[arg(long, value_name = "N", default_value_t = 100)]
    limit: usize,
    #[command(flatten)]
    daemon: Daemon,
}

#[derive(Debug, Args)]
pub struct QueueMessageArgs {
    /// Message id, as in events and in the list
    id: MessageId,
    #[command(flatten)]
    daemon: Daemon,
}

pub async fn run(command: QueueCommand) -> anyhow::Result<ExitCode> {
    match command {
        QueueCommand::List(options) => list(options).await,
        QueueCommand::Show(options) => show(options).await,
        QueueCommand::Release(options) => {
            let done: Done = options
                .daemon
                .client()?
                .post(&format!("/queue/{}/release", options.id), &())
                .await?;
            show_done(&options.daemon, &done)
        }
        QueueCommand::Delete(options) => {
            let done: Done = options
                .daemon
                .client()?
                .delete(&format!("/queue/{}", options.id))
                .await?;
            show_done(&options.daemon, &done)
        }
    }
}

fn show_done(daemon: &Daemon, done: &Done) -> anyhow::Result<ExitCode> {
    if daemon.json {
        output::json(done)?;
    } else {
        line(escape(&done.done))?;
    }
    Ok(ExitCode::SUCCESS)
}

async fn list(options: ListQueueArgs) -> anyhow::Result<ExitCode> {
    let client = options.daemon.client()?;
    let fetch_page = async |after: Option<MessageId>, limit: usize| -> Result<QueuePage, ClientError> {
        let filter = [
            ("state", options.state.clone()),
            ("after", after.map(|id| id.to_string())),
            ("limit", Some(limit.to_string())),
        ];
        client.get(&query("/queue", &filter)).await
    };
    let mut page = fetch_page(options.after, options.limit).await?;
    while page.messages.len() + page.set_aside.len() < options.limit
        && let Some(next) = page.next
    {
        let room = options.limit - page.messages.len() - page.set_aside.len();
        let more = fetch_page(Some(next), room).await?;
        page.messages.extend(more.messages);
        page.set_aside.extend(more.set_aside);
        page.waiting.extend(more.waiting);
        page.next = more.next;
    }
    if options.daemon.json {
        output::json(&page)?;
        return Ok(ExitCode::SUCCESS);
    }
    if page.messages.is_empty() && page.set_aside.is_empty() {
        line("the queue is empty")?;
        return Ok(ExitCode::SUCCESS);
    }
    let mut rows: Vec<_> = page.set_aside.iter().map(set_aside_row).collect();
    rows.extend(page.messages.iter().map(|message| row(message, &page)));
    output::table(&["ID", "STATE", "SIZE", "TRIES", "DUE", "FROM", "TO"], &rows)?;
    if let Some(next) = page.next {
        line(format!("there may be more: --after {next}"))?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Row of a message that was set aside: the reason stands in place of the due time.
fn set_aside_row(set_aside: &SetAsideMessage) -> Vec<String> {
    let message = set_aside.message.as_ref();
    let of = |text: fn(&Message) -> String| message.map_or("?".to_owned(), text);
    vec![
        set_aside.id.to_string(),
        "set-aside".to_owned(),
        of(|message| message.size.to_string()),
        of(|message| message.attempts.to_string()),
        escape(&set_aside.reason),
        of(|message| escape(&message.envelope.sender.to_string())),
        of(recipients),
    ]
}

fn recipients(message: &Message) -> String {
    match message.recipients.as_slice() {
        [] => String::new(),
        [only] => escape(only.address.as_str()),
        [first, rest @ ..] => format!("{} and {} more", escape(first.address.as_str()), rest.len()),
    }
}

fn row(message: &Message, page: &QueuePage) -> Vec<String> {
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
        recipients(message),
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

async fn show(options: QueueMessageArgs) -> anyhow::Result<ExitCode> {
    let item: QueueItem = options.daemon.client()?.get(&format!("/queue/{}", options.id)).await?;
    if options.daemon.json {
        output::json(&item)?;
        return Ok(ExitCode::SUCCESS);
    }
    if let Some(set_aside) = &item.set_aside {
        line(format!(
            "{:<12} {}, {}",
            "set aside",
            set_aside.at,
            escape(&set_aside.reason)
        ))?;
    }
    if let Some(message) = &item.message {
        show_record(message, item.waits_for.as_deref())?;
    }
    if item.set_aside.is_some() {
        return Ok(ExitCode::SUCCESS);
    }
    line("")?;
    for header in item.header.split("\r\n") {
        line(escape(header))?;
    }
    Ok(ExitCode::SUCCESS)
}

fn show_record(message: &Message, waits_for: Option<&str>) -> std::io::Result<()> {
    let field = |name: &str, value: &str| line(format!("{name:<12} {}", escape(value)));
    field("id", &message.id.to_string())?;
    field("state", &state_detail(&message.state))?;
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

fn state_detail(state: &State) -> String {
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
