//! `posthouse policy`: one file for each command.

mod comparison;
mod activated;
mod check;
mod history;
mod input;
mod inspect;
mod load;
mod record;
mod replay;
mod shadow;
mod rollback;
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
    /// Prints the generation, what changed, and how much work in hand finishes with the old one.
    /// What was loaded stays active over a restart. A policy that is refused changes nothing; every
    /// problem is printed.
    ///
    /// Example: posthouse policy load my-policy.wasm --settings @settings.json --as default
    #[command(verbatim_doc_comment)]
    Load(load::Options),
    /// Do everything a load does, except loading
    ///
    /// Contract, grants, signature, types, compiling, configure. Asks the configuration's module, or
    /// with --running the daemon's as it stands. Exit code 0 if it could be loaded, 1 if not.
    ///
    /// Example: posthouse policy check my-policy.wasm --settings @settings.json --config posthouse.toml
    #[command(verbatim_doc_comment)]
    Check(check::Options),
    /// Show what a component is and what it wants, without running it
    ///
    /// Contract version, roles, interfaces, the grants it needs, the tools that made it. Exit code 1
    /// if this host could never load it.
    ///
    /// Example: posthouse policy inspect my-policy.wasm
    #[command(verbatim_doc_comment)]
    Inspect(inspect::Options),
    /// Show what was active when, by whom and why
    ///
    /// The last 50 activations of each module, newest first. Those whose code is kept can be gone
    /// back to.
    ///
    /// Example: posthouse policy history --as default
    #[command(verbatim_doc_comment)]
    History(history::Options),
    /// Go back to code and settings that were active before
    ///
    /// Without a generation to what was active before the present one; again, and it goes one
    /// further back. Needs no file. Grants and limits stay the configuration's.
    ///
    /// Example: posthouse policy rollback 7 --as default --reason too-strict
    #[command(verbatim_doc_comment)]
    Rollback(rollback::Options),
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
        Command::Check(options) => check::run(options).await,
        Command::Inspect(options) => inspect::run(&options),
        Command::History(options) => history::run(options).await,
        Command::Rollback(options) => rollback::run(options).await,
        Command::Status(daemon) => status::run(daemon).await,
        Command::Record(command) => record::run(command).await,
        Command::Replay(options) => replay::run(options).await,
        Command::Shadow(options) => shadow::run(options).await,
        Command::Diff(daemon) => shadow::diff(daemon).await,
    }
}
