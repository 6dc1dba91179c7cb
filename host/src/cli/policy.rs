//! `posthouse policy`: one file for each command.

mod bindings;
mod input;
mod load;
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
    /// Show each module: generation, digest, calls, faults
    ///
    /// Example: posthouse policy status
    #[command(verbatim_doc_comment)]
    Status(Daemon),
    /// Write what a policy in C needs to know of the contract: types, imports, exports
    ///
    /// A source file, its header and an object file with the world's type, to be linked with the
    /// policy. Other languages' tools read the WIT themselves. Needs neither daemon nor configuration.
    ///
    /// Example: posthouse policy bindings wit --lang c --world module --out generated
    #[command(verbatim_doc_comment)]
    Bindings(bindings::Options),
}

pub async fn run(command: Command) -> anyhow::Result<ExitCode> {
    match command {
        Command::Load(options) => load::run(options).await,
        Command::Status(daemon) => status::run(daemon).await,
        Command::Bindings(options) => bindings::run(&options),
    }
}
