//! `posthouse policy check`.

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use clap::Args;
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use serde::Serialize;

use super::activated::show_changes;
use super::compile_progress::with_progress;
use super::input::{name_file, origin, read_code, read_component, read_settings, read_signature};
use crate::cli::output::{self, line};
use crate::cli::target::Daemon;
use crate::control::{ClientError, LoadBody};
use crate::daemon;
use host_config::{Config, Problem};
use host_directory::{Directory, Entry, Login, LookupError};
use host_events::escape;
use host_mail::Mailbox;
use host_policy::{Checked, LoadRequest, PolicyManager};

#[derive(Debug, Args)]
pub struct CheckArgs {
    /// File of the component
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Settings as a JSON object, or @FILE; without them the module's settings
    #[arg(long, value_name = "JSON|@FILE")]
    settings: Option<String>,
    /// Minisign signature of the component, instead of FILE.minisig
    #[arg(long, value_name = "FILE")]
    signature: Option<PathBuf>,
    /// Module of the chain, if there are several
    #[arg(long = "as", value_name = "MODULE")]
    module: Option<String>,
    /// Let the daemon check, with its active settings, grants and limits
    #[arg(long)]
    running: bool,
    #[command(flatten)]
    daemon: Daemon,
}

/// Result of a check; printed as JSON with `--json`.
#[derive(Debug, Serialize)]
struct CheckReport {
    problems: Vec<Problem>,
    #[serde(flatten)]
    checked: Option<Checked>,
}

pub async fn run(options: CheckArgs) -> anyhow::Result<ExitCode> {
    let settings = options.settings.as_deref().map(read_settings).transpose()?;
    let signature = read_signature(options.signature.as_deref(), Some(&options.file))?;
    let outcome = if options.running {
        let request = LoadBody {
            module: options.module,
            origin: origin(&options.file),
            code: Some(read_code(&options.file)?),
            signature,
            settings,
            reason: String::new(),
            core_dumps: None,
            force: false,
        };
        let client = options.daemon.client()?;
        match with_progress(&client, client.post("/policies/check", &request)).await {
            Ok(checked) => Ok(checked),
            Err(ClientError::Refused(problems)) => Err(problems),
            Err(error) => return Err(error.into()),
        }
    } else {
        let config = options.daemon.config.load()?;
        let request = LoadRequest {
            module: options.module,
            code: Some(read_component(&options.file)?),
            signature,
            origin: origin(&options.file),
            settings,
            ..LoadRequest::default()
        };
        PolicyManager::check_offline(&config, directory(&config), request).await
    };
    let outcome = outcome.map_err(|problems| name_file(&options.file, problems));
    let code = ExitCode::from(u8::from(outcome.is_err()));
    if options.daemon.json {
        let report = match outcome {
            Ok(checked) => CheckReport {
                problems: Vec::new(),
                checked: Some(checked),
            },
            Err(problems) => CheckReport {
                problems,
                checked: None,
            },
        };
        output::json(&report)?;
        return Ok(code);
    }
    match outcome {
        Ok(checked) => show(&checked)?,
        Err(problems) => {
            for problem in &problems {
                line(escape(&problem.to_string()))?;
            }
            line(format!("{} problem(s)", problems.len()))?;
        }
    }
    Ok(code)
}

fn show(checked: &Checked) -> std::io::Result<()> {
    line(format!(
        "{} {} for module {}, contract {}",
        escape(&checked.name),
        escape(&checked.version),
        escape(&checked.module),
        escape(&checked.contract)
    ))?;
    line(format!("  digest    {}", escape(&checked.digest)))?;
    line(format!("  stages    {}", escape(&checked.stages.join(", "))))?;
    if !checked.uses.is_empty() {
        line(format!("  uses      {}", escape(&checked.uses.join(", "))))?;
    }
    if let Some(active) = checked.active {
        let same = if checked.changes.is_empty() {
            ", and is no different"
        } else {
            ""
        };
        line(format!("  instead   of generation {active}{same}"))?;
    }
    show_changes(&checked.changes)?;
    line("OK")
}

/// Opens the configured directory. Without one, as on an author's machine, every lookup fails as unavailable.
fn directory(config: &Config) -> Arc<dyn Directory> {
    match daemon::open_directory(config) {
        Ok(directory) => Arc::new(directory),
        Err(_) => Arc::new(NoDirectory),
    }
}

struct NoDirectory;

impl NoDirectory {
    fn answer<T>() -> BoxFuture<'static, Result<T, LookupError>>
    where
        T: Send + 'static,
    {
        async { Err(LookupError::Unavailable("there is none here".to_owned())) }.boxed()
    }
}

impl Directory for NoDirectory {
    fn lookup<'a>(&'a self, _: &'a Mailbox) -> BoxFuture<'a, Result<Vec<Entry>, LookupError>> {
        Self::answer()
    }

    fn may_send_as<'a>(&'a self, _: &'a str, _: &'a Mailbox) -> BoxFuture<'a, Result<bool, LookupError>> {
        Self::answer()
    }

    fn is_local_domain<'a>(&'a self, _: &'a str) -> BoxFuture<'a, Result<bool, LookupError>> {
        Self::answer()
    }

    fn is_member<'a>(&'a self, _: &'a Mailbox, _: &'a Mailbox) -> BoxFuture<'a, Result<bool, LookupError>> {
        Self::answer()
    }

    fn authenticate<'a>(&'a self, _: Login<'a>) -> BoxFuture<'a, Result<Option<String>, LookupError>> {
        Self::answer()
    }
}
