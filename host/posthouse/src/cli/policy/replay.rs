//! `posthouse policy replay`.

use std::io::BufRead;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, anyhow, bail};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use clap::Args;

use super::input::{name_file, read_component, read_settings};
use super::record::RecordFilter;
use crate::cli::output;
use crate::cli::policy::show_changes;
use crate::cli::target::Daemon;
use crate::control::query;
use host_config::{ConfigError, PolicyModule, Problem};
use host_policy::{ModuleSetup, Record, Replay};

/// Exit code if no record could be compared.
const NOTHING_COMPARED: u8 = 2;
/// Maximum length of a line of an export in bytes. A longer line is not a record.
const MAX_LINE: u64 = 16 * 1024 * 1024;

#[derive(Debug, Args)]
pub struct ReplayArgs {
    /// File of the candidate; without it the active code, or the configured code with --from
    #[arg(value_name = "FILE", required_unless_present = "settings")]
    file: Option<PathBuf>,
    /// Settings of the candidate as a JSON object, or @FILE; without them the active settings
    #[arg(long, value_name = "JSON|@FILE")]
    settings: Option<String>,
    /// File that `policy record export` wrote, instead of the running daemon's records
    #[arg(long, value_name = "EXPORT")]
    from: Option<PathBuf>,
    #[command(flatten)]
    filter: RecordFilter,
    #[command(flatten)]
    daemon: Daemon,
}

pub async fn run(options: ReplayArgs) -> anyhow::Result<ExitCode> {
    let mut filter = options.filter.clone();
    let (mut module, active_code) = match &options.from {
        None => active_module(&options, &mut filter).await?,
        Some(file) => (configured_module(&options, file, &mut filter)?, None),
    };
    if let Some(settings) = &options.settings {
        module.settings = read_settings(settings)?;
    }
    let code = match &options.file {
        Some(file) => Some(read_component(file)?),
        None => active_code,
    };
    let replay = Replay::new(&module, code).await;
    let mut replay = replay.map_err(|problems| match &options.file {
        Some(file) => ConfigError(name_file(file, problems)),
        None => ConfigError(problems),
    })?;
    match &options.from {
        None => {
            let mut lines = filter.fetch(&options.daemon).await?;
            while let Some(text) = lines.next().await? {
                play_line(&mut replay, &text).await;
            }
        }
        Some(file) => from_export(&mut replay, file, &filter).await?,
    }
    let comparison = replay.comparison();
    if options.daemon.json {
        output::json(&comparison)?;
    } else {
        show_changes::show(&comparison, None)?;
    }
    Ok(ExitCode::from(match comparison.compared {
        0 => NOTHING_COMPARED,
        _ => u8::from(comparison.differs()),
    }))
}

/// Requests the module's active settings, grants, limits and code from the daemon.
async fn active_module(
    options: &ReplayArgs,
    filter: &mut RecordFilter,
) -> anyhow::Result<(PolicyModule, Option<Vec<u8>>)> {
    let target = query("/policies/setup", &[("module", filter.module.clone())]);
    let setup: ModuleSetup = options.daemon.client()?.get(&target).await?;
    filter.module = Some(setup.module.clone());
    let config = options.daemon.config.load()?;
    let configured = config.policies.into_iter().find(|module| module.name == setup.module);
    let configured = configured.unwrap_or_default();
    let code = STANDARD.decode(&setup.code).context("the code in force")?;
    let module = PolicyModule {
        name: setup.module,
        settings: setup.settings,
        grants: setup.grants,
        limits: setup.limits,
        ..configured
    };
    Ok((module, Some(code)))
}

/// Finds the exported records' module in the configuration. A candidate file does without a configured module.
///
/// # Errors
/// The export has records of several modules, or neither a file nor a configured module is given.
fn configured_module(options: &ReplayArgs, file: &Path, filter: &mut RecordFilter) -> anyhow::Result<PolicyModule> {
    let name = match &filter.module {
        Some(name) => name.clone(),
        None => only_module(file)?,
    };
    filter.module = Some(name.clone());
    let config = options.daemon.config.load()?;
    let found = config.policies.into_iter().find(|module| module.name == name);
    match (found, &options.file) {
        (Some(module), _) => Ok(module),
        (None, Some(_)) => Ok(PolicyModule {
            name,
            ..PolicyModule::default()
        }),
        (None, None) => bail!(ConfigError(vec![Problem::new(
            "policy",
            format!("no module {name:?} is configured; name FILE, or --config")
        )])),
    }
}

fn only_module(file: &Path) -> anyhow::Result<String> {
    let mut found: Option<String> = None;
    each_line(file, |text| {
        if let Ok(record) = serde_json::from_str::<Record>(text) {
            match &found {
                Some(module) if *module != record.module => {
                    bail!("--as: records of {module} and {}: of which?", record.module)
                }
                _ => found = Some(record.module),
            }
        }
        Ok(())
    })?;
    found.ok_or_else(|| anyhow!("{}: no records in it", file.display()))
}

async fn from_export(replay: &mut Replay, file: &Path, filter: &RecordFilter) -> anyhow::Result<()> {
    let mut texts = std::collections::VecDeque::new();
    each_line(file, |text| {
        let matches = serde_json::from_str::<Record>(text).map_or(true, |record| {
            filter.since.is_none_or(|since| record.time >= since)
                && filter.module.as_ref().is_none_or(|module| *module == record.module)
        });
        if matches {
            texts.push_back(text.to_owned());
            if filter.last.is_some_and(|last| texts.len() > last) {
                texts.pop_front();
            }
        }
        Ok(())
    })?;
    for text in texts {
        play_line(replay, &text).await;
    }
    Ok(())
}

fn each_line(file: &Path, mut each: impl FnMut(&str) -> anyhow::Result<()>) -> anyhow::Result<()> {
    use std::io::Read as _;
    let shown = || file.display().to_string();
    let mut lines = std::io::BufReader::new(std::fs::File::open(file).with_context(shown)?);
    loop {
        let mut text = String::new();
        if lines.by_ref().take(MAX_LINE).read_line(&mut text).with_context(shown)? == 0 {
            return Ok(());
        }
        if !text.trim().is_empty() {
            each(text.trim())?;
        }
    }
}

/// Replays a record of a line. A line that is not a record is counted as skipped.
async fn play_line(replay: &mut Replay, text: &str) {
    match serde_json::from_str::<Record>(text) {
        Ok(record) => replay.play(&record).await,
        Err(_) => replay.skip(),
    }
}
