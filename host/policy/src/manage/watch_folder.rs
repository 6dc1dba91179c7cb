//! The watched folder: a component that is moved into it is checked and loaded.
//!
//! `NAME.wasm` is for the module NAME of the chain, `NAME.json` beside it holds its settings and
//! `NAME.wasm.minisig` its signature, if there are any. Only moving counts (a rename on the same file
//! system is all or nothing): a file that is being written in place is not looked at. At start, and
//! whenever the folder was out of sight, every file in it that is not what was last loaded from
//! here is loaded, too.

mod inotify;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Map, Value};
use tokio::sync::watch;

use crate::manage::activate;
use crate::manage::activation_store::Artifact;
use crate::manage::candidate::{read_artifact, read_bounded};
use crate::manage::policy_set::{PolicySet, find};
use crate::manage::request::LoadRequest;
use host_config::Problem;
use host_engine::generation::digest;
use host_events::Event;

use crate::manage::watch_folder::inotify::{Folder, FolderEvent};

/// Who loads, in events.
const BY: &str = "watch";
/// Between two attempts to open a folder that is not there.
const RETRY: Duration = Duration::from_secs(2);
/// Largest file of settings, in bytes.
const SETTINGS_SIZE: u64 = 1 << 20;

/// Watches until `stop` turns true.
pub(crate) async fn run(set: Arc<PolicySet>, path: PathBuf, mut stop: watch::Receiver<bool>) {
    let watch = Watch { set, path };
    tokio::select! {
        () = watch.keep_watching() => {}
        _ = stop.wait_for(|stop| *stop) => {}
    }
}

struct Watch {
    set: Arc<PolicySet>,
    path: PathBuf,
}

/// What lies in the folder for one module.
struct Found {
    artifact: Artifact,
    settings: Option<Map<String, Value>>,
    /// Of code and settings together.
    digest: String,
}

impl Watch {
    /// Says once that the folder is out of sight, however long that lasts.
    async fn keep_watching(&self) {
        let mut lost = false;
        loop {
            let error = match Folder::open(&self.path) {
                Ok(mut folder) => {
                    self.load_what_is_new().await;
                    if std::mem::take(&mut lost) {
                        self.set.evaluator.events.emit(Event::PolicyWatchResumed {
                            folder: self.path.display().to_string(),
                        });
                    }
                    self.follow(&mut folder).await
                }
                Err(error) => error.to_string(),
            };
            if !std::mem::replace(&mut lost, true) {
                self.set.evaluator.events.emit(Event::PolicyWatchFailed {
                    folder: self.path.display().to_string(),
                    error,
                });
            }
            tokio::time::sleep(RETRY).await;
        }
    }

    /// Returns with the reason when the folder cannot be watched any more.
    async fn follow(&self, folder: &mut Folder) -> String {
        loop {
            match folder.next().await {
                Ok(FolderEvent::Moved(names)) => {
                    for name in names.iter().filter_map(|name| module_of(name)) {
                        self.load(name, None).await;
                    }
                }
                Ok(FolderEvent::Missed) => self.load_what_is_new().await,
                Ok(FolderEvent::Gone) => return "it was removed or moved away".to_owned(),
                Err(error) => return error.to_string(),
            }
        }
    }

    /// Looks through the folder for what was moved in while nobody watched.
    async fn load_what_is_new(&self) {
        let mut names = Vec::new();
        if let Ok(mut entries) = tokio::fs::read_dir(&self.path).await {
            while let Ok(Some(entry)) = entries.next_entry().await {
                names.extend(entry.file_name().into_string());
            }
        }
        names.sort();
        for name in names.iter().filter_map(|name| module_of(name)) {
            let known = activate::watched(&self.set, name).await;
            self.load(name, known.as_deref()).await;
        }
    }

    /// Loads a module's file, unless it is the known one.
    async fn load(&self, module: &str, known: Option<&str>) {
        let file = self.path.join(format!("{module}.wasm"));
        let found = match self.read(module, &file).await {
            Ok(found) if known == Some(found.digest.as_str()) => return,
            Ok(found) => found,
            Err(problems) => return self.set.refused(module, String::new(), BY, &problems),
        };
        let request = LoadRequest {
            module: Some(module.to_owned()),
            code: Some(found.artifact.bytes.to_vec()),
            signature: found.artifact.signature,
            origin: file.display().to_string(),
            settings: found.settings,
            by: BY.to_owned(),
            reason: format!("found in {}", self.path.display()),
            watched: true,
            core_dumps: None,
            force: false,
        };
        // What is wrong with it has been told as Event 5004.
        let set = Arc::clone(&self.set);
        let loaded = tokio::spawn(async move { activate::load(&set, request).await }).await;
        if loaded.is_ok_and(|loaded| loaded.is_ok()) {
            activate::remember_watched(&self.set, module, found.digest).await;
        }
    }

    async fn read(&self, module: &str, file: &Path) -> Result<Found, Vec<Problem>> {
        let chain = self.set.chain.load_full();
        let limit = find(&chain, Some(module))
            .map(|place| {
                chain
                    .modules
                    .get(place)
                    .map(|module| module.configured.limits.component_size)
            })?
            .unwrap_or_default();
        let wrong = |key: &str, text: String| vec![Problem::new(key, text)];
        // Opening a pipe would wait for whoever writes into it.
        let is_file = |path: PathBuf| async move { tokio::fs::metadata(path).await.map(|about| about.is_file()) };
        match is_file(file.to_owned()).await {
            Ok(true) => {}
            Ok(false) => return Err(wrong("file", format!("{}: not a file", file.display()))),
            Err(error) => return Err(wrong("file", format!("{}: {error}", file.display()))),
        }
        let artifact = read_artifact(file, limit).await?;
        let beside = file.with_extension("json");
        let settings = match is_file(beside.clone()).await {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
            Ok(true) => Some(
                read_settings(&beside)
                    .await
                    .map_err(|text| wrong("settings", format!("{}: {text}", beside.display())))?,
            ),
            Ok(false) => return Err(wrong("settings", format!("{}: not a file", beside.display()))),
            Err(error) => return Err(wrong("settings", format!("{}: {error}", beside.display()))),
        };
        let parts = serde_json::json!([digest(&artifact.bytes), settings]);
        Ok(Found {
            artifact,
            settings,
            digest: digest(parts.to_string().as_bytes()),
        })
    }
}

async fn read_settings(file: &Path) -> Result<Map<String, Value>, String> {
    let bytes = read_bounded(file, SETTINGS_SIZE).await?;
    if bytes.len() as u64 > SETTINGS_SIZE {
        return Err(format!("larger than {SETTINGS_SIZE} bytes"));
    }
    match serde_json::from_slice(&bytes) {
        Ok(Value::Object(settings)) => Ok(settings),
        Ok(_) => Err("expected a JSON object".to_owned()),
        Err(error) => Err(format!("expected a JSON object: {error}")),
    }
}

/// `NAME` of `NAME.wasm`; hidden files are somebody's way to write others.
fn module_of(file: &str) -> Option<&str> {
    let name = file.strip_suffix(".wasm")?;
    (!name.is_empty() && !name.starts_with('.')).then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_components_in_plain_sight_count() {
        assert_eq!(module_of("default.wasm"), Some("default"));
        for other in [
            "default.json",
            "default.wasm.minisig",
            ".default.wasm",
            ".wasm",
            "default.wasm.tmp",
            "wasm",
        ] {
            assert_eq!(module_of(other), None, "{other}");
        }
    }
}
