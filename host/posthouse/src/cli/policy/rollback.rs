//! `posthouse policy rollback`.

use std::process::ExitCode;

use clap::Args;

use super::activated::show_activation;
use super::compile_progress::with_progress;
use crate::cli::output;
use crate::cli::target::Daemon;
use crate::control::Rollback;
use host_policy::Activation;

#[derive(Debug, Args)]
pub struct RollbackArgs {
    /// Generation to roll back to; without it the generation before the active one
    #[arg(value_name = "GEN")]
    generation: Option<u64>,
    /// Module of the chain, if there are several
    #[arg(long = "as", value_name = "MODULE")]
    module: Option<String>,
    /// Reason, for the history
    #[arg(long, value_name = "TEXT", default_value = "")]
    reason: String,
    #[command(flatten)]
    daemon: Daemon,
}

pub async fn run(options: RollbackArgs) -> anyhow::Result<ExitCode> {
    let request = Rollback {
        module: options.module,
        generation: options.generation,
        reason: options.reason,
    };
    let client = options.daemon.client()?;
    let active: Activation = with_progress(&client, client.post("/policies/rollback", &request)).await?;
    if options.daemon.json {
        output::json(&active)?;
    } else {
        show_activation(&active)?;
    }
    Ok(ExitCode::SUCCESS)
}
