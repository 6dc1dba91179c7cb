//! `posthouse policy`. Every command has a file of its own under `policy/`.

mod activated;
mod bench;
mod cancel;
mod case_conversion;
mod case_host;
mod check;
mod compile_progress;
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
pub use time_args::span;

#[derive(Debug, Subcommand)]
pub enum PolicyCommand {
    /// Check new code or settings and, without problems, make them active at once
    ///
    /// Prints the new generation, the changes, and how much work finishes with the old generation. The
    /// loaded policy stays active over a restart. A refused policy changes nothing; every problem is
    /// printed.
    ///
    /// Example: posthouse policy load my-policy.wasm --settings @settings.json --as default
    #[command(verbatim_doc_comment)]
    Load(load::LoadArgs),
    /// Check a policy as for a load, without loading
    ///
    /// Checks contract, grants, signature, types, compilation and configure. Settings, grants and limits
    /// are those of the configured module, or with --running those of the daemon's module. Exit code 0
    /// if the policy could be loaded, 1 if not.
    ///
    /// Example: posthouse policy check my-policy.wasm --settings @settings.json --config posthouse.toml
    #[command(verbatim_doc_comment)]
    Check(check::CheckArgs),
    /// Show contract, roles and needed grants of a component, without running the code
    ///
    /// Prints contract version, roles, interfaces, needed grants and the tools that built the component.
    /// Exit code 1 if this host could never load the component.
    ///
    /// Example: posthouse policy inspect my-policy.wasm
    #[command(verbatim_doc_comment)]
    Inspect(inspect::InspectArgs),
    /// Show the activations of each module with time, user and reason
    ///
    /// Prints the last 50 activations of each module, newest first. Activations with kept code can be
    /// rolled back to.
    ///
    /// Example: posthouse policy history --as default
    #[command(verbatim_doc_comment)]
    History(history::HistoryArgs),
    /// Show the counters that the host keeps for a module (grant `counters`): key, value, end
    ///
    /// Counters are sorted by key; --after shows the next page.
    ///
    /// Example: posthouse policy counters --as sender-quota
    #[command(verbatim_doc_comment)]
    Counters(counters::CountersArgs),
    /// Roll back to code and settings of an earlier generation
    ///
    /// Without a generation, rolls back to the generation before the active one; every further rollback
    /// goes one generation further back. Needs no file. Grants and limits stay those of the
    /// configuration.
    ///
    /// Example: posthouse policy rollback 7 --as default --reason too-strict
    #[command(verbatim_doc_comment)]
    Rollback(rollback::RollbackArgs),
    /// Make a folder with a new policy that builds and passes its own cases
    ///
    /// Writes source, contract (wit/), cases, README and a CI script. Downloads nothing.
    ///
    /// Example: posthouse policy new quiet-hours --lang rust --role homing
    #[command(verbatim_doc_comment)]
    New(new::NewArgs),
    /// Ask a policy the questions of case files and compare the answers with the expectations
    ///
    /// Prints each decision with its rule, the policy's log lines, duration, fuel (executed instructions,
    /// the same on every machine) and memory. Exit code 1 if an expectation is not met.
    ///
    /// Example: posthouse policy run my-policy.wasm --case tests/cases.toml --update
    #[command(verbatim_doc_comment)]
    Run(run::RunArgs),
    /// Measure the cost of a policy's decisions, beside the built-in default policy
    ///
    /// Example: posthouse policy bench my-policy.wasm --case tests/cases.toml --rounds 2000
    #[command(verbatim_doc_comment)]
    Bench(bench::BenchArgs),
    /// Show rules, settings, imports, limits, contract and build tools of a policy
    ///
    /// Exit code 1 if this host could not load the policy.
    ///
    /// Example: posthouse policy explain my-policy.wasm --settings @settings.json
    #[command(verbatim_doc_comment)]
    Explain(explain::ExplainArgs),
    /// Embed the schema of the settings into a policy, for `explain`
    ///
    /// Run once after each build, before the policy is signed. The Rust SDK embeds the schema automatically.
    ///
    /// Example: posthouse policy embed my-policy.wasm settings.schema.json
    #[command(verbatim_doc_comment)]
    Embed(embed::EmbedArgs),
    /// Inject a fault into each stage of a policy, and show the effect on clients, senders and operator
    ///
    /// The stages are the daemon's own, with the fault table of the configuration. Exit code 1 if a stage
    /// could not be stopped.
    ///
    /// Example: posthouse policy test-faults my-policy.wasm --case tests/cases.toml
    #[command(verbatim_doc_comment)]
    TestFaults(test_faults::TestFaultsArgs),
    /// Stage a candidate as a canary for a share of the sessions or for some clients
    ///
    /// The candidate is checked as for a load. Each session uses the same policy from its first question
    /// to its last. The stage ends when its time is over, when the candidate faults too often, or when
    /// the host stops; then the active policy decides everything again.
    ///
    /// Example: posthouse policy stage my-policy.wasm --share 5% --for 30m
    #[command(verbatim_doc_comment)]
    Stage(stage::StageArgs),
    /// Make the staged candidate active for all sessions
    ///
    /// Example: posthouse policy promote
    #[command(verbatim_doc_comment)]
    Promote(promote::PromoteArgs),
    /// End the stage: the active policy decides everything again
    ///
    /// Example: posthouse policy cancel
    #[command(verbatim_doc_comment)]
    Cancel(Daemon),
    /// Show health, generation, calls, faults, latency, probation, stage and draining of each module
    ///
    /// Example: posthouse policy status
    #[command(verbatim_doc_comment)]
    Status(Daemon),
    /// Show or export recorded decisions
    ///
    /// Decisions are recorded for modules with `record = "on"` or `record = "hashed"` in the configuration.
    #[command(subcommand)]
    Record(record::RecordCommand),
    /// Replay recorded questions to a candidate, offline, and show the different decisions
    ///
    /// Questions, answers of the host and clock are those of the records; the live host is neither asked
    /// nor changed. A decision is a guess ("unrecorded") if the candidate asked the host a question that
    /// the active policy had not asked. Exit code 0 without differences, 1 with differences, 2 if
    /// nothing could be compared.
    ///
    /// Example: posthouse policy replay my-policy.wasm --since 1d
    #[command(verbatim_doc_comment)]
    Replay(replay::ReplayArgs),
    /// Run a candidate as a shadow of the active policy and compare; no decision is applied
    ///
    /// A shadow never delays mail: questions beyond its capacity are dropped and counted. Ends after
    /// --for, or when another generation becomes active.
    ///
    /// Example: posthouse policy shadow my-policy.wasm --share 10% --for 30m
    #[command(verbatim_doc_comment)]
    Shadow(shadow::ShadowArgs),
    /// Show the decisions that the shadow would change
    ///
    /// Also works for a shadow that has ended. Exit code 0 without differences, 1 with differences, 2
    /// without a shadow.
    ///
    /// Example: posthouse policy diff --json
    #[command(verbatim_doc_comment)]
    Diff(Daemon),
    /// Generate C bindings of the contract: types, imports, exports
    ///
    /// Writes a source file, its header and an object file with the world's type, to be linked with the
    /// policy. Other languages' tools read the WIT directly. Needs neither daemon nor configuration.
    ///
    /// Example: posthouse policy bindings wit --lang c --world module --out generated
    #[command(verbatim_doc_comment)]
    Bindings(generate_bindings::BindingsArgs),
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
        PolicyCommand::TestFaults(options) => test_faults::run(options).await,
        PolicyCommand::Stage(options) => stage::run(options).await,
        PolicyCommand::Promote(options) => promote::run(options).await,
        PolicyCommand::Cancel(daemon) => cancel::run(daemon).await,
        PolicyCommand::Status(daemon) => status::run(daemon).await,
        PolicyCommand::Record(command) => record::run(command).await,
        PolicyCommand::Replay(options) => replay::run(options).await,
        PolicyCommand::Shadow(options) => shadow::run(options).await,
        PolicyCommand::Diff(daemon) => shadow::diff(daemon).await,
        PolicyCommand::Bindings(options) => generate_bindings::run(&options),
    }
}
