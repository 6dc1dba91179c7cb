//! `posthouse policy stage`.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use ipnet::IpNet;

use super::compile_progress::with_progress;
use super::input::{name_file_in_refusal, origin, read_code, read_settings, read_signature};
use crate::cli::output::{self, line};
use crate::cli::target::Daemon;
use crate::control::{LoadBody, StageBody};
use host_config::Share;
use host_config::toml_reader::network;
use host_events::escape;
use host_policy::Staged;

#[derive(Debug, Args)]
pub struct StageArgs {
    /// File of the candidate; without it the active code with other settings
    #[arg(value_name = "FILE", required_unless_present = "settings")]
    file: Option<PathBuf>,
    /// Minisign signature of the component, instead of FILE.minisig
    #[arg(long, value_name = "FILE", requires = "file")]
    signature: Option<PathBuf>,
    /// Share of the sessions that the candidate decides for, such as 10%; with --clients, of the clients' sessions
    #[arg(long, value_name = "SHARE", required_unless_present = "clients")]
    share: Option<Share>,
    /// Client network that the candidate decides for; may be repeated
    #[arg(long, value_name = "NETWORK", num_args = 1.., value_parser = network)]
    clients: Vec<IpNet>,
    /// Duration of the stage, such as 30m
    #[arg(long = "for", value_name = "TIME", default_value = "1h")]
    lasts: String,
    /// Settings of the candidate as a JSON object, or @FILE; without them the active settings
    #[arg(long, value_name = "JSON|@FILE")]
    settings: Option<String>,
    /// Module of the chain, if there are several
    #[arg(long = "as", value_name = "MODULE")]
    module: Option<String>,
    /// Reason, for the event and the status
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
    #[command(flatten)]
    daemon: Daemon,
}

pub async fn run(options: StageArgs) -> anyhow::Result<ExitCode> {
    let request = StageBody {
        load: LoadBody {
            module: options.module,
            origin: options.file.as_deref().map(origin).unwrap_or_default(),
            code: options.file.as_deref().map(read_code).transpose()?,
            settings: options.settings.as_deref().map(read_settings).transpose()?,
            signature: read_signature(options.signature.as_deref(), options.file.as_deref())?,
            reason: String::new(),
            core_dumps: None,
            force: false,
        },
        share: options.share,
        clients: options.clients,
        lasts: Some(options.lasts),
        reason: options.reason,
    };
    let client = options.daemon.client()?;
    let answer = with_progress(&client, client.post("/policies/stage", &request)).await;
    let staged: Staged = name_file_in_refusal(options.file.as_deref(), answer)?;
    if options.daemon.json {
        output::json(&staged)?;
        return Ok(ExitCode::SUCCESS);
    }
    line(format!(
        "{} {}: generation {} decides for {} until {}, generation {} for all others",
        escape(&staged.module),
        escape(&staged.version),
        staged.generation,
        scope(staged.share, &staged.clients),
        staged.until,
        staged.active,
    ))?;
    Ok(ExitCode::SUCCESS)
}

/// Sessions that a candidate decides for, in words.
pub fn scope(share: Share, clients: &[IpNet]) -> String {
    let networks: Vec<_> = clients.iter().map(ToString::to_string).collect();
    match (share == Share::ALL, networks.is_empty()) {
        (_, true) => format!("{share} of the sessions"),
        (true, false) => format!("clients in {}", networks.join(", ")),
        (false, false) => format!("{share} of the sessions of clients in {}", networks.join(", ")),
    }
}
