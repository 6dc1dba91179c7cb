//! `posthouse policy replay`.

use std::io::BufRead;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, anyhow, bail};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use clap::Args;

use super::input::{of_file, read_component, read_settings};
use super::record::Which;
use crate::cli::output;
use crate::cli::policy::show_changes;
use crate::cli::target::Daemon;
use crate::control::query;
use host_config::{ConfigError, PolicyModule, Problem};
use host_policy::{ModuleSetup, Record, Replay};

/// Nothing was compared: neither yes nor no.
const NOTHING: u8 = 2;
/// Bytes of one line of an export; what is longer is no record.
const LINE: u64 = 16 * 1024 * 1024;

#[derive(Debug, Args)]
pub struct ReplayArgs {
    /// The candidate; without it the code in force, or the configured code with --from
    #[arg(value_name = "FILE", required_unless_present = "settings")]
    file: Option<PathBuf>,
    /// Its settings as a JSON object, or @FILE with one; without them those in force
    #[arg(long, value_name = "JSON|@FILE")]
    settings: Option<String>,
    /// Records that `policy record export` wrote, instead of the running daemon's
    #[arg(long, value_name = "EXPORT")]
    from: Option<PathBuf>,
    #[command(flatten)]
    which: Which,
    #[command(flatten)]
    daemon: Daemon,
}

pub async fn run(options: ReplayArgs) -> anyhow::Result<ExitCode> {
    let mut which = options.which.clone();
    let (mut module, in_force) = match &options.from {
        None => in_force(&options, &mut which).await?,
        Some(file) => (configured(&options, file, &mut which)?, None),
    };
    if let Some(settings) = &options.settings {
        module.settings = read_settings(settings)?;
    }
    let code = match &options.file {
        Some(file) => Some(read_component(file)?),
        None => in_force,
    };
    let replay = Replay::new(&module, code).await;
    let mut replay = replay.map_err(|problems| match &options.file {
        Some(file) => ConfigError(of_file(file, problems)),
        None => ConfigError(problems),
    })?;
    match &options.from {
        None => {
            let mut lines = which.fetch(&options.daemon).await?;
            while let Some(text) = lines.next().await? {
                play(&mut replay, &text).await;
            }
        }
        Some(file) => from_export(&mut replay, file, &which).await?,
    }
    let found = replay.comparison();
    if options.daemon.json {
        output::json(&found)?;
    } else {
        show_changes::show(&found, None)?;
    }
    Ok(ExitCode::from(match found.compared {
        0 => NOTHING,
        _ => u8::from(found.differs()),
    }))
}

/// As the daemon runs the module, and its code.
async fn in_force(options: &ReplayArgs, which: &mut Which) -> anyhow::Result<(PolicyModule, Option<Vec<u8>>)> {
    let target = query("/policies/setup", &[("module", which.module.clone())]);
    let setup: ModuleSetup = options.daemon.client()?.get(&target).await?;
    which.module = Some(setup.module.clone());
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

/// As the configuration has the module the export is of.
fn configured(options: &ReplayArgs, file: &Path, which: &mut Which) -> anyhow::Result<PolicyModule> {
    let name = match &which.module {
        Some(name) => name.clone(),
        None => only_module(file)?,
    };
    which.module = Some(name.clone());
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

async fn from_export(replay: &mut Replay, file: &Path, which: &Which) -> anyhow::Result<()> {
    let mut texts = std::collections::VecDeque::new();
    each_line(file, |text| {
        let wanted = serde_json::from_str::<Record>(text).map_or(true, |record| {
            which.since.is_none_or(|since| record.time >= since)
                && which.module.as_ref().is_none_or(|module| *module == record.module)
        });
        if wanted {
            texts.push_back(text.to_owned());
            if which.last.is_some_and(|last| texts.len() > last) {
                texts.pop_front();
            }
        }
        Ok(())
    })?;
    for text in texts {
        play(replay, &text).await;
    }
    Ok(())
}

fn each_line(file: &Path, mut each: impl FnMut(&str) -> anyhow::Result<()>) -> anyhow::Result<()> {
    use std::io::Read as _;
    let shown = || file.display().to_string();
    let mut lines = std::io::BufReader::new(std::fs::File::open(file).with_context(shown)?);
    loop {
        let mut text = String::new();
        if lines.by_ref().take(LINE).read_line(&mut text).with_context(shown)? == 0 {
            return Ok(());
        }
        if !text.trim().is_empty() {
            each(text.trim())?;
        }
    }
}

/// What is not understood is counted.
async fn play(replay: &mut Replay, text: &str) {
    match serde_json::from_str::<Record>(text) {
        Ok(record) => replay.play(&record).await,
        Err(_) => replay.skip(),
    }
}
