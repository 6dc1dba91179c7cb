//! `posthouse policy`: one file for each command.

mod input;
mod load;
mod status;
mod template;

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
}

pub async fn run(command: Command) -> anyhow::Result<ExitCode> {
    match command {
        Command::Load(options) => load::run(options).await,
        Command::Status(daemon) => status::run(daemon).await,
    }
}
