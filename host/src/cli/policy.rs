//! `posthouse policy`: one file for each command.

mod bench;
mod explain;
mod faults;
mod fixture;
mod input;
mod load;
mod measure;
mod new;
mod play;
mod run;
mod schema;
mod status;
mod subject;
mod template;
mod toolchain;
mod vendor;
mod words;

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
    /// Make a folder with a new policy that builds and passes its own cases
    ///
    /// Source, the contract (wit/), cases, README and what a build server runs. Nothing is fetched.
    ///
    /// Example: posthouse policy new quiet-hours --lang rust --role homing
    #[command(verbatim_doc_comment)]
    New(new::Options),
    /// Put the questions of case files to a policy, and compare its answers with what they expect
    ///
    /// Prints each decision with its rule, what was logged, how long it took, how much was executed
    /// (fuel, the same on every machine) and how much memory there was. Exit code 1 if an
    /// expectation is not met.
    ///
    /// Example: posthouse policy run my-policy.wasm --case tests/cases.toml --update
    #[command(verbatim_doc_comment)]
    Run(run::Options),
    /// Measure what a policy's decisions cost, beside the built-in default policy
    ///
    /// Example: posthouse policy bench my-policy.wasm --case tests/cases.toml --rounds 2000
    #[command(verbatim_doc_comment)]
    Bench(bench::Options),
    /// Show what a policy is: rules, settings, imports, limits, contract, tools that made it
    ///
    /// Exit code 1 if this host could not load it.
    ///
    /// Example: posthouse policy explain my-policy.wasm --settings @settings.json
    #[command(verbatim_doc_comment)]
    Explain(explain::Options),
    /// Stop a policy in the middle of each stage, and show what clients, senders and you would meet
    ///
    /// The stages are the daemon's own, with the fault table of the configuration. Exit code 1 if it
    /// could not be stopped somewhere.
    ///
    /// Example: posthouse policy test-faults my-policy.wasm --case tests/cases.toml
    #[command(verbatim_doc_comment)]
    TestFaults(faults::Options),
    /// Show each module: generation, digest, calls, faults
    ///
    /// Example: posthouse policy status
    #[command(verbatim_doc_comment)]
    Status(Daemon),
}

pub async fn run(command: Command) -> anyhow::Result<ExitCode> {
    match command {
        Command::Load(options) => load::run(options).await,
        Command::New(options) => new::run(options).await,
        Command::Run(options) => run::run(options).await,
        Command::Bench(options) => bench::run(options).await,
        Command::Explain(options) => explain::run(options).await,
        Command::TestFaults(options) => faults::run(options).await,
        Command::Status(daemon) => status::run(daemon).await,
    }
}
