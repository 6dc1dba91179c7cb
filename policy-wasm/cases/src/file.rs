//! A file of cases.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Deserializer};
use serde_path_to_error::Segment;
use toml::Spanned;

use crate::case::{Case, ClientKeys};
use crate::directory::Directory;
use crate::dns::Dns;
use crate::error::{Error, place};
use crate::fixture::Fixture;
use crate::text;

/// A file of cases: what they share, and the cases.
#[derive(Debug, Clone)]
pub struct CaseFile {
    /// The file's name, for messages.
    pub name: String,
    /// The folder in which files that cases name are looked for.
    pub folder: PathBuf,
    /// Seconds since 1970; cases may have a time of their own.
    pub now: u64,
    /// A JSON object.
    pub settings: serde_json::Value,
    /// Who is who.
    pub directory: Directory,
    /// What the DNS has.
    pub dns: Dns,
    /// Counters before each case.
    pub counters: BTreeMap<String, u64>,
    /// At least one.
    pub cases: Vec<Case>,
}

/// As it is written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct Written {
    #[serde(default, deserialize_with = "text::time")]
    now: Option<u64>,
    #[serde(default, deserialize_with = "settings")]
    settings: Option<serde_json::Value>,
    #[serde(default)]
    directory: Directory,
    #[serde(default)]
    dns: Dns,
    #[serde(default)]
    counters: BTreeMap<String, u64>,
    #[serde(default)]
    client: Option<ClientKeys>,
    #[serde(rename = "case")]
    cases: Vec<Spanned<Case>>,
}

pub(crate) fn settings<'de, D: Deserializer<'de>>(input: D) -> Result<Option<serde_json::Value>, D::Error> {
    toml::Table::deserialize(input).map(|table| Some(text::json(toml::Value::Table(table))))
}

impl CaseFile {
    /// 2026-01-01T12:00:00Z, for files that do not say what time it is.
    pub const NOW: u64 = 1_767_268_800;

    /// Reads a file. Files that its cases name are looked for beside it.
    ///
    /// # Errors
    /// It cannot be read, or [`Self::parse`] refuses it, or a message file cannot be read.
    pub fn read(path: &Path) -> Result<Self, Error> {
        let name = path.display().to_string();
        let source = std::fs::read_to_string(path).map_err(|error| Error::whole(&name, error.to_string()))?;
        let folder = path.parent().unwrap_or(Path::new("."));
        Self::parse_in(&source, &name, folder)
    }

    /// Reads the text of a file; files that its cases name are looked for in the current folder.
    ///
    /// # Errors
    /// The first thing that is wrong with it.
    pub fn parse(source: &str, name: &str) -> Result<Self, Error> {
        Self::parse_in(source, name, Path::new("."))
    }

    fn parse_in(source: &str, name: &str, folder: &Path) -> Result<Self, Error> {
        let deserializer = toml::Deserializer::parse(source)
            .map_err(|error| Error::at(name, source, error.span(), String::new(), error.message()))?;
        let written: Written = serde_path_to_error::deserialize(deserializer).map_err(|error| {
            let key = key_path(error.path());
            let inner = error.into_inner();
            Error::at(name, source, inner.span(), key, inner.message())
        })?;
        if written.cases.is_empty() {
            return Err(Error::whole(name, "there is no [[case]] in it"));
        }
        let mut cases = Vec::with_capacity(written.cases.len());
        let mut names: BTreeMap<String, usize> = BTreeMap::new();
        for (index, spanned) in written.cases.into_iter().enumerate() {
            let span = spanned.span();
            let mut case = spanned.into_inner();
            case.line = place(source, span.start).0;
            let problem = |key: &str, text: String| {
                let key = format!("case[{index}]{}{key}", if key.is_empty() { "" } else { "." });
                Error::at(name, source, Some(span.clone()), key, text)
            };
            if let Some(line) = names.insert(case.name.clone(), case.line) {
                return Err(problem("name", format!("the case in line {line} has this name too")));
            }
            case.share(written.client.as_ref());
            case.check().map_err(|(key, text)| problem(key, text))?;
            case.read_message(folder)
                .map_err(|text| problem("message-file", text))?;
            cases.push(case);
        }
        Ok(Self {
            name: name.to_owned(),
            folder: folder.to_owned(),
            now: written.now.unwrap_or(Self::NOW),
            settings: written.settings.unwrap_or_else(|| serde_json::json!({})),
            directory: written.directory,
            dns: written.dns,
            counters: written.counters,
            cases,
        })
    }

    /// The settings a case runs with: its own, or the file's.
    pub fn settings_of<'a>(&'a self, case: &'a Case) -> &'a serde_json::Value {
        case.settings.as_ref().unwrap_or(&self.settings)
    }

    /// The host as a case sees it, before anything was asked.
    pub fn fixture(&self, case: &Case) -> Fixture {
        let mut counters = self.counters.clone();
        counters.extend(case.counters.clone());
        Fixture {
            now: case.now.unwrap_or(self.now),
            directory: self.directory.clone(),
            dns: self.dns.clone(),
            counters: counters.into(),
            findings: case.findings.clone(),
            unavailable: case.unavailable.clone(),
        }
    }
}

/// The path without the names by which the parser hands positions over.
fn key_path(path: &serde_path_to_error::Path) -> String {
    let mut key = String::new();
    for segment in path {
        match segment {
            Segment::Seq { index } => key.push_str(&format!("[{index}]")),
            Segment::Map { key: name } if !name.starts_with("$__") => {
                let dot = if key.is_empty() { "" } else { "." };
                key.push_str(&format!("{dot}{name}"));
            }
            _ => {}
        }
    }
    key
}
