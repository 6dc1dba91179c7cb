//! `posthouse policy`: one file for each command.

mod cancel;
mod input;
mod load;
mod promote;
mod stage;
mod status;

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
    /// Let a candidate decide for a share of the sessions, or for some clients, for a while
    ///
    /// It is checked as for a load. Each session has the same policy from its first question to its
    /// last. The stage ends by itself when its time is over, when the candidate faults too often, or
    /// when the host stops; then the active policy decides everything again.
    ///
    /// Example: posthouse policy stage my-policy.wasm --share 5% --for 30m
    #[command(verbatim_doc_comment)]
    Stage(stage::Options),
    /// Make the staged candidate active for everybody
    ///
    /// Example: posthouse policy promote
    #[command(verbatim_doc_comment)]
    Promote(promote::Options),
    /// End the stage: the active policy decides everything again
    ///
    /// Example: posthouse policy cancel
    #[command(verbatim_doc_comment)]
    Cancel(Daemon),
    /// Show each module: health, generation, calls, faults, time, probation, stage, what drains
    ///
    /// Example: posthouse policy status
    #[command(verbatim_doc_comment)]
    Status(Daemon),
}

pub async fn run(command: Command) -> anyhow::Result<ExitCode> {
    match command {
        Command::Load(options) => load::run(options).await,
        Command::Stage(options) => stage::run(options).await,
        Command::Promote(options) => promote::run(options).await,
        Command::Cancel(daemon) => cancel::run(daemon).await,
        Command::Status(daemon) => status::run(daemon).await,
    }
}
