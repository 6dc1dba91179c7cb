//! The command line. Every command has a file of its own under `cli/`.

mod account;
mod check_config;
mod compile_child;
mod daemon_process;
mod demo;
mod dkim;
mod events;
mod first_run;
mod output;
mod policy;
mod queue;
mod run_daemon;
mod service;
mod spool;
mod target;
mod try_command;

use std::ffi::OsString;
use std::process::ExitCode;

use anyhow::Context;
use clap::{Parser, Subcommand};

use target::{ConfigFile, Daemon};

/// An SMTP host with homing, exemption and NDR policies as sandboxed WebAssembly components.
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
    /// Without --config the built-in defaults apply: listeners on loopback, data in the user's own
    /// state folder. SIGTERM drains: sessions and deliveries finish or return their messages to the
    /// spool. A second SIGTERM stops the daemon at once. SIGHUP reloads configuration, directory,
    /// policies and certificate.
    ///
    /// Example: posthouse run --config /etc/posthouse/posthouse.toml
    #[command(verbatim_doc_comment)]
    Run(ConfigFile),

    /// Report every problem of a configuration without changing anything
    ///
    /// Checks the file, the directory, the administrator, the certificate, the passwords of logins and the policies, and
    /// warns on stderr of settings that are dangerous or cannot work and of files that other users can read.
    /// Exit code 0 without problems, 1 with problems.
    ///
    /// Example: posthouse check --config posthouse.toml
    #[command(verbatim_doc_comment)]
    Check(check_config::CheckConfigArgs),

    /// Ask the policies about a message, without network and without writing
    ///
    /// Prints each decision with its rule and entry, and the reply that the client would get. Exit code 0 if the message would be accepted, 1 if it would not.
    ///
    /// Example: posthouse try 192.0.2.7 --sender anna@example.org --recipient bert@example.org --message mail.eml
    #[command(verbatim_doc_comment)]
    Try(try_command::TryArgs),

    /// Load, test and inspect policies
    #[command(subcommand)]
    Policy(policy::PolicyCommand),

    /// Show recorded events, and follow new events
    ///
    /// Example: posthouse events --id 4037 --last 5 --follow
    #[command(verbatim_doc_comment)]
    Events(events::EventsArgs),

    /// Show, release or delete messages in the spool
    #[command(subcommand)]
    Queue(queue::QueueCommand),

    /// Check the spool of a stopped daemon, or salvage a damaged one
    #[command(subcommand)]
    Spool(spool::SpoolCommand),

    /// Add, list or change accounts in the directory's file
    #[command(subcommand)]
    Account(account::AccountCommand),

    /// Make, rotate and show the keys that sign outgoing mail (DKIM)
    #[command(subcommand)]
    Dkim(dkim::DkimCommand),

    /// Show the state of the running daemon
    ///
    /// Exit code 0 if the host is healthy, 4 if it is degraded, 5 if it cannot serve or does not answer, 3 if no daemon
    /// runs. The lines below the health are its reasons.
    ///
    /// Example: posthouse status --json
    #[command(verbatim_doc_comment)]
    Status(Daemon),

    /// Reload configuration, certificate, directory and policies of the running daemon, as SIGHUP does
    ///
    /// Prints the parts that were applied, the loaded code or settings that the configuration replaced, and the
    /// problems; exit code 1 if there are problems. Keys of signed-by apply to everything from then on. A policy that
    /// runs and is signed by none of them goes on and is a problem; --require-now puts the newest trusted code, or the
    /// built-in policy, in its place.
    ///
    /// Example: posthouse reload --config /etc/posthouse/posthouse.toml
    #[command(verbatim_doc_comment)]
    Reload(service::ReloadArgs),

    /// Stop the running daemon, as SIGTERM does, and wait until it is gone
    ///
    /// Sessions and deliveries finish or return their messages to the spool, within the time of drain. Exit code 0 once
    /// the process has ended, so that a new daemon can start; 1 if it has not within --timeout, 3 if no daemon runs.
    ///
    /// Example: posthouse stop
    #[command(verbatim_doc_comment)]
    Stop(service::StopArgs),

    /// Replay the crash of 1999 (Q178091) against a temporary daemon and check each step
    ///
    /// Example: posthouse demo
    #[command(verbatim_doc_comment)]
    Demo,

    /// Compile the component on standard input into a cache; started by the daemon
    ///
    /// Reads the component's length (8 octets, little-endian) and the component. Ends at the end of its input.
    ///
    /// Example: posthouse compile-policy --cache /var/lib/posthouse/policies/cache --memory 2147483648
    #[command(hide = true, name = host_engine::compile::COMMAND, verbatim_doc_comment)]
    CompilePolicy(compile_child::CompileChildArgs),
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
    output::trace_libraries();
    match dispatch(command) {
        Ok(code) => code,
        // The reader of the output, such as `head`, has seen enough.
        Err(error) if output::is_broken_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            output::print_error(&error);
            ExitCode::FAILURE
        }
    }
}

fn dispatch(command: TopCommand) -> anyhow::Result<ExitCode> {
    // Sources and components of a policy belong to its author, whose umask decides. All other files hold mail, secrets
    // or state of the host.
    if !matches!(command, TopCommand::Policy(_)) {
        host_files::set_private_umask();
    }
    let command = match command {
        TopCommand::Account(command) => return account::run(command),
        TopCommand::Spool(command) => return spool::run(command),
        TopCommand::CompilePolicy(options) => return Ok(compile_child::run(&options)),
        others => others,
    };
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("no runtime")?;
    let result = runtime.block_on(async {
        match command {
            TopCommand::Run(file) => run_daemon::run(file).await,
            TopCommand::Check(options) => check_config::run(options).await,
            TopCommand::Try(options) => try_command::run(options).await,
            TopCommand::Policy(command) => policy::run(command).await,
            TopCommand::Events(options) => events::run(options).await,
            TopCommand::Queue(command) => queue::run(command).await,
            TopCommand::Dkim(command) => dkim::run(command).await,
            TopCommand::Status(daemon) => service::status(daemon).await,
            TopCommand::Reload(options) => service::reload(options).await,
            TopCommand::Stop(options) => service::stop(options).await,
            TopCommand::Demo => Ok(if demo::run().await? {
                ExitCode::SUCCESS
            } else {
                ExitCode::FAILURE
            }),
            TopCommand::Account(_) | TopCommand::Spool(_) | TopCommand::CompilePolicy(_) => {
                unreachable!("they need no runtime and were run above")
            }
        }
    });
    // All necessary work is finished. A blocking read that never returns must not keep the process alive.
    runtime.shutdown_timeout(std::time::Duration::from_millis(100));
    result
}

#[cfg(test)]
mod tests;
