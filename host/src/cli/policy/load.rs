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
    #[arg(value_name = "FILE", required_unless_present_any = ["settings", "core_dumps"])]
    file: Option<PathBuf>,
    /// New settings as a JSON object, or @FILE with one; without them the settings stay
    #[arg(long, value_name = "JSON|@FILE")]
    settings: Option<String>,
    /// Module of the chain to replace, if there are several
    #[arg(long = "as", value_name = "MODULE")]
    module: Option<String>,
    /// Write a core dump of each trap into this folder of the daemon's, until the next load or reload
    #[arg(long, value_name = "FOLDER")]
    core_dumps: Option<PathBuf>,
    #[command(flatten)]
    daemon: Daemon,
}

pub async fn run(options: Options) -> anyhow::Result<ExitCode> {
    let core_dumps = options.core_dumps.as_deref().map(std::path::absolute).transpose()?;
    let request = Load {
        core_dumps,
        module: options.module,
        origin: options.file.as_deref().map(origin).unwrap_or_default(),
        code: options.file.as_deref().map(read_code).transpose()?,
        settings: options.settings.as_deref().map(read_settings).transpose()?,
    };
    let active: Activation = options.daemon.client()?.post("/policies", &request).await?;
    if options.daemon.json {
        output::json(&active)?;
        return Ok(ExitCode::SUCCESS);
    }
    let previous = active
        .previous
        .map_or(String::new(), |previous| format!(", was {previous}"));
    line(format!(
        "{} {}: generation {}{previous}, digest {}",
        escape(&active.module),
        escape(&active.version),
        active.generation,
        escape(&active.digest)
    ))?;
    Ok(ExitCode::SUCCESS)
}
