//! `posthouse policy`: one file for each command.

mod activated;
mod bench;
mod cancel;
mod case_conversion;
mod case_host;
mod check;
mod counters;
mod embed;
mod explain;
mod generate_bindings;
mod history;
mod input;
mod inspect;
mod load;
mod measure;
mod new;
mod play_case;
mod policy_args;
mod promote;
mod record;
mod replay;
mod rollback;
mod run;
mod schema;
mod shadow;
mod show_changes;
mod stage;
mod status;
mod template;
mod test_faults;
mod time_args;
mod toolchain;
mod vendor;

use std::process::ExitCode;

use clap::Subcommand;

use super::target::Daemon;
pub use status::show_modules;

#[derive(Debug, Subcommand)]
pub enum PolicyCommand {
    /// Check new code or settings and, if nothing is wrong, make them active at once
    ///
    /// Prints the generation, what changed, and how much work in hand finishes with the old one.
    /// What was loaded stays active over a restart. A policy that is refused changes nothing; every
    /// problem is printed.
    ///
    /// Example: posthouse policy load my-policy.wasm --settings @settings.json --as default
    #[command(verbatim_doc_comment)]
    Load(load::LoadArgs),
    /// Do everything a load does, except loading
    ///
    /// Contract, grants, signature, types, compiling, configure. Asks the configuration's module, or
    /// with --running the daemon's as it stands. Exit code 0 if it could be loaded, 1 if not.
    ///
    /// Example: posthouse policy check my-policy.wasm --settings @settings.json --config posthouse.toml
    #[command(verbatim_doc_comment)]
    Check(check::CheckArgs),
    /// Show what a component is and what it wants, without running it
    ///
    /// Contract version, roles, interfaces, the grants it needs, the tools that made it. Exit code 1
    /// if this host could never load it.
    ///
    /// Example: posthouse policy inspect my-policy.wasm
    #[command(verbatim_doc_comment)]
    Inspect(inspect::InspectArgs),
    /// Show what was active when, by whom and why
    ///
    /// The last 50 activations of each module, newest first. Those whose code is kept can be gone
    /// back to.
    ///
    /// Example: posthouse policy history --as default
    #[command(verbatim_doc_comment)]
    History(history::HistoryArgs),
    /// Show the numbers that the host keeps for a module (the grant `counters`): key, value, end
    ///
    /// In the order of their keys; --after shows the next page.
    ///
    /// Example: posthouse policy counters --as sender-quota
    #[command(verbatim_doc_comment)]
    Counters(counters::CountersArgs),
    /// Go back to code and settings that were active before
    ///
    /// Without a generation to what was active before the present one; again, and it goes one
    /// further back. Needs no file. Grants and limits stay the configuration's.
    ///
    /// Example: posthouse policy rollback 7 --as default --reason too-strict
    #[command(verbatim_doc_comment)]
    Rollback(rollback::RollbackArgs),
    /// Make a folder with a new policy that builds and passes its own cases
    ///
    /// Source, the contract (wit/), cases, README and what a build server runs. Nothing is fetched.
    ///
    /// Example: posthouse policy new quiet-hours --lang rust --role homing
    #[command(verbatim_doc_comment)]
    New(new::NewArgs),
    /// Put the questions of case files to a policy, and compare its answers with what they expect
    ///
    /// Prints each decision with its rule, what was logged, how long it took, how much was executed
    /// (fuel, the same on every machine) and how much memory there was. Exit code 1 if an
    /// expectation is not met.
    ///
    /// Example: posthouse policy run my-policy.wasm --case tests/cases.toml --update
    #[command(verbatim_doc_comment)]
    Run(run::RunArgs),
    /// Measure what a policy's decisions cost, beside the built-in default policy
    ///
    /// Example: posthouse policy bench my-policy.wasm --case tests/cases.toml --rounds 2000
    #[command(verbatim_doc_comment)]
    Bench(bench::BenchArgs),
    /// Show what a policy is: rules, settings, imports, limits, contract, tools that made it
    ///
    /// Exit code 1 if this host could not load it.
    ///
    /// Example: posthouse policy explain my-policy.wasm --settings @settings.json
    #[command(verbatim_doc_comment)]
    Explain(explain::ExplainArgs),
    /// Put the schema of its settings into a policy, for `explain`
    ///
    /// In Rust the SDK does it. Once for each build, and before the policy is signed.
    ///
    /// Example: posthouse policy embed my-policy.wasm settings.schema.json
    #[command(verbatim_doc_comment)]
    Embed(embed::EmbedArgs),
    /// Stop a policy in the middle of each stage, and show what clients, senders and you would meet
    ///
    /// The stages are the daemon's own, with the fault table of the configuration. Exit code 1 if it
    /// could not be stopped somewhere.
    ///
    /// Example: posthouse policy test-faults my-policy.wasm --case tests/cases.toml
    #[command(verbatim_doc_comment)]
    TestFaults(crate::cli::policy::test_faults::TestFaultsArgs),
    /// Let a candidate decide for a share of the sessions, or for some clients, for a while
    ///
    /// It is checked as for a load. Each session has the same policy from its first question to its
    /// last. The stage ends by itself when its time is over, when the candidate faults too often, or
    /// when the host stops; then the active policy decides everything again.
    ///
    /// Example: posthouse policy stage my-policy.wasm --share 5% --for 30m
    #[command(verbatim_doc_comment)]
    Stage(stage::StageArgs),
    /// Make the staged candidate active for everybody
    ///
    /// Example: posthouse policy promote
    #[command(verbatim_doc_comment)]
    Promote(promote::PromoteArgs),
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
    /// Look at recorded decisions
    ///
    /// Modules are recorded whose configuration says `record = "on"` or `record = "hashed"`.
    #[command(subcommand)]
    Record(record::RecordCommand),
    /// Ask a candidate what was recorded, offline, and show what it would have decided otherwise
    ///
    /// Same questions, same answers of the host, same clock; nothing live is asked or changed. A
    /// decision is a guess ("unrecorded") if the candidate asked the host what the active policy had
    /// not. Exit code 0 without differences, 1 with, 2 if nothing could be compared.
    ///
    /// Example: posthouse policy replay my-policy.wasm --since 1d
    #[command(verbatim_doc_comment)]
    Replay(replay::ReplayArgs),
    /// Let a candidate see what the active policy sees, and compare; nothing it says is applied
    ///
    /// It runs beside the mail and cannot slow it down: what is too much for it is dropped and
    /// counted. It ends by itself after --for, and when another generation becomes active.
    ///
    /// Example: posthouse policy shadow my-policy.wasm --share 10% --for 30m
    #[command(verbatim_doc_comment)]
    Shadow(shadow::ShadowArgs),
    /// Show what the shadow would change
    ///
    /// Of a shadow that has ended, too. Exit code 0 without differences, 1 with, 2 without a shadow.
    ///
    /// Example: posthouse policy diff --json
    #[command(verbatim_doc_comment)]
    Diff(Daemon),
    /// Write what a policy in C needs to know of the contract: types, imports, exports
    ///
    /// A source file, its header and an object file with the world's type, to be linked with the
    /// policy. Other languages' tools read the WIT themselves. Needs neither daemon nor configuration.
    ///
    /// Example: posthouse policy bindings wit --lang c --world module --out generated
    #[command(verbatim_doc_comment)]
    Bindings(crate::cli::policy::generate_bindings::BindingsArgs),
}

