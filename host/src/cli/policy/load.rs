//! `posthouse policy load`.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;

use super::input::{origin, read_code, read_settings};
use crate::cli::output::{self, line};
use crate::cli::target::Daemon;
use crate::control::Load;
use crate::event::escape;
use crate::policy::Activation;

#[derive(Debug, Args)]
pub struct Options {
    /// The component; without it the code stays and only settings change
    #[arg(value_name = "FILE", required_unless_present = "settings")]
    file: Option<PathBuf>,
    /// New settings as a JSON object, or @FILE with one; without them the settings stay
    #[arg(long, value_name = "JSON|@FILE")]
    settings: Option<String>,
    /// Module of the chain to replace, if there are several
    #[arg(long = "as", value_name = "MODULE")]
    module: Option<String>,
    /// Load it even if it was rolled back because of its faults a short while ago
    #[arg(long)]
    force: bool,
    #[command(flatten)]
    daemon: Daemon,
}

pub async fn run(options: Options) -> anyhow::Result<ExitCode> {
    let request = Load {
        module: options.module,
        origin: options.file.as_deref().map(origin).unwrap_or_default(),
        code: options.file.as_deref().map(read_code).transpose()?,
        settings: options.settings.as_deref().map(read_settings).transpose()?,
        force: options.force,
    };
    let active: Activation = options.daemon.client()?.post("/policies", &request).await?;
    if options.daemon.json {
        output::json(&active)?;
        return Ok(ExitCode::SUCCESS);
    }
    show_activation(&active)?;
    Ok(ExitCode::SUCCESS)
}

/// What became active, for people.
pub fn show_activation(active: &Activation) -> std::io::Result<()> {
    let previous = active
        .previous
        .map_or(String::new(), |previous| format!(", was {previous}"));
    line(format!(
        "{} {}: generation {}{previous}, digest {}",
        escape(&active.module),
        escape(&active.version),
        active.generation,
        escape(&active.digest)
    ))
}
