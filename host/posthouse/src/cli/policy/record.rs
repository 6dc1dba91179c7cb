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
use host_mail::{RecordId, Timestamp};
use host_policy::{Completeness, Record, Stand};

#[derive(Debug, Subcommand)]
pub enum RecordCommand {
    /// List recorded decisions, oldest first
    ///
    /// Example: posthouse policy record list --since 2h --as default
    #[command(verbatim_doc_comment)]
    ListArgs(ListArgs),
    /// Show one record: what was asked, what the host answered, what was decided
    ///
    /// Example: posthouse policy record show 0019a8c3f1d2c0ffee00
    #[command(verbatim_doc_comment)]
    ShowArgs(ShowArgs),
    /// Write records to a file, one JSON object a line
    ///
    /// The file holds addresses and headers of mail: it is readable for its owner alone. `-` is
    /// standard output. With --json the summary is JSON, too.
    ///
    /// Example: posthouse policy record export decisions.jsonl --since 1d
    #[command(verbatim_doc_comment)]
    ExportArgs(ExportArgs),
}

/// Which records.
#[derive(Debug, Clone, Default, Args)]
pub struct Which {
    /// Only since then: how long ago, such as 2h, or a time such as 2026-03-01T12:00:00Z
    #[arg(long, value_name = "T", value_parser = time_args::point)]
    pub since: Option<Timestamp>,
    /// Only the last so many
    #[arg(long, value_name = "N")]
    pub last: Option<usize>,
    /// Only of this module of the chain
    #[arg(long = "as", value_name = "MODULE")]
    pub module: Option<String>,
}

impl Which {
    /// The daemon's lines.
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
    which: Which,
    #[command(flatten)]
    daemon: Daemon,
}

#[derive(Debug, Args)]
pub struct ShowArgs {
    /// As `list` shows it
    #[arg(value_name = "ID")]
    id: RecordId,
    #[command(flatten)]
    daemon: Daemon,
}

#[derive(Debug, Args)]
pub struct ExportArgs {
    /// Where to; `-` is standard output
    #[arg(value_name = "FILE")]
    file: PathBuf,
    #[command(flatten)]
    which: Which,
    #[command(flatten)]
    daemon: Daemon,
}

pub async fn run(command: RecordCommand) -> anyhow::Result<ExitCode> {
    match command {
        RecordCommand::ListArgs(list) => self::list(list).await,
        RecordCommand::ShowArgs(show) => self::show(show).await,
        RecordCommand::ExportArgs(export) => self::export(export).await,
    }
}

/// Unless something else is asked for, as many as fit on a screen.
const LAST: usize = 50;

async fn list(options: ListArgs) -> anyhow::Result<ExitCode> {
    let mut which = options.which;
    if which.last.is_none() && which.since.is_none() {
        which.last = Some(LAST);
    }
    let mut lines = which.fetch(&options.daemon).await?;
    let mut none = true;
    while let Some(text) = lines.next().await? {
        none = false;
        if options.daemon.json {
            line(output::visible(&text))?;
        } else {
            let record: Record = serde_json::from_str(&text).context("the daemon's record was not understood")?;
            line(short(&record))?;
        }
    }
    if none {
        output::remark("no records; modules are recorded whose configuration says record = \"on\" or \"hashed\"");
    }
    Ok(ExitCode::SUCCESS)
}

/// One line: time, id, who decided, and each decision.
fn short(record: &Record) -> String {
    let exchanges = record.exchanges.iter();
    let said: Vec<String> = exchanges
        .map(|exchange| format!("{}: {}", exchange.question.stage(), Stand::of(&exchange.outcome)))
        .collect();
    escape(&format!(
        "{} {} {} {}{}  {}",
        record.time,
        record.id,
        record.module,
        record.generation,
        kept(record.kept),
        said.join("; ")
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
    let mut lines = options.which.fetch(&options.daemon).await?;
    let stdout = options.file == Path::new("-");
    let count = if stdout {
        copy(&mut lines, &mut std::io::stdout()).await?
    } else {
        let shown = options.file.display().to_string();
        let folder = options.file.parent().filter(|folder| !folder.as_os_str().is_empty());
        // Readable for its owner alone, and in its place only when it is whole.
        let draft = tempfile::NamedTempFile::new_in(folder.unwrap_or(Path::new("."))).with_context(|| shown.clone())?;
        let mut out = std::io::BufWriter::new(draft);
        let count = copy(&mut lines, &mut out).await?;
        let draft = out.into_inner().with_context(|| shown.clone())?;
        draft.persist(&options.file).with_context(|| shown.clone())?;
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
