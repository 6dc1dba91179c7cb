//! `posthouse policy shadow` and `posthouse policy diff`.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;

use super::compile_progress::with_progress;
use super::input::{name_file_in_refusal, origin, read_code, read_settings, read_signature};
use crate::cli::output::{self, line, remark};
use crate::cli::policy::{show_changes, time_args};
use crate::cli::target::Daemon;
use crate::control::{ClientError, ShadowBody};
use host_events::escape;
use host_policy::ShadowReport;

/// Exit code of `diff` without a shadow.
const NO_SHADOW: u8 = 2;

#[derive(Debug, Args)]
pub struct ShadowArgs {
    /// File of the candidate; without it the active code with other settings
    #[arg(value_name = "FILE", required_unless_present_any = ["settings", "stop"])]
    file: Option<PathBuf>,
    /// Settings of the candidate as a JSON object, or @FILE; without them the active settings
    #[arg(long, value_name = "JSON|@FILE")]
    settings: Option<String>,
    /// Minisign signature of the component, instead of FILE.minisig
    #[arg(long, value_name = "FILE", requires = "file")]
    signature: Option<PathBuf>,
    /// Share of the sessions that the shadow sees, such as 10%
    #[arg(long, value_name = "P", default_value = "100%", value_parser = time_args::share)]
    share: f64,
    /// Duration of the shadow
    #[arg(long = "for", value_name = "T", default_value = "1h", value_parser = time_args::span)]
    lasts: Duration,
    /// Module of the chain to compare with, if there are several
    #[arg(long = "as", value_name = "MODULE")]
    module: Option<String>,
    /// End the running shadow
    #[arg(long, conflicts_with_all = ["file", "settings", "share", "lasts", "module"])]
    stop: bool,
    #[command(flatten)]
    daemon: Daemon,
}

pub async fn run(options: ShadowArgs) -> anyhow::Result<ExitCode> {
    let client = options.daemon.client()?;
    let report: ShadowReport = if options.stop {
        client.delete("/policies/shadow").await?
    } else {
        let request = ShadowBody {
            module: options.module,
            origin: options.file.as_deref().map(origin).unwrap_or_default(),
            code: options.file.as_deref().map(read_code).transpose()?,
            signature: read_signature(options.signature.as_deref(), options.file.as_deref())?,
            settings: options.settings.as_deref().map(read_settings).transpose()?,
            share: options.share,
            seconds: options.lasts.as_secs().max(1),
        };
        name_file_in_refusal(
            options.file.as_deref(),
            with_progress(&client, client.post("/policies/shadow", &request)).await,
        )?
    };
    if options.daemon.json {
        output::json(&report)?;
    } else {
        show(&report)?;
        if report.ended.is_none() {
            remark("posthouse policy diff shows what would change");
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Runs `posthouse policy diff`.
pub async fn diff(daemon: Daemon) -> anyhow::Result<ExitCode> {
    let report: ShadowReport = match daemon.client()?.get("/policies/shadow").await {
        Ok(report) => report,
        Err(ClientError::Refused(problems)) => {
            for problem in problems {
                remark(escape(&problem.to_string()));
            }
            return Ok(ExitCode::from(NO_SHADOW));
        }
        Err(error) => return Err(error.into()),
    };
    if daemon.json {
        output::json(&report)?;
    } else {
        show(&report)?;
    }
    Ok(ExitCode::from(u8::from(report.comparison.differs())))
}

fn show(report: &ShadowReport) -> std::io::Result<()> {
    let state = match &report.ended {
        None => format!("until {}", report.until),
        Some(reason) => format!("ended: {}", escape(reason)),
    };
    line(format!(
        "shadow of {}: {} digest {} against generation {}, {} % of sessions since {}, {state}",
        escape(&report.module),
        escape(&report.version),
        escape(&report.digest),
        report.against,
        report.share * 100.0,
        report.started,
    ))?;
    show_changes::show(&report.comparison, Some(report.dropped))
}