pub async fn run(command: PolicyCommand) -> anyhow::Result<ExitCode> {
    match command {
        PolicyCommand::Load(options) => load::run(options).await,
        PolicyCommand::Check(options) => check::run(options).await,
        PolicyCommand::Inspect(options) => inspect::run(&options),
        PolicyCommand::History(options) => history::run(options).await,
        PolicyCommand::Counters(options) => counters::run(options).await,
        PolicyCommand::Rollback(options) => rollback::run(options).await,
        PolicyCommand::New(options) => new::run(options).await,
        PolicyCommand::Run(options) => run::run(options).await,
        PolicyCommand::Bench(options) => bench::run(options).await,
        PolicyCommand::Explain(options) => explain::run(options).await,
        PolicyCommand::Embed(options) => embed::run(&options),
        PolicyCommand::TestFaults(options) => crate::cli::policy::test_faults::run(options).await,
        PolicyCommand::Stage(options) => stage::run(options).await,
        PolicyCommand::Promote(options) => promote::run(options).await,
        PolicyCommand::Cancel(daemon) => cancel::run(daemon).await,
        PolicyCommand::Status(daemon) => status::run(daemon).await,
        PolicyCommand::Record(command) => record::run(command).await,
        PolicyCommand::Replay(options) => replay::run(options).await,
        PolicyCommand::Shadow(options) => shadow::run(options).await,
        PolicyCommand::Diff(daemon) => shadow::diff(daemon).await,
        PolicyCommand::Bindings(options) => crate::cli::policy::generate_bindings::run(&options),
    }
}
