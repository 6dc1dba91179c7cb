//! `posthouse policy load`.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;

use super::activated::show_activation;
use super::compile_progress::with_progress;
use super::input::{name_file_in_refusal, origin, read_code, read_settings, read_signature};
use crate::cli::output;
use crate::cli::target::Daemon;
use crate::control::LoadBody;
use host_policy::Activation;

#[derive(Debug, Args)]
pub struct LoadArgs {
    /// File of the component; without it only settings change
    #[arg(value_name = "FILE", required_unless_present_any = ["settings", "core_dumps"])]
    file: Option<PathBuf>,
    /// New settings as a JSON object, or @FILE; without them the settings stay
    #[arg(long, value_name = "JSON|@FILE")]
    settings: Option<String>,
    /// Minisign signature of the component, instead of FILE.minisig
    #[arg(long, value_name = "FILE", requires = "file")]
    signature: Option<PathBuf>,
    /// Reason, for the history
    #[arg(long, value_name = "TEXT", default_value = "")]
    reason: String,
    /// Module of the chain to replace, if there are several
    #[arg(long = "as", value_name = "MODULE")]
    module: Option<String>,
    /// Folder on the daemon's machine for a core dump of each trap, until the next load or reload
    #[arg(long, value_name = "FOLDER")]
    core_dumps: Option<PathBuf>,
    /// Load even if the candidate was rolled back recently because of faults
    #[arg(long)]
    force: bool,
    #[command(flatten)]
    daemon: Daemon,
}

pub async fn run(options: LoadArgs) -> anyhow::Result<ExitCode> {
    let core_dumps = options.core_dumps.as_deref().map(std::path::absolute).transpose()?;
    let request = LoadBody {
        core_dumps,
        module: options.module,
        origin: options.file.as_deref().map(origin).unwrap_or_default(),
        code: options.file.as_deref().map(read_code).transpose()?,
        signature: read_signature(options.signature.as_deref(), options.file.as_deref())?,
        settings: options.settings.as_deref().map(read_settings).transpose()?,
        reason: options.reason,
        force: options.force,
    };
    let client = options.daemon.client()?;
    let answer = with_progress(&client, client.post("/policies", &request)).await;
    let active: Activation = name_file_in_refusal(options.file.as_deref(), answer)?;
    if options.daemon.json {
        output::json(&active)?;
    } else {
        show_activation(&active)?;
    }
    Ok(ExitCode::SUCCESS)
}
