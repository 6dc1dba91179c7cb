//! The store of activations, in a folder of the data directory. `activations.json` is the ledger: for each module the
//! active code and settings, the history and trials; `DIGEST.wasm` is a component and `DIGEST.wasm.minisig` the
//! signature.
//!
//! Every file is replaced atomically, so a crash leaves the old or the new file. Owned by the set of policies; the
//! ledger is held in memory and written with each change.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::manage::activation_history::{History, How, Past};
use crate::manage::rollback_backoff::RollbackBackoff;
use host_engine::generation::digest;
use host_files::{make_private_folder, replace_whole};
use host_mail::Timestamp;

const LEDGER: &str = "activations.json";
const FORMAT: u32 = 1;

/// The code and settings in the configuration at the time of an activation.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct Configured {
    /// `built-in`, or the digest of the configured file.
    pub(crate) code: String,
    pub(crate) settings: Map<String, Value>,
}

/// The activation of a module.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct Activated {
    pub(crate) generation: u64,
    /// Identity of the generation, as in [`host_engine::generation::Candidate::identity`].
    pub(crate) identity: String,
    /// Digest of the code.
    pub(crate) code: String,
    pub(crate) settings: Map<String, Value>,
    /// True if an operator loaded the code, so that the code differs from the configured code.
    pub(crate) code_loaded: bool,
    /// True if an operator loaded the settings, so that the settings differ from the configuration.
    pub(crate) settings_loaded: bool,
    /// The configuration at the time of the activation. A later change in the configuration is newer than the load and
    /// wins.
    pub(crate) configured: Configured,
    pub(crate) origin: String,
    pub(crate) by: String,
    pub(crate) since: Timestamp,
    #[serde(default)]
    pub(crate) version: String,
    #[serde(default)]
    pub(crate) how: How,
    #[serde(default)]
    pub(crate) why: String,
}

impl Activated {
    /// Returns the entry for the history. `back_to` is the generation that a rollback restored.
    pub(crate) fn past(&self, back_to: Option<u64>) -> Past {
        Past {
            generation: self.generation,
            digest: self.code.clone(),
            version: self.version.clone(),
            settings: self.settings.clone(),
            origin: self.origin.clone(),
            since: self.since,
            by: self.by.clone(),
            how: self.how,
            why: self.why.clone(),
            back_to,
        }
    }
}

/// A staged candidate's activation, on disk.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct StagedRecord {
    pub(crate) module: String,
    pub(crate) activated: Activated,
}

/// The activations that failed probations restore.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Restores {
    /// Returns if the generation on probation fails.
    pub(crate) previous: Activated,
    /// Returns if `previous` fails in turn, in the rest of its own probation.
    pub(crate) earlier: Option<Activated>,
}

/// A component and the signature.
#[derive(Debug, Clone)]
pub(crate) struct Artifact {
    pub(crate) bytes: Arc<[u8]>,
    /// The text of its `.minisig` file.
    pub(crate) signature: Option<String>,
}

impl Artifact {
    /// Returns a component without a signature.
    pub(crate) fn unsigned(bytes: impl Into<Arc<[u8]>>) -> Self {
        Self {
            bytes: bytes.into(),
            signature: None,
        }
    }
}

/// The ledger: the activation of each module, the history and the trials, and the last generation number.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct Ledger {
    format: u32,
    last: u64,
    pub(crate) modules: BTreeMap<String, Activated>,
    #[serde(default)]
    pub(crate) history: BTreeMap<String, History>,
    /// Digest of the files last loaded from the watched folder, by module: see [`crate::manage::watch_folder`].
    #[serde(default)]
    pub(crate) watched: BTreeMap<String, String>,
    /// The activation that a failed probation restores, by module. Listed here so that the code remains stored.
    #[serde(default)]
    pub(crate) previous: BTreeMap<String, Activated>,
    /// The activation before `previous`, which is restored if `previous` fails the rest of its own probation.
    #[serde(default)]
    pub(crate) earlier: BTreeMap<String, Activated>,
    #[serde(default)]
    pub(crate) staged: Option<StagedRecord>,
    #[serde(default)]
    pub(crate) held_back: RollbackBackoff,
}

impl Ledger {
    /// Returns an empty ledger. Generation numbers are never reused: when the last number is lost, the clock in seconds
    /// is larger.
    fn empty_after_loss() -> Self {
        Self {
            format: FORMAT,
            last: Timestamp::now().seconds(),
            ..Self::default()
        }
    }

    /// Records a module's activation. `restores` has the activations that return if the new one fails on probation;
    /// `None` without a probation.
    pub(crate) fn activate(
        &mut self,
        module: &str,
        activated: Activated,
        back_to: Option<u64>,
        restores: Option<Restores>,
    ) {
        self.add_to_history(module, &activated, back_to);
        self.modules.insert(module.to_owned(), activated);
        self.restore_later(module, restores);
    }

