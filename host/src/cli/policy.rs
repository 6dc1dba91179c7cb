//! `posthouse policy`.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, bail};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use clap::{Args, Subcommand};
use serde_json::{Map, Value};

use super::output::{self, line};
use super::target::Daemon;
use crate::control::Load;
use crate::event::escape;
use crate::policy::{Activation, ModuleStatus};

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Check new code or settings and, if nothing is wrong, make them active at once
    ///
    /// Work in hand finishes with the old generation. What was loaded stays active over a restart.
    /// A policy that is refused changes nothing; every problem is printed.
    ///
    /// Example: posthouse policy load my-policy.wasm --settings @settings.json --as default
    #[command(verbatim_doc_comment)]
    Load(LoadOptions),
    /// Show each module: generation, digest, calls, faults
    ///
    /// Example: posthouse policy status
    #[command(verbatim_doc_comment)]
    Status(Daemon),
}

#[derive(Debug, Args)]
pub struct LoadOptions {
    /// The component; without it the code stays and only settings change
    #[arg(value_name = "FILE", required_unless_present = "settings")]
    file: Option<PathBuf>,
    /// New settings as a JSON object, or @FILE with one; without them the settings stay
    #[arg(long, value_name = "JSON|@FILE")]
    settings: Option<String>,
    /// Module of the chain to replace, if there are several
    #[arg(long = "as", value_name = "MODULE")]
    module: Option<String>,
    #[command(flatten)]
    daemon: Daemon,
}

pub async fn run(command: Command) -> anyhow::Result<ExitCode> {
    match command {
        Command::Load(options) => load(options).await,
        Command::Status(daemon) => status(daemon).await,
    }
}

async fn load(options: LoadOptions) -> anyhow::Result<ExitCode> {
    let request = Load {
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

fn origin(file: &Path) -> String {
    std::path::absolute(file)
        .unwrap_or_else(|_| file.to_owned())
        .display()
        .to_string()
}

fn read_code(file: &Path) -> anyhow::Result<String> {
    let bytes = std::fs::read(file).with_context(|| file.display().to_string())?;
    Ok(STANDARD.encode(bytes))
}

/// `@FILE` or the JSON itself.
fn read_settings(text: &str) -> anyhow::Result<Map<String, Value>> {
    let (origin, read) = match text.strip_prefix('@') {
        Some(file) => (file, std::fs::read_to_string(file).with_context(|| file.to_owned())?),
        None => ("--settings", text.to_owned()),
    };
    match serde_json::from_str(&read) {
        Ok(Value::Object(settings)) => Ok(settings),
        Ok(_) => bail!("{origin}: expected a JSON object"),
        Err(_) if Path::new(text).exists() => bail!("--settings: to read the file, write @{text}"),
        Err(error) => bail!("{origin}: expected a JSON object: {error}"),
    }
}

async fn status(daemon: Daemon) -> anyhow::Result<ExitCode> {
    let modules: Vec<ModuleStatus> = daemon.client()?.get("/policies").await?;
    if daemon.json {
        output::json(&modules)?;
    } else {
        show_modules(&modules)?;
    }
    Ok(ExitCode::SUCCESS)
}

/// The chain, for people.
pub fn show_modules(modules: &[ModuleStatus]) -> std::io::Result<()> {
    if modules.is_empty() {
        return line("no policy: the chain is empty");
    }
    for module in modules {
        line(format!(
            "policy {}: {} {}, {}",
            escape(&module.module),
            escape(&module.name),
            escape(&module.version),
            escape(&module.health)
        ))?;
        line(format!(
            "  generation  {} since {} by {}",
            module.generation,
            module.since,
            escape(&module.by)
        ))?;
        line(format!("  digest      {}", escape(&module.digest)))?;
        line(format!("  origin      {}", escape(&module.origin)))?;
        line(format!("  stages      {}", escape(&module.stages.join(", "))))?;
        let faults: Vec<_> = module
            .faults
            .iter()
            .map(|(class, count)| format!("{count} {class}"))
            .collect();
        let faults = if faults.is_empty() {
            "no fault".to_owned()
        } else {
            faults.join(", ")
        };
        line(format!("  calls       {}, {}", module.calls, escape(&faults)))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_are_an_object_given_or_in_a_file() {
        let dir = tempfile::tempdir().expect("folder");
        let file = dir.path().join("s.json");
        std::fs::write(&file, "{\"a\": 1}").expect("writes");
        assert_eq!(read_settings(&format!("@{}", file.display())).expect("object")["a"], 1);
        assert!(read_settings("{}").expect("object").is_empty());
        for wrong in ["[]", "5", "{", "@/nowhere.json"] {
            assert!(read_settings(wrong).is_err(), "{wrong}");
        }
        let bare = read_settings(&file.display().to_string()).expect_err("a path without @");
        assert_eq!(
            bare.to_string(),
            format!("--settings: to read the file, write @{}", file.display())
        );
    }
}
