//! What is active, kept on disk: `activations.json` names for each module the code and settings in
//! force, and `DIGEST.wasm` is that code. Each file is replaced as a whole, so a crash leaves the
//! old or the new one.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::backoff::HeldBack;
use super::generation::digest;
use super::probation::Probation;
use super::staging::StagedRecord;
use crate::mail::Timestamp;

const LEDGER: &str = "activations.json";
const FORMAT: u32 = 1;

/// What a configuration said about a module.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) struct Configured {
    /// `built-in`, or the digest of the configured file.
    pub(super) code: String,
    pub(super) settings: Map<String, Value>,
}

/// One module's activation.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) struct Activated {
    pub(super) generation: u64,
    /// See [`super::generation::Candidate::identity`].
    pub(super) identity: String,
    /// Digest of the code.
    pub(super) code: String,
    pub(super) settings: Map<String, Value>,
    /// The code is not the configured one: an operator loaded it.
    pub(super) code_loaded: bool,
    /// The settings are not the configured ones: an operator loaded them.
    pub(super) settings_loaded: bool,
    /// The configuration at that time; what it says differently later is newer than the load.
    pub(super) configured: Configured,
    pub(super) origin: String,
    pub(super) by: String,
    pub(super) since: Timestamp,
}

/// Every module's activation, and the last number given to a generation.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) struct Ledger {
    format: u32,
    last: u64,
    pub(super) modules: BTreeMap<String, Activated>,
    /// What is put back if a module on probation fails; kept so that its code is.
    #[serde(default)]
    pub(super) previous: BTreeMap<String, Activated>,
    #[serde(default)]
    pub(super) staged: Option<StagedRecord>,
    #[serde(default)]
    pub(super) held_back: HeldBack,
}

impl Ledger {
    /// An empty one. Numbers are never given twice; when it is not known which were given, the
    /// clock is beyond them.
    fn after_loss() -> Self {
        Self {
            format: FORMAT,
            last: Timestamp::now().seconds(),
            ..Self::default()
        }
    }

    /// A module runs with this from now on; on probation, if it is.
    pub(super) fn activate(&mut self, module: &str, activated: Activated, probation: Option<&Probation>) {
        self.modules.insert(module.to_owned(), activated);
        match probation {
            Some(probation) => self.previous.insert(module.to_owned(), probation.restores.clone()),
            None => self.previous.remove(module),
        };
    }

    /// Everything whose code is needed.
    fn activations(&self) -> impl Iterator<Item = &Activated> {
        let staged = self.staged.as_ref().map(|staged| &staged.activated);
        self.modules.values().chain(self.previous.values()).chain(staged)
    }

    /// A number no generation had before.
    pub(super) fn next(&mut self) -> u64 {
        self.last += 1;
        self.last
    }
}

/// The folder of activations.
#[derive(Debug, Clone)]
pub(super) struct Store {
    folder: PathBuf,
}

impl Store {
    /// Makes the folder if there is none.
    pub(super) fn open(folder: &Path) -> io::Result<Self> {
        fs::create_dir_all(folder)?;
        Ok(Self {
            folder: folder.to_owned(),
        })
    }

