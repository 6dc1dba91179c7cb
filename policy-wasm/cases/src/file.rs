//! Reader of case files.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde_path_to_error::Segment;
use toml::Spanned;

use crate::case::{Case, ClientKeys};
use crate::case_directory::Directory;
use crate::case_dns::Dns;
use crate::case_text::{settings, time};
use crate::error::{Error, line_and_column};
use crate::fixture::Fixture;

/// A file of cases, with the parts that all cases share.
#[derive(Debug, Clone)]
pub struct CaseFile {
    /// Name of the file, for error messages.
    pub name: String,
    /// Folder that names of message files are relative to.
    pub folder: PathBuf,
    /// Time of all cases without a time, in seconds since 1970.
    pub now: u64,
    /// Settings of all cases without settings: a JSON object.
    pub settings: serde_json::Value,
    /// The directory.
    pub directory: Directory,
    /// DNS records.
    pub dns: Dns,
    /// Values of counters at the start of each case.
    pub counters: BTreeMap<String, u64>,
    /// The cases; at least one.
    pub cases: Vec<Case>,
}

/// Keys of a case file as written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct CaseFileKeys {
    #[serde(default, deserialize_with = "time")]
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

impl CaseFile {
    /// The default time, 2026-01-01T12:00:00Z.
    pub const NOW: u64 = 1_767_268_800;

    /// Reads a file. Names of message files are relative to the file's folder.
    ///
    /// # Errors
    /// The file or a message file cannot be read, or the text has a mistake (see [`Self::parse`]).
    pub fn read(path: &Path) -> Result<Self, Error> {
        let name = path.display().to_string();
        let source = std::fs::read_to_string(path).map_err(|error| Error::whole(&name, error.to_string()))?;
        let folder = path.parent().unwrap_or(Path::new("."));
        Self::parse_in(&source, &name, folder)
    }

    /// Reads the text of a file. Names of message files are relative to the current folder.
    ///
    /// # Errors
    /// The first mistake of the text.
    pub fn parse(source: &str, name: &str) -> Result<Self, Error> {
        Self::parse_in(source, name, Path::new("."))
    }

    fn parse_in(source: &str, name: &str, folder: &Path) -> Result<Self, Error> {
        let deserializer = toml::Deserializer::parse(source)
            .map_err(|error| Error::at(name, source, error.span(), String::new(), error.message()))?;
        let written: CaseFileKeys = serde_path_to_error::deserialize(deserializer).map_err(|error| {
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
            case.line = line_and_column(source, span.start).0;
            let problem = |key: &str, text: String| {
                let key = format!("case[{index}]{}{key}", if key.is_empty() { "" } else { "." });
                Error::at(name, source, Some(span.clone()), key, text)
            };
            if let Some(line) = names.insert(case.name.clone(), case.line) {
                return Err(problem("name", format!("the case in line {line} has this name too")));
            }
            case.apply_shared(written.client.as_ref());
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

    /// Returns the settings of a case; the default is the file's settings.
    pub fn settings_of<'a>(&'a self, case: &'a Case) -> &'a serde_json::Value {
        case.settings.as_ref().unwrap_or(&self.settings)
    }

    /// Returns the host of a case, in the state before the first question.
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

/// Returns the path of a key. Internal names with which the parser passes positions are left out.
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