    /// Sets the activations that a failed probation restores; `None` ends the probation.
    pub(crate) fn restore_later(&mut self, module: &str, restores: Option<Restores>) {
        let (previous, earlier) = restores.map_or((None, None), |restores| (Some(restores.previous), restores.earlier));
        for (map, activated) in [(&mut self.previous, previous), (&mut self.earlier, earlier)] {
            match activated {
                Some(activated) => map.insert(module.to_owned(), activated),
                None => map.remove(module),
            };
        }
    }

    /// Adds a running generation to the history without changing the module's activation.
    pub(crate) fn add_to_history(&mut self, module: &str, activated: &Activated, back_to: Option<u64>) {
        let history = self.history.entry(module.to_owned()).or_default();
        history.record(activated.past(back_to));
    }

    /// Drops the history of every module that is not in `modules`.
    pub(crate) fn retain_modules(&mut self, modules: &[&str]) {
        self.history.retain(|module, _| modules.contains(&module.as_str()));
        self.watched.retain(|module, _| modules.contains(&module.as_str()));
    }

    /// Returns the digests of all code that the ledger names.
    fn named_digests(&self) -> BTreeSet<&str> {
        let staged = self.staged.as_ref().map(|staged| &staged.activated);
        let restorable = self.previous.values().chain(self.earlier.values());
        let activations = self.modules.values().chain(restorable).chain(staged);
        let active = activations.map(|module| module.code.as_str());
        active
            .chain(self.history.values().flat_map(History::kept_digests))
            .collect()
    }

    /// Returns an unused generation number.
    pub(crate) fn next_number(&mut self) -> u64 {
        self.last += 1;
        self.last
    }
}

/// The folder of activations.
#[derive(Debug, Clone)]
pub(crate) struct ActivationStore {
    folder: PathBuf,
}

impl ActivationStore {
    /// Opens the store; creates the folder if needed.
    pub(crate) fn open(folder: &Path) -> io::Result<Self> {
        make_private_folder(folder)?;
        Ok(Self {
            folder: folder.to_owned(),
        })
    }

    /// Reads the ledger in `folder` without changing anything; `None` if there is none, or none that can be read.
    pub(crate) fn peek(folder: &Path) -> Option<Ledger> {
        let bytes = fs::read(folder.join(LEDGER)).ok()?;
        serde_json::from_slice(&bytes).ok()
    }

    /// Reads the ledger. A damaged ledger is renamed and an empty ledger is returned together with the problem.
    pub(crate) fn ledger(&self) -> io::Result<(Ledger, Option<String>)> {
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
        Ok((Ledger::empty_after_loss(), Some(problem)))
    }

    /// Replaces the ledger, and removes code that the ledger no longer names.
    pub(crate) fn save(&self, ledger: &Ledger) -> io::Result<()> {
        self.replace(LEDGER, &serde_json::to_vec_pretty(ledger)?)?;
        self.prune(ledger);
        Ok(())
    }

    /// Stores code under the digest, and the signature beside the code.
    pub(crate) fn save_code(&self, digest: &str, artifact: &Artifact) -> io::Result<()> {
        if let Some(signature) = &artifact.signature
            && self.signature(digest)?.as_ref() != Some(signature)
        {
            self.replace(&signature_name(digest), signature.as_bytes())?;
        }
        if self.code(digest).is_ok() {
            return Ok(());
        }
        self.replace(&code_name(digest), &artifact.bytes)
    }

    /// True if there is a file for this digest. The file may be damaged.
    pub(crate) fn contains(&self, digest: &str) -> bool {
        self.folder.join(code_name(digest)).exists()
    }

    /// Reads the signature that was stored with the code under this digest.
    pub(crate) fn signature(&self, digest: &str) -> io::Result<Option<String>> {
        match fs::read(self.folder.join(signature_name(digest))) {
            Ok(bytes) => Ok(Some(String::from_utf8_lossy(&bytes).into_owned())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Reads stored code. Damaged code is an error.
    pub(crate) fn code(&self, expected: &str) -> io::Result<Artifact> {
        let path = self.folder.join(code_name(expected));
        let bytes = fs::read(&path)?;
        if digest(&bytes) == expected {
            return Ok(Artifact {
                bytes: bytes.into(),
                signature: self.signature(expected)?,
            });
        }
        let problem = format!("{} is damaged: its digest is another", path.display());
        Err(io::Error::new(io::ErrorKind::InvalidData, problem))
    }

    fn replace(&self, name: &str, bytes: &[u8]) -> io::Result<()> {
        replace_whole(&self.folder.join(name), bytes)
    }

    /// Removes files that the ledger does not name. Failures are ignored: the next save tries again.
    fn prune(&self, ledger: &Ledger) {
        let codes = ledger.named_digests();
        let names = |digest: &&str| [code_name(digest), signature_name(digest)];
        let named: BTreeSet<String> = codes.iter().flat_map(names).collect();
        let Ok(entries) = fs::read_dir(&self.folder) else {
            return;
        };
        for entry in entries.flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            let ours = name.ends_with(".wasm") || name.ends_with(".wasm.minisig");
            if name.starts_with(".new-") || (ours && !named.contains(&name)) {
                let _ = fs::remove_file(entry.path());
            }
        }
    }
}

fn code_name(digest: &str) -> String {
    format!("{digest}.wasm")
}

fn signature_name(digest: &str) -> String {
    format!("{digest}.wasm.minisig")
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
            version: "1".to_owned(),
            how: How::Load,
            why: String::new(),
        }
    }

