//! The command line: one file for each command under `cli/`.

mod account;
mod check_config;
mod compile_child;
mod demo;
mod events;
mod first_run;
mod output;
mod policy;
mod queue;
mod run_daemon;
mod service;
mod target;
mod try_command;

use std::ffi::OsString;
use std::process::ExitCode;

use anyhow::Context;
use clap::{Parser, Subcommand};

use target::{ConfigFile, Daemon};

/// An SMTP host whose homing, exemption and NDR policy is a sandboxed WebAssembly component.
#[derive(Debug, Parser)]
#[command(name = "posthouse", version, propagate_version = true)]
struct Arguments {
    #[command(subcommand)]
    command: TopCommand,
}

#[derive(Debug, Subcommand)]
enum TopCommand {
    /// Run the daemon in the foreground
    ///
    /// Without --config the built-in defaults hold: listeners on loopback, data in the user's own
    /// state folder. SIGTERM stops it with the work in hand finished or given back; a second one
    /// stops it at once. SIGHUP reads configuration, directory, policies and certificate again.
    ///
    /// Example: posthouse run --config /etc/posthouse/posthouse.toml
    #[command(verbatim_doc_comment)]
    Run(ConfigFile),

    /// Report every problem of a configuration, and change nothing
    ///
    /// Looks at the file, the directory, the administrator, the certificate, the passwords of logins and the policies.
    /// Exit code 0 without problems, 1 with.
    ///
    /// Example: posthouse check --config posthouse.toml
    #[command(verbatim_doc_comment)]
    Check(crate::cli::check_config::CheckConfigArgs),

    /// Ask the policies about a message, without a socket and without a write
    ///
    /// Prints each decision with the rule and the entry that made it, and the reply the client
    /// would get. Exit code 0 if the message would be accepted, 1 if it would not.
    ///
    /// Example: posthouse try 192.0.2.7 --sender anna@example.org --recipient bert@example.org --message mail.eml
    #[command(verbatim_doc_comment)]
    Try(crate::cli::try_command::TryArgs),

    /// Load a policy into the running daemon, or show how policies do
    #[command(subcommand)]
    Policy(policy::PolicyCommand),

    /// Show what was recorded, and what is being recorded
    ///
    /// Example: posthouse events --id 4037 --last 5 --follow
    #[command(verbatim_doc_comment)]
    Events(events::EventsArgs),

    /// Show, release or delete messages in the spool
    #[command(subcommand)]
    Queue(queue::QueueCommand),

    /// Add, list or change accounts in the directory's file
    #[command(subcommand)]
    Account(account::AccountCommand),

    /// Show how the running daemon does
    ///
    /// Example: posthouse status --json
    #[command(verbatim_doc_comment)]
    Status(Daemon),

    /// Have the running daemon read everything again, as SIGHUP does
    ///
    /// Prints what was applied and what was not; exit code 1 if anything was not.
    ///
    /// Example: posthouse reload --config /etc/posthouse/posthouse.toml
    #[command(verbatim_doc_comment)]
    Reload(Daemon),

    /// Stop the running daemon, as SIGTERM does
    ///
    /// Example: posthouse stop
    #[command(verbatim_doc_comment)]
    Stop(Daemon),

    /// Play the story of the crash of 1999 on a host of its own, and show that it stands
    ///
    /// Example: posthouse demo
    #[command(verbatim_doc_comment)]
    Demo,

    /// Compile the component on standard input into a cache; the daemon starts this by itself
    ///
    /// Reads the component's length (8 octets, little-endian) and the component. Ends when its input does.
    ///
    /// Example: posthouse compile-policy --cache /var/lib/posthouse/policies/cache --memory 2147483648
    #[command(hide = true, name = host_engine::compile::COMMAND, verbatim_doc_comment)]
    CompilePolicy(crate::cli::compile_child::CompileChildArgs),
}

/// Parses the process's arguments and runs the command.
pub fn main() -> ExitCode {
    run_with(std::env::args_os())
}

fn run_with(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let command = match Arguments::try_parse_from(arguments) {
        Ok(arguments) => arguments.command,
        Err(error) => {
            let _ = error.print();
            return ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2));
        }
    };
    output::libraries_to_stderr();
    match dispatch(command) {
        Ok(code) => code,
        // Whoever read our output has seen enough.
        Err(error) if output::is_broken_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            output::complain(&error);
            ExitCode::FAILURE
        }
    }
}

fn dispatch(command: TopCommand) -> anyhow::Result<ExitCode> {
    let command = match command {
        TopCommand::Account(command) => return account::run(command),
        TopCommand::CompilePolicy(options) => return Ok(crate::cli::compile_child::run(&options)),
        others => others,
    };
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("no runtime")?;
    let result = runtime.block_on(async {
        match command {
            TopCommand::Run(file) => crate::cli::run_daemon::run(file).await,
            TopCommand::Check(options) => crate::cli::check_config::run(options).await,
            TopCommand::Try(options) => crate::cli::try_command::run(options).await,
            TopCommand::Policy(command) => policy::run(command).await,
            TopCommand::Events(options) => events::run(options).await,
            TopCommand::Queue(command) => queue::run(command).await,
            TopCommand::Status(daemon) => crate::cli::service::status(daemon).await,
            TopCommand::Reload(daemon) => crate::cli::service::reload(daemon).await,
            TopCommand::Stop(daemon) => crate::cli::service::stop(daemon).await,
            TopCommand::Demo => Ok(if demo::run().await? {
                ExitCode::SUCCESS
            } else {
                ExitCode::FAILURE
            }),
            TopCommand::Account(_) | TopCommand::CompilePolicy(_) => {
                unreachable!("they need no runtime and were run above")
            }
        }
    });
    // What must be finished is; a blocking read that never returns must not keep the process.
    runtime.shutdown_timeout(std::time::Duration::from_millis(100));
    result
}

#[cfg(test)]
mod tests;
