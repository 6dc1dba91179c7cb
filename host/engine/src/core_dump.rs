//! Core dumps of policies: memory and stack of an instance at a trap, in the format of WebAssembly's tool conventions.
//! Dumps are for policy authors, and written only if the operator configured a folder, since a dump contains the parts
//! of a message that the policy had read.

use std::fs;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arc_swap::ArcSwapOption;
use wasmtime::{Store, WasmCoreDump};

use crate::instance_state::InstanceState;
use host_files::create_whole;
use host_mail::Timestamp;

/// Maximum number of dumps of a module in a folder; further dumps are dropped until files are removed.
const MAX_DUMPS: usize = 10;
/// Maximum size of a dump, in bytes; a larger dump is dropped.
const MAX_DUMP_SIZE: usize = 256 << 20;
const SUFFIX: &str = ".coredump";

/// Folder of a module's dumps, if any. May change while the module runs.
#[derive(Debug, Default)]
pub struct CoreDumps {
    folder: ArcSwapOption<PathBuf>,
}

impl CoreDumps {
    /// Dumps go to `folder`; `None` writes no dump.
    pub fn new(folder: Option<PathBuf>) -> Self {
        let dumps = Self::default();
        dumps.set(folder);
        dumps
    }

    /// Changes the folder for faults from now on.
    pub fn set(&self, folder: Option<PathBuf>) {
        self.folder.store(folder.map(Arc::new));
    }

    /// Writes the dump that `error` carries, and returns its path. Returns `None` without a folder, without a dump, or
    /// at a limit. A dump that cannot be written is logged as a warning; the fault is reported in any case.
    pub(super) fn write(
        &self,
        module: &str,
        error: &wasmtime::Error,
        store: &mut Store<InstanceState>,
    ) -> Option<PathBuf> {
        let folder = self.folder.load_full()?;
        let dump = error.downcast_ref::<WasmCoreDump>()?;
        // `serialize` indexes the instances that the engine collected, and panics if one of the component is missing.
        let Ok(bytes) = catch_unwind(AssertUnwindSafe(|| dump.serialize(&mut *store, module))) else {
            tracing::warn!(module, "the engine cannot make a core dump of this component");
            return None;
        };
        match save(&folder, module, &bytes) {
            Ok(written) => written,
            Err(error) => {
                tracing::warn!(module, folder = %folder.display(), %error, "a core dump could not be written");
                None
            }
        }
    }
}

/// Saves a dump and returns its path; `None` if the dump is too large or the folder has [`MAX_DUMPS`] of the module.
fn save(folder: &Path, module: &str, bytes: &[u8]) -> io::Result<Option<PathBuf>> {
    let start = format!("{module}-");
    let mut existing = 0;
    for entry in fs::read_dir(folder)? {
        let name = entry?.file_name();
        let name = name.to_string_lossy();
        existing += usize::from(name.starts_with(&start) && name.ends_with(SUFFIX));
    }
    if existing >= MAX_DUMPS || bytes.len() > MAX_DUMP_SIZE {
        return Ok(None);
    }
    let path = folder.join(format!("{start}{}-{existing}{SUFFIX}", Timestamp::now().0));
    create_whole(&path, bytes)?;
    Ok(Some(path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn saves_at_most_ten_dumps_of_a_module() {
        let folder = tempfile::tempdir().expect("a folder");
        let write = |module: &str| save(folder.path(), module, b"dump").expect("written").is_some();
        assert!((0..MAX_DUMPS).all(|_| write("one")));
        assert!(!write("one"));
        assert!(write("other"));
        assert!(save(&folder.path().join("nowhere"), "one", b"dump").is_err());
    }
}