    fn save(store: &ActivationStore, name: &str, bytes: &[u8]) {
        store.save_code(name, &Artifact::unsigned(bytes)).expect("saved");
    }

    #[test]
    fn saved_code_is_read_back_and_unnamed_code_is_pruned() {
        let folder = tempfile::tempdir().expect("folder");
        let store = ActivationStore::open(folder.path()).expect("opens");
        let (mut ledger, problem) = store.ledger().expect("empty");
        assert_eq!(problem, None);
        assert_eq!((ledger.next_number(), ledger.next_number()), (1, 2));
        let (old, new) = (digest(b"old"), digest(b"new"));
        save(&store, &old, b"old");
        let signed = Artifact {
            signature: Some("signed".to_owned()),
            ..Artifact::unsigned(*b"new")
        };
        store.save_code(&new, &signed).expect("saved");
        ledger.activate("m", activated(&new), None, None);
        store.save(&ledger).expect("saved");
        assert_eq!(store.ledger().expect("read"), (ledger.clone(), None));
        let kept = store.code(&new).expect("kept");
        assert_eq!((&*kept.bytes, kept.signature.as_deref()), (&b"new"[..], Some("signed")));
        assert!(store.code(&old).is_err());
        ledger.modules.clear();
        ledger.retain_modules(&[]);
        store.save(&ledger).expect("saved");
        assert!(!store.contains(&new));
        assert_eq!(fs::read_dir(folder.path()).expect("a folder").count(), 1);
    }

    #[test]
    fn keeps_the_code_of_the_last_ten_components() {
        let folder = tempfile::tempdir().expect("folder");
        let store = ActivationStore::open(folder.path()).expect("opens");
        let mut ledger = Ledger::default();
        let codes: Vec<String> = (0..13_u8).map(|n| digest(&[n])).collect();
        for (n, code) in (0_u8..).zip(&codes) {
            save(&store, code, &[n]);
            let generation = ledger.next_number();
            let activated = Activated {
                generation,
                ..activated(code)
            };
            ledger.activate("m", activated, None, None);
        }
        store.save(&ledger).expect("saved");
        let kept: Vec<bool> = codes.iter().map(|code| store.contains(code)).collect();
        assert_eq!(kept, (0..13).map(|n| n >= 3).collect::<Vec<_>>());
    }

    #[test]
    fn reads_a_ledger_of_the_first_release() {
        let folder = tempfile::tempdir().expect("folder");
        let store = ActivationStore::open(folder.path()).expect("opens");
        let old = r#"{ "format": 1, "last": 7, "modules": { "m": {
            "generation": 7, "identity": "i", "code": "c", "settings": {}, "code-loaded": true, "settings-loaded": false,
            "configured": { "code": "built-in", "settings": {} }, "origin": "/x.wasm", "by": "uid 0", "since": 5 } } }"#;
        fs::write(folder.path().join(LEDGER), old).expect("written");
        let (mut ledger, problem) = store.ledger().expect("read");
        assert_eq!(problem, None);
        assert_eq!((ledger.modules["m"].how, ledger.next_number()), (How::Unknown, 8));
    }

    #[test]
    fn damaged_ledger_is_put_aside_and_numbers_are_not_reused() {
        let folder = tempfile::tempdir().expect("folder");
        let store = ActivationStore::open(folder.path()).expect("opens");
        for damage in ["{", "{\"format\":99,\"last\":7,\"modules\":{}}"] {
            fs::write(folder.path().join(LEDGER), damage).expect("written");
            let (mut ledger, problem) = store.ledger().expect("an empty one");
            assert!(problem.is_some_and(|text| text.contains("put aside")));
            assert!(ledger.modules.is_empty() && ledger.next_number() > 1_000_000);
            assert!(!folder.path().join(LEDGER).exists());
        }
    }

    #[test]
    fn damaged_code_is_refused_and_rewritten() {
        let folder = tempfile::tempdir().expect("folder");
        let store = ActivationStore::open(folder.path()).expect("opens");
        let name = digest(b"code");
        save(&store, &name, b"code");
        fs::write(folder.path().join(code_name(&name)), b"damaged").expect("written");
        assert!(store.code(&name).is_err());
        save(&store, &name, b"code");
        assert_eq!(&*store.code(&name).expect("kept").bytes, b"code");
    }
}
