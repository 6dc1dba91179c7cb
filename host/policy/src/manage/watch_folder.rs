//! The watched folder: a component that is moved into the folder is checked and loaded. Run by the manager.
//!
//! `NAME.wasm` is for the module NAME of the chain, `NAME.json` beside the component holds settings and
//! `NAME.wasm.minisig` a signature; both are optional. Only moves count, because a rename on the same file system is
//! atomic: a file that is written in place is ignored. At start, and whenever the folder could not be watched for a
//! time, every file that differs from the last loaded file is loaded, too.

mod inotify;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Map, Value};
use tokio::sync::watch;

use crate::manage::activate;
use crate::manage::activation_store::Artifact;
use crate::manage::candidate::{read_artifact, read_bounded};
use crate::manage::policy_set::{PolicySet, find_module};
use crate::manage::request::LoadRequest;
use host_config::Problem;
use host_engine::generation::digest;
use host_events::Event;

use crate::manage::watch_folder::inotify::{Folder, FolderEvent};

/// Actor in events.
const BY: &str = "watch";
/// Pause between attempts to open a folder that does not exist.
const RETRY: Duration = Duration::from_secs(2);
/// Maximum size of a settings file, in bytes.
const SETTINGS_SIZE: u64 = 1 << 20;

/// Watches until `stop` turns true.
pub(crate) async fn run(set: Arc<PolicySet>, path: PathBuf, mut stop: watch::Receiver<bool>) {
    let watch = Watch { set, path };
    tokio::select! {
        () = watch.run() => {}
        _ = stop.wait_for(|stop| *stop) => {}
    }
}

struct Watch {
    set: Arc<PolicySet>,
    path: PathBuf,
}

/// The files in the folder for a module.
struct FoundFiles {
    artifact: Artifact,
    settings: Option<Map<String, Value>>,
    /// Digest of code and settings together.
    digest: String,
}

impl Watch {
    /// Opens and follows the folder for ever. Each loss of the folder is reported once (5041), and the return, too
    /// (5042).
    async fn run(&self) {
        let mut lost = false;
        loop {
            let error = match Folder::open(&self.path) {
                Ok(mut folder) => {
                    self.load_new_files().await;
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

    /// Loads moved files until the folder cannot be watched any more; returns the reason.
    async fn follow(&self, folder: &mut Folder) -> String {
        loop {
            match folder.next().await {
                Ok(FolderEvent::Moved(names)) => {
                    for name in names.iter().filter_map(|name| module_name(name)) {
                        self.load(name, None).await;
                    }
                }
                Ok(FolderEvent::Missed) => self.load_new_files().await,
                Ok(FolderEvent::Gone) => return "it was removed or moved away".to_owned(),
                Err(error) => return error.to_string(),
            }
        }
    }

    /// Loads the files that were moved in while the folder was not watched.
    async fn load_new_files(&self) {
        let mut names = Vec::new();
        if let Ok(mut entries) = tokio::fs::read_dir(&self.path).await {
            while let Ok(Some(entry)) = entries.next_entry().await {
                names.extend(entry.file_name().into_string());
            }
        }
        names.sort();
        for name in names.iter().filter_map(|name| module_name(name)) {
            let known = activate::watched(&self.set, name).await;
            self.load(name, known.as_deref()).await;
        }
    }

    /// Loads a module's files, unless the digest is `known`.
    async fn load(&self, module: &str, known: Option<&str>) {
        let file = self.path.join(format!("{module}.wasm"));
        let found = match self.read(module, &file).await {
            Ok(found) if known == Some(found.digest.as_str()) => return,
            Ok(found) => found,
            Err(problems) => return self.set.emit_refused(module, String::new(), BY, &problems),
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
        // Problems have been emitted as Event 5004.
        let set = Arc::clone(&self.set);
        let loaded = tokio::spawn(async move { activate::load(&set, request).await }).await;
        if loaded.is_ok_and(|loaded| loaded.is_ok()) {
            activate::remember_watched(&self.set, module, found.digest).await;
        }
    }

    async fn read(&self, module: &str, file: &Path) -> Result<FoundFiles, Vec<Problem>> {
        let chain = self.set.chain.load_full();
        let limit = find_module(&chain, Some(module))
            .map(|position| {
                chain
                    .modules
                    .get(position)
                    .map(|module| module.configured.limits.component_size)
            })?
            .unwrap_or_default();
        let wrong = |key: &str, text: String| vec![Problem::new(key, text)];
        // Opening a pipe would block until a writer opens the pipe.
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
        Ok(FoundFiles {
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

/// Returns `NAME` of `NAME.wasm`. Hidden files are ignored: programs write drafts under hidden names.
fn module_name(file: &str) -> Option<&str> {
    let name = file.strip_suffix(".wasm")?;
    (!name.is_empty() && !name.starts_with('.')).then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn module_name_is_taken_from_visible_wasm_files_only() {
        assert_eq!(module_name("default.wasm"), Some("default"));
        for other in [
            "default.json",
            "default.wasm.minisig",
            ".default.wasm",
            ".wasm",
            "default.wasm.tmp",
            "wasm",
        ] {
            assert_eq!(module_name(other), None, "{other}");
        }
    }
}
