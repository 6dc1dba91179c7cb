//! `posthouse events`.

use std::process::ExitCode;

use anyhow::{Context, bail};
use clap::Args;

use super::output::line;
use super::target::Daemon;
use crate::control::{ClientError, query};
use host_events::{EventLog, EventRecord, Format, Query, catalogue_markdown};

#[derive(Debug, Args)]
pub struct EventsArgs {
    /// Event id to show, such as 4037; without it all events
    #[arg(long, value_name = "N")]
    id: Option<u32>,
    /// Maximum number of recorded events
    #[arg(long, value_name = "N", default_value_t = 50)]
    last: usize,
    /// Follow new events
    #[arg(long)]
    follow: bool,
    /// Print the table of all event kinds instead, as in docs/reference/events.md
    #[arg(long)]
    catalogue: bool,
    #[command(flatten)]
    daemon: Daemon,
}

pub async fn run(options: EventsArgs) -> anyhow::Result<ExitCode> {
    if options.catalogue {
        line(catalogue_markdown().trim_end())?;
        return Ok(ExitCode::SUCCESS);
    }
    let format = if options.daemon.json {
        Format::Json
    } else {
        Format::Text
    };
    let target = query(
        "/events",
        &[
            ("id", options.id.map(|id| id.to_string())),
            ("last", Some(options.last.to_string())),
            ("follow", options.follow.then(|| "true".to_owned())),
        ],
    );
    let mut lines = match options.daemon.client()?.lines(&target).await {
        Ok(lines) => lines,
        Err(error @ ClientError::NotRunning { .. }) => return show_stored(&options, format, error),
        Err(error) => return Err(error.into()),
    };
    while let Some(text) = lines.next().await? {
        let record: EventRecord = serde_json::from_str(&text).context("the daemon's event was not understood")?;
        line(format.line(&record))?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Shows the stored events without a daemon, since the log has the reason why a host did not start.
///
/// # Errors
/// `error` if a live answer is needed (`--follow`, `--socket`) or there are no stored events.
fn show_stored(options: &EventsArgs, format: Format, error: ClientError) -> anyhow::Result<ExitCode> {
    if options.follow || options.daemon.socket.is_some() {
        bail!(error);
    }
    let folder = options.daemon.config.load()?.data.join("events");
    if !folder.exists() {
        bail!(error);
    }
    super::output::remark(format!("no daemon is running; from {}", folder.display()));
    let query = Query {
        id: options.id,
        last: Some(options.last),
    };
    for record in EventLog::at_rest(folder).query(&query)? {
        line(format.line(&record))?;
    }
    Ok(ExitCode::SUCCESS)
}
