//! Edits of the tables `[[dkim]]` in the configuration's file. An edit is atomic and preserves all other content.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use toml::Value;
use toml::de::{DeTable, DeValue};

use super::{Config, ConfigError, Problem};
use host_files::replace_whole_shared;
use host_mail::Timestamp;

/// Reason why the configuration's file was not changed.
#[derive(Debug, thiserror::Error)]
pub enum ConfigEditError {
    /// The file could not be read or written.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// The file, before or after the edit, is not a valid configuration.
    #[error(transparent)]
    Problems(#[from] ConfigError),
    /// The file has no such key.
    #[error("there is no key {0:?} of {1} in the file")]
    NoKey(String, String),
}

/// A key to add.
#[derive(Debug, Clone)]
pub struct AddedDkimKey {
    /// Domain of the key.
    pub domain: String,
    /// Selector of the key.
    pub selector: String,
    /// File of the key; a relative path starts at the folder of the configuration's file.
    pub key: PathBuf,
    /// Time before which the key does not sign.
    pub not_before: Option<Timestamp>,
}

/// The end of a key that is in the file.
#[derive(Debug, Clone)]
pub struct EndedDkimKey {
    /// Domain of the key.
    pub domain: String,
    /// Selector of the key.
    pub selector: String,
    /// Time from which on the key does not sign.
    pub not_after: Timestamp,
}

/// Adds keys to the file and sets the ends of others, in one step. Nothing is changed unless the result is a valid
/// configuration.
///
/// # Errors
/// The file is unchanged.
pub fn edit_dkim_keys(path: &Path, added: &[AddedDkimKey], ended: &[EndedDkimKey]) -> Result<(), ConfigEditError> {
    // A symbolic link is preserved: the target of the link is replaced.
    let target = fs::canonicalize(path)?;
    let folder = File::open(target.parent().unwrap_or(Path::new("/")))?;
    rustix::fs::flock(&folder, rustix::fs::FlockOperation::LockExclusive).map_err(io::Error::from)?;
    let mut text = fs::read_to_string(&target)?;
    for key in ended {
        text = with_end(&text, key)?;
    }
    for key in added {
        let line_end = if text.is_empty() || text.ends_with('\n') {
            ""
        } else {
            "\n"
        };
        text.push_str(line_end);
        text.push_str(&block(key));
    }
    let base = std::path::absolute(path)?;
    Config::parse(&text, base.parent().unwrap_or(Path::new("/")))?;
    Ok(replace_whole_shared(&target, text.as_bytes())?)
}

fn block(key: &AddedDkimKey) -> String {
    let quoted = |text: &str| Value::String(text.to_owned()).to_string();
    let mut block = format!(
        "\n[[dkim]]\ndomain = {}\nselector = {}\nkey = {}\n",
        quoted(&key.domain),
        quoted(&key.selector),
        quoted(&key.key.display().to_string())
    );
    if let Some(start) = key.not_before {
        block.push_str(&format!("not-before = {start}\n"));
    }
    block
}

fn with_end(text: &str, key: &EndedDkimKey) -> Result<String, ConfigEditError> {
    let document =
        DeTable::parse(text).map_err(|error| ConfigError(vec![Problem::new("", error.message().to_owned())]))?;
    let tables = match document.get_ref().get("dkim").map(toml::Spanned::get_ref) {
        Some(DeValue::Array(tables)) => Some(tables),
        _ => None,
    };
    let tables = tables.into_iter().flat_map(|tables| tables.iter());
    for table in tables.filter_map(|table| table.get_ref().as_table()) {
        let has = |name: &str, expected: &str| {
            let value = table.get(name).and_then(|value| value.get_ref().as_str());
            value.is_some_and(|value| host_mail::canonical_domain(value).as_deref() == Some(expected))
        };
        let Some(selector) = table.get("selector") else {
            continue;
        };
        if !has("domain", &key.domain) || !has("selector", &key.selector) {
            continue;
        }
        let (span, new) = match table.get("not-after") {
            Some(old) => (old.span(), key.not_after.to_string()),
            None => {
                let end = selector.span().end;
                (end..end, format!("\nnot-after = {}", key.not_after))
            }
        };
        let mut edited = text.to_owned();
        edited.replace_range(span, &new);
        return Ok(edited);
    }
    Err(ConfigEditError::NoKey(key.selector.clone(), key.domain.clone()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = "administrator = 'a@b.example'\n\n[[dkim]]\ndomain = 'B.example' # the first\n\
                        selector = 'old' # until the next\nkey = 'dkim/old.pem'\n\n[limits]\nhops = 9";

    #[test]
    fn adds_a_key_and_ends_another_in_place() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("posthouse.toml");
        fs::write(&file, FILE).expect("written");
        let time = |text: &str| text.parse::<Timestamp>().expect("a time");
        let added = AddedDkimKey {
            domain: "b.example".to_owned(),
            selector: "new".to_owned(),
            key: PathBuf::from("dkim/new.pem"),
            not_before: Some(time("2026-12-02T00:00:00Z")),
        };
        let mut ended = EndedDkimKey {
            domain: "b.example".to_owned(),
            selector: "old".to_owned(),
            not_after: time("2026-12-09T00:00:00Z"),
        };
        edit_dkim_keys(&file, &[added], std::slice::from_ref(&ended)).expect("edited");
        let config = Config::load(&file).expect("valid");
        let keys: Vec<_> = config
            .dkim
            .iter()
            .map(|key| (key.selector.as_str(), key.not_before, key.not_after))
            .collect();
        assert_eq!(
            keys,
            [
                ("old", None, Some(ended.not_after)),
                ("new", Some(time("2026-12-02T00:00:00Z")), None)
            ]
        );
        assert_eq!(config.dkim[1].key, folder.path().join("dkim/new.pem"));
        assert!(fs::read_to_string(&file).expect("there").contains("# the first\n"));
        ended.not_after = time("2026-12-10T00:00:00Z");
        edit_dkim_keys(&file, &[], std::slice::from_ref(&ended)).expect("edited again");
        let config = Config::load(&file).expect("valid");
        assert_eq!(config.dkim[0].not_after, Some(ended.not_after));
        ended.selector = "none".to_owned();
        let before = fs::read(&file).expect("there");
        assert!(matches!(
            edit_dkim_keys(&file, &[], &[ended]),
            Err(ConfigEditError::NoKey(..))
        ));
        assert_eq!(fs::read(&file).expect("there"), before);
    }
}
