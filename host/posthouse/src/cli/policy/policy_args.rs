//! Arguments of the commands for policy authors: the code, its settings and grants, and case files.

use std::path::{Path, PathBuf};

use anyhow::{Context, anyhow};
use clap::Args;
use posthouse_cases::CaseFile;
use serde_json::{Map, Value};

use super::input::{name_file, read_component, read_settings};
use host_config::{Config, ConfigError, PolicyModule, Problem};
use host_files::make_private_folder;

/// Arguments that choose the policy, its settings, grants and limits.
#[derive(Debug, Args)]
pub struct PolicyArgs {
    /// File of the policy: a component, or a core module with its types (wit-bindgen for C, zig)
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
    /// Settings for every case, in place of the cases' own: a JSON object, or @FILE
    #[arg(long, value_name = "JSON|@FILE")]
    settings: Option<String>,
    /// Interface that the policy may import beside directory, message and host; may be repeated
    #[arg(long = "grant", value_name = "INTERFACE")]
    grants: Vec<String>,
    /// Configuration with a module for grants, limits and settings
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Module of the configuration, if there are several
    #[arg(long = "as", value_name = "MODULE", requires = "config")]
    module: Option<String>,
}

impl PolicyArgs {
    /// Reads the component.
    pub fn code(&self) -> anyhow::Result<Vec<u8>> {
        read_component(&self.file)
    }

    /// Makes the module: of the configuration, or a default module with the name of the file. Arguments add grants and
    /// replace settings.
    pub fn module(&self) -> anyhow::Result<PolicyModule> {
        let mut module = match &self.config {
            Some(file) => find_module(&Config::load(file)?, self.module.as_deref())?,
            None => PolicyModule {
                name: self
                    .file
                    .file_stem()
                    .map_or_else(String::new, |stem| stem.to_string_lossy().into_owned()),
                ..PolicyModule::default()
            },
        };
        module.grants.extend(self.grants.iter().cloned());
        if let Some(settings) = self.settings()? {
            module.settings = settings;
        }
        Ok(module)
    }

    /// Parses the settings that replace those of every case.
    pub fn settings(&self) -> anyhow::Result<Option<Map<String, Value>>> {
        self.settings.as_deref().map(read_settings).transpose()
    }

    /// Loads the given configuration, or the built-in defaults.
    pub fn configuration(&self) -> anyhow::Result<Config> {
        Ok(match &self.config {
            Some(file) => Config::load(file)?,
            None => Config::builtin()?,
        })
    }
}

fn find_module(config: &Config, name: Option<&str>) -> anyhow::Result<PolicyModule> {
    let names: Vec<&str> = config.policies.iter().map(|module| module.name.as_str()).collect();
    let found = match name {
        Some(name) => config.policies.iter().find(|module| module.name == name),
        None => config.policies.first().filter(|_| names.len() == 1),
    };
    found.cloned().ok_or_else(|| {
        anyhow!(
            "--as: which module of the configuration? There are: {}",
            names.join(", ")
        )
    })
}

/// Reads case files. Each path is a case file or a folder with case files.
pub fn case_files(paths: &[PathBuf]) -> anyhow::Result<Vec<(PathBuf, CaseFile)>> {
    let mut files = Vec::new();
    for path in paths {
        if path.is_dir() {
            let inside = toml_files(path)?;
            if inside.is_empty() {
                return Err(anyhow!("{}: no *.toml in it", path.display()));
            }
            files.extend(inside);
        } else {
            files.push(path.clone());
        }
    }
    let read = |path: PathBuf| Ok((path.clone(), CaseFile::read(&path)?));
    files.into_iter().map(read).collect()
}

fn toml_files(folder: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let entries = std::fs::read_dir(folder).with_context(|| folder.display().to_string())?;
    let mut files = Vec::new();
    for entry in entries {
        let path = entry.with_context(|| folder.display().to_string())?.path();
        if path.extension().is_some_and(|extension| extension == "toml") {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

/// Folder for compiled code between commands, since policies of some languages take seconds to compile. `None` if the
/// user has no cache folder.
pub fn cache_folder() -> Option<PathBuf> {
    let named = |name: &str| {
        std::env::var_os(name)
            .map(PathBuf::from)
            .filter(|path| path.is_absolute())
    };
    let caches = named("XDG_CACHE_HOME").or_else(|| Some(named("HOME")?.join(".cache")))?;
    let folder = caches.join("posthouse").join("compiled");
    make_private_folder(&folder).ok().map(|()| folder)
}

/// Makes an error of the problems of a load, with advice for the command line in place of the configuration.
pub fn load_error(file: &Path, problems: Vec<Problem>) -> anyhow::Error {
    let advised = problems.into_iter().map(|problem| match problem.key.as_str() {
        "grants" => {
            let text = problem
                .text
                .replace("to policy.grants", "with --grant, and to the module's grants");
            Problem::new("grants", text)
        }
        _ => problem,
    });
    let path = file.display().to_string();
    let named = name_file(file, advised.collect());
    // The path is added only if the problems do not name the file.
    let has_path = named.iter().all(|problem| problem.key == path);
    let error = anyhow::Error::from(ConfigError(named));
    if has_path { error } else { error.context(path) }
}
