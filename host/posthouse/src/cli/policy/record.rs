//! `posthouse policy record`.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context;
use clap::{Args, Subcommand};

use crate::cli::output::{self, line};
use crate::cli::policy::time_args;
use crate::cli::target::Daemon;
use crate::control::{Lines, query};
use host_events::escape;
use host_files::FileDraft;
use host_mail::{RecordId, Timestamp};
use host_policy::{Completeness, Record, Stand};

#[derive(Debug, Subcommand)]
pub enum RecordCommand {
    /// List recorded decisions, oldest first
    ///
    /// Example: posthouse policy record list --since 2h --as default
    #[command(verbatim_doc_comment)]
    List(ListArgs),
    /// Show a record: questions, answers of the host, decisions
    ///
    /// Example: posthouse policy record show 0019a8c3f1d2c0ffee00
    #[command(verbatim_doc_comment)]
    Show(ShowArgs),
    /// Write records to a file, one JSON object a line
    ///
    /// The file holds addresses and headers of mail and is readable by its owner only. `-` is standard
    /// output. With --json the summary is JSON, too.
    ///
    /// Example: posthouse policy record export decisions.jsonl --since 1d
    #[command(verbatim_doc_comment)]
    Export(ExportArgs),
}

/// Arguments that choose records.
#[derive(Debug, Clone, Default, Args)]
pub struct RecordFilter {
    /// Start of the records: an age such as 2h, or a time such as 2026-03-01T12:00:00Z
    #[arg(long, value_name = "T", value_parser = time_args::point)]
    pub since: Option<Timestamp>,
    /// Maximum number of records; the newest are chosen
    #[arg(long, value_name = "N")]
    pub last: Option<usize>,
    /// Module of the chain; without it all modules
    #[arg(long = "as", value_name = "MODULE")]
    pub module: Option<String>,
}

impl RecordFilter {
    /// Requests the records from the daemon, as lines of JSON.
    pub async fn fetch(&self, daemon: &Daemon) -> anyhow::Result<Lines> {
        let target = query(
            "/records",
            &[
                ("since", self.since.map(|since| since.0.to_string())),
                ("last", self.last.map(|last| last.to_string())),
                ("module", self.module.clone()),
            ],
        );
        Ok(daemon.client()?.lines(&target).await?)
    }
}

#[derive(Debug, Args)]
pub struct ListArgs {
    #[command(flatten)]
    filter: RecordFilter,
    #[command(flatten)]
    daemon: Daemon,
}

#[derive(Debug, Args)]
pub struct ShowArgs {
    /// Record id, as in `list`
    #[arg(value_name = "ID")]
    id: RecordId,
    #[command(flatten)]
    daemon: Daemon,
}

#[derive(Debug, Args)]
pub struct ExportArgs {
    /// File to write; `-` is standard output
    #[arg(value_name = "FILE")]
    file: PathBuf,
    #[command(flatten)]
    filter: RecordFilter,
    #[command(flatten)]
    daemon: Daemon,
}

pub async fn run(command: RecordCommand) -> anyhow::Result<ExitCode> {
    match command {
        RecordCommand::List(list) => self::list(list).await,
        RecordCommand::Show(show) => self::show(show).await,
        RecordCommand::Export(export) => self::export(export).await,
    }
}

/// Default number of listed records.
const DEFAULT_LAST: usize = 50;

async fn list(options: ListArgs) -> anyhow::Result<ExitCode> {
    let mut filter = options.filter;
    if filter.last.is_none() && filter.since.is_none() {
        filter.last = Some(DEFAULT_LAST);
    }
    let mut lines = filter.fetch(&options.daemon).await?;
    let mut is_empty = true;
    while let Some(text) = lines.next().await? {
        is_empty = false;
        if options.daemon.json {
            line(output::visible(&text))?;
        } else {
            let record: Record = serde_json::from_str(&text).context("the daemon's record was not understood")?;
            line(summary(&record))?;
        }
    }
    if is_empty {
        output::remark("no records; modules are recorded whose configuration says record = \"on\" or \"hashed\"");
    }
    Ok(ExitCode::SUCCESS)
}

/// A line with time, id, module, generation and decisions.
fn summary(record: &Record) -> String {
    let exchanges = record.exchanges.iter();
    let decisions: Vec<String> = exchanges
        .map(|exchange| format!("{}: {}", exchange.question.stage(), Stand::of(&exchange.outcome)))
        .collect();
    escape(&format!(
        "{} {} {} {}{}  {}",
        record.time,
        record.id,
        record.module,
        record.generation,
        kept(record.kept),
        decisions.join("; ")
    ))
}

fn kept(kept: Completeness) -> &'static str {
    match kept {
        Completeness::All => "",
        Completeness::Part => " (in part)",
        Completeness::Hashed => " (hashed)",
    }
}

async fn show(options: ShowArgs) -> anyhow::Result<ExitCode> {
    let record: Record = options
        .daemon
        .client()?
        .get(&format!("/records/{}", options.id))
        .await?;
    if options.daemon.json {
        output::json(&record)?;
        return Ok(ExitCode::SUCCESS);
    }
    line(format!("record   {}{}", record.id, kept(record.kept)))?;
    line(format!("time     {}", record.time))?;
    if let Some(session) = record.session {
        line(format!("session  {session}"))?;
    }
    if let Some(message) = record.message {
        line(format!("message  {message}"))?;
    }
    line(format!(
        "policy   {} generation {} digest {}",
        escape(&record.module),
        record.generation,
        escape(&record.digest)
    ))?;
    for exchange in &record.exchanges {
        let question = &exchange.question;
        line(format!(
            "{} {}  {} µs",
            question.stage(),
            escape(&question.subject()),
            exchange.micros
        ))?;
        for called in &exchange.calls {
            let call = serde_json::to_string(&called.call)?;
            let given = serde_json::to_string(&called.given)?;
            line(format!("    {} -> {}", escape(&call), escape(&given)))?;
        }
        line(format!("    {}", escape(&Stand::of(&exchange.outcome).to_string())))?;
    }
    Ok(ExitCode::SUCCESS)
}

async fn export(options: ExportArgs) -> anyhow::Result<ExitCode> {
    let mut lines = options.filter.fetch(&options.daemon).await?;
    let stdout = options.file == Path::new("-");
    let count = if stdout {
        copy(&mut lines, &mut std::io::stdout()).await?
    } else {
        let shown = options.file.display().to_string();
        // The draft has mode 0600, and replaces the target only when all records are written.
        let draft = FileDraft::private(&options.file).with_context(|| shown.clone())?;
        let mut out = std::io::BufWriter::new(draft);
        let count = copy(&mut lines, &mut out).await?;
        let draft = out.into_inner().with_context(|| shown.clone())?;
        draft.publish().with_context(|| shown.clone())?;
        count
    };
    if options.daemon.json && !stdout {
        output::json(&serde_json::json!({ "records": count, "file": options.file }))?;
    } else {
        output::remark(format!("{count} record(s)"));
    }
    Ok(ExitCode::SUCCESS)
}

async fn copy(lines: &mut Lines, out: &mut impl Write) -> anyhow::Result<u64> {
    let mut count = 0;
    while let Some(text) = lines.next().await? {
        writeln!(out, "{}", output::visible(&text))?;
        count += 1;
    }
    out.flush()?;
    Ok(count)
}
