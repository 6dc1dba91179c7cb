//! `posthouse policy`: one file for each command.

mod comparison;
mod input;
mod load;
mod record;
mod replay;
mod shadow;
mod status;
mod when;

use std::process::ExitCode;

use clap::Subcommand;

use super::target::Daemon;
pub use status::show_modules;

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Check new code or settings and, if nothing is wrong, make them active at once
    ///
    /// Work in hand finishes with the old generation. What was loaded stays active over a restart.
    /// A policy that is refused changes nothing; every problem is printed.
    ///
    /// Example: posthouse policy load my-policy.wasm --settings @settings.json --as default
    #[command(verbatim_doc_comment)]
    Load(load::Options),
    /// Show each module: generation, digest, calls, faults
    ///
    /// Example: posthouse policy status
    #[command(verbatim_doc_comment)]
    Status(Daemon),
    /// Look at recorded decisions
    ///
    /// Modules are recorded whose configuration says `record = "on"` or `record = "hashed"`.
    #[command(subcommand)]
    Record(record::Command),
    /// Ask a candidate what was recorded, offline, and show what it would have decided otherwise
    ///
    /// Same questions, same answers of the host, same clock; nothing live is asked or changed. A
    /// decision is a guess ("unrecorded") if the candidate asked the host what the active policy had
    /// not. Exit code 0 without differences, 1 with, 2 if nothing could be compared.
    ///
    /// Example: posthouse policy replay my-policy.wasm --since 1d
    #[command(verbatim_doc_comment)]
    Replay(replay::Options),
    /// Let a candidate see what the active policy sees, and compare; nothing it says is applied
    ///
    /// It runs beside the mail and cannot slow it down: what is too much for it is dropped and
    /// counted. It ends by itself after --for, and when another generation becomes active.
    ///
    /// Example: posthouse policy shadow my-policy.wasm --share 10% --for 30m
    #[command(verbatim_doc_comment)]
    Shadow(shadow::Options),
    /// Show what the shadow would change
    ///
    /// Of a shadow that has ended, too. Exit code 0 without differences, 1 with, 2 without a shadow.
    ///
    /// Example: posthouse policy diff --json
    #[command(verbatim_doc_comment)]
    Diff(Daemon),
}

pub async fn run(command: Command) -> anyhow::Result<ExitCode> {
    match command {
        Command::Load(options) => load::run(options).await,
        Command::Status(daemon) => status::run(daemon).await,
        Command::Record(command) => record::run(command).await,
        Command::Replay(options) => replay::run(options).await,
        Command::Shadow(options) => shadow::run(options).await,
        Command::Diff(daemon) => shadow::diff(daemon).await,
    }
}
