//! `posthouse spool`.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context as _;
use clap::{Args, Subcommand};

use super::output::line;
use super::target::ConfigFile;
use crate::daemon::SPOOL_MARK;
use host_events::{Event, Events, escape};
use host_spool::{CheckedSpool, OnDamage, Spool, SpoolOptions, check_spool};

#[derive(Debug, Subcommand)]
pub enum SpoolCommand {
    /// Read the whole spool of a stopped daemon and report every part that is missing or damaged
    ///
    /// Repairs nothing. Exit code 0 if the spool is whole, 1 otherwise.
    ///
    /// Example: posthouse spool check --config /etc/posthouse/posthouse.toml
    #[command(verbatim_doc_comment)]
    Check(SpoolArgs),
    /// Make a damaged spool of a stopped daemon usable with what is left of it
    ///
    /// First keeps a copy of the store in spool/damaged/. Then repairs what can be repaired, and
    /// prints what was missing and how many messages are left. Does nothing to a spool that is whole.
    ///
    /// Example: posthouse spool salvage --config /etc/posthouse/posthouse.toml
    #[command(verbatim_doc_comment)]
    Salvage(SpoolArgs),
}

#[derive(Debug, Args)]
pub struct SpoolArgs {
    #[command(flatten)]
    config: ConfigFile,
}

impl SpoolArgs {
    fn data(&self) -> anyhow::Result<PathBuf> {
        Ok(self.config.load()?.data)
    }
}

pub fn run(command: SpoolCommand) -> anyhow::Result<ExitCode> {
    match command {
        SpoolCommand::Check(options) => {
            let data = options.data()?;
            let (folder, mark) = (data.join("spool"), data.join(SPOOL_MARK));
            show(&check_spool(&folder, &mark).context(folder.display().to_string())?)
        }
        SpoolCommand::Salvage(options) => salvage(&options.data()?),
    }
}

fn show(checked: &CheckedSpool) -> anyhow::Result<ExitCode> {
    for damage in &checked.damage {
        line(escape(&damage.to_string()))?;
    }
    for (id, reason) in &checked.set_aside {
        line(escape(&format!("message {id} was set aside: {reason}")))?;
    }
    if !checked.damage.is_empty() {
        line("the spool is damaged; posthouse spool salvage keeps every byte and makes what is left usable")?;
        return Ok(ExitCode::FAILURE);
    }
    line(format!("the spool is whole: {} messages", checked.messages))?;
    Ok(ExitCode::SUCCESS)
}

fn salvage(data: &Path) -> anyhow::Result<ExitCode> {
    let (folder, mark) = (data.join("spool"), data.join(SPOOL_MARK));
    anyhow::ensure!(
        folder.join("format").exists() || mark.exists(),
        "{} is no spool",
        folder.display()
    );
    let (events, captured) = Events::capture();
    let options = SpoolOptions {
        on_damage: OnDamage::Salvage,
        mark: Some(mark),
        ..SpoolOptions::default()
    };
    let spool = Spool::open(&folder, options, events).context(folder.display().to_string())?;
    let counts = spool.counts();
    let mut damaged = false;
    for event in captured.events() {
        match event {
            Event::SpoolSalvaged { damage, kept } => {
                damaged = true;
                for text in damage {
                    line(escape(&text))?;
                }
                line(format!("kept           {}", escape(&kept)))?;
            }
            Event::SpoolEntrySetAside { message, error } => {
                line(escape(&format!("set aside      {message}: {error}")))?
            }
            Event::SpoolRecovered {
                orphans_removed,
                orphans_kept_in: Some(folder),
                ..
            } => line(format!("orphans        {orphans_removed}, in {}", escape(&folder)))?,
            _ => {}
        }
    }
    let left = counts.queued + counts.failing + counts.quarantined + counts.frozen;
    line(match damaged {
        true => format!("left           {left} messages; the daemon can be started"),
        false => format!("the spool is whole: {left} messages"),
    })?;
    Ok(ExitCode::SUCCESS)
}
