//! `posthouse policy promote`.

use std::process::ExitCode;

use clap::Args;

use super::activated::show_activation;
use crate::cli::output;
use crate::cli::target::Daemon;
use crate::control::Promote;
use host_policy::Activation;

#[derive(Debug, Args)]
pub struct PromoteArgs {
    /// Promote even if the candidate was rolled back recently because of faults
    #[arg(long)]
    force: bool,
    #[command(flatten)]
    daemon: Daemon,
}

pub async fn run(options: PromoteArgs) -> anyhow::Result<ExitCode> {
    let request = Promote { force: options.force };
    let active: Activation = options.daemon.client()?.post("/policies/promote", &request).await?;
    match options.daemon.json {
        true => output::json(&active)?,
        false => show_activation(&active)?,
    }
    Ok(ExitCode::SUCCESS)
}