    /// The ledger, and what was wrong with it. A damaged one is put aside and an empty one returned.
    pub(super) fn ledger(&self) -> io::Result<(Ledger, Option<String>)> {
        let path = self.folder.join(LEDGER);
        let bytes = match fs::read(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let empty = Ledger {
                    format: FORMAT,
                    ..Ledger::default()
                };
                return Ok((empty, None));
            }
            Err(error) => return Err(error),
        };
        let problem = match serde_json::from_slice::<Ledger>(&bytes) {
            Ok(ledger) if ledger.format == FORMAT => return Ok((ledger, None)),
            Ok(ledger) => format!("format {} is not known, only {FORMAT}", ledger.format),
            Err(error) => error.to_string(),
        };
        let aside = self.folder.join(format!("{LEDGER}.{}.damaged", Timestamp::now().0));
        fs::rename(&path, &aside)?;
        let problem = format!("{}: {problem}; it was put aside as {}", path.display(), aside.display());
        Ok((Ledger::after_loss(), Some(problem)))
    }

    /// Replaces the ledger, and removes code that it no longer names.
    pub(super) fn save(&self, ledger: &Ledger) -> io::Result<()> {
        self.replace(LEDGER, &serde_json::to_vec_pretty(ledger)?)?;
        self.prune(ledger);
        Ok(())
    }

    /// Keeps code under its digest.
    pub(super) fn save_code(&self, digest: &str, bytes: &[u8]) -> io::Result<()> {
        if self.code(digest).is_ok() {
            return Ok(());
        }
        self.replace(&code_name(digest), bytes)
    }

    /// Code that was kept; damaged code is an error.
    pub(super) fn code(&self, wanted: &str) -> io::Result<Vec<u8>> {
        let path = self.folder.join(code_name(wanted));
        let bytes = fs::read(&path)?;
        if digest(&bytes) == wanted {
            return Ok(bytes);
        }
        let problem = format!("{} is damaged: its digest is another", path.display());
        Err(io::Error::new(io::ErrorKind::InvalidData, problem))
    }

    fn replace(&self, name: &str, bytes: &[u8]) -> io::Result<()> {
        let mut file = tempfile::Builder::new().prefix(".new-").tempfile_in(&self.folder)?;
        file.write_all(bytes)?;
        file.as_file().sync_all()?;
        file.persist(self.folder.join(name)).map_err(|error| error.error)?;
        File::open(&self.folder)?.sync_all()
    }

    /// What cannot be removed does no harm and is tried again next time.
    fn prune(&self, ledger: &Ledger) {
        let named: BTreeSet<String> = ledger.activations().map(|module| code_name(&module.code)).collect();
        let Ok(entries) = fs::read_dir(&self.folder) else {
            return;
        };
        for entry in entries.flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            if name.starts_with(".new-") || (name.ends_with(".wasm") && !named.contains(&name)) {
                let _ = fs::remove_file(entry.path());
            }
        }
    }
}

fn code_name(digest: &str) -> String {
    format!("{digest}.wasm")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn activated(code: &str) -> Activated {
        Activated {
            generation: 1,
            identity: "i".to_owned(),
            code: code.to_owned(),
            settings: Map::new(),
            code_loaded: true,
            settings_loaded: false,
            configured: Configured::default(),
            origin: "here".to_owned(),
            by: "me".to_owned(),
            since: Timestamp(1),
        }
    }

    #[test]
    fn what_was_saved_comes_back_and_what_is_not_named_goes() {
        let folder = tempfile::tempdir().expect("folder");
        let store = Store::open(folder.path()).expect("opens");
        let (mut ledger, problem) = store.ledger().expect("empty");
        assert_eq!(problem, None);
        assert_eq!((ledger.next(), ledger.next()), (1, 2));
        let (old, new) = (digest(b"old"), digest(b"new"));
        store.save_code(&old, b"old").expect("saved");
        store.save_code(&new, b"new").expect("saved");
        ledger.modules.insert("m".to_owned(), activated(&new));
        store.save(&ledger).expect("saved");
        assert_eq!(store.ledger().expect("read"), (ledger, None));
        assert_eq!(store.code(&new).expect("kept"), b"new");
        assert!(store.code(&old).is_err());
    }

    #[test]
    fn a_damaged_ledger_is_put_aside_and_numbers_do_not_come_back() {
        let folder = tempfile::tempdir().expect("folder");
        let store = Store::open(folder.path()).expect("opens");
        for damage in ["{", "{\"format\":99,\"last\":7,\"modules\":{}}"] {
            fs::write(folder.path().join(LEDGER), damage).expect("written");
            let (mut ledger, problem) = store.ledger().expect("an empty one");
            assert!(problem.is_some_and(|text| text.contains("put aside")));
            assert!(ledger.modules.is_empty() && ledger.next() > 1_000_000);
            assert!(!folder.path().join(LEDGER).exists());
        }
    }

    #[test]
    fn damaged_code_is_not_handed_out_and_is_written_anew() {
        let folder = tempfile::tempdir().expect("folder");
        let store = Store::open(folder.path()).expect("opens");
        let name = digest(b"code");
        store.save_code(&name, b"code").expect("saved");
        fs::write(folder.path().join(code_name(&name)), b"damaged").expect("written");
        assert!(store.code(&name).is_err());
        store.save_code(&name, b"code").expect("saved");
        assert_eq!(store.code(&name).expect("kept"), b"code");
    }
}
