//! `posthouse policy cancel`.

use std::process::ExitCode;

use crate::cli::output::{self, line};
use crate::cli::target::Daemon;
use host_events::escape;
use host_policy::Staged;

pub async fn run(daemon: Daemon) -> anyhow::Result<ExitCode> {
    let staged: Staged = daemon.client()?.delete("/policies/stage").await?;
    if daemon.json {
        output::json(&staged)?;
    } else {
        line(format!(
            "{}: generation {} decides nothing any more, generation {} everything",
            escape(&staged.module),
            staged.generation,
            staged.active
        ))?;
    }
    Ok(ExitCode::SUCCESS)
}
