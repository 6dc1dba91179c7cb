//! Core dumps of policies: what an instance held when it trapped, in the format of WebAssembly's tool
//! conventions. For authors. Written only where the operator asked for it, since a dump holds
//! whatever the policy had read of a message.

use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arc_swap::ArcSwapOption;
use wasmtime::{Store, WasmCoreDump};

use crate::instance_state::InstanceState;
use host_mail::Timestamp;

/// Dumps of one module in a folder. No more are written until some are removed.
const MOST: usize = 10;
/// Bytes of one dump.
const LARGEST: usize = 256 << 20;
/// How their names end.
const ENDING: &str = ".coredump";

/// Where a module's dumps go, if anywhere. May change while the module runs.
#[derive(Debug, Default)]
pub struct CoreDumps {
    folder: ArcSwapOption<PathBuf>,
}

impl CoreDumps {
    /// Writes to `folder`; `None` writes nothing.
    pub fn new(folder: Option<PathBuf>) -> Self {
        let dumps = Self::default();
        dumps.set(folder);
        dumps
    }

    /// Changes the folder for faults from now on.
    pub fn set(&self, folder: Option<PathBuf>) {
        self.folder.store(folder.map(Arc::new));
    }

    /// Writes the dump that belongs to an error, if one is wanted and there is one. A dump that cannot
    /// be written is a line in the log: the fault itself is told in any case.
    pub(super) fn write(
        &self,
        module: &str,
        error: &wasmtime::Error,
        store: &mut Store<InstanceState>,
    ) -> Option<PathBuf> {
        let folder = self.folder.load_full()?;
        let dump = error.downcast_ref::<WasmCoreDump>()?;
        // The engine indexes what it collected, and not every component's parts are among it.
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

/// None if there are enough, or if it is too large.
fn save(folder: &Path, module: &str, bytes: &[u8]) -> io::Result<Option<PathBuf>> {
    let start = format!("{module}-");
    let mut there = 0;
    for entry in fs::read_dir(folder)? {
        let name = entry?.file_name();
        let name = name.to_string_lossy();
        there += usize::from(name.starts_with(&start) && name.ends_with(ENDING));
    }
    if there >= MOST || bytes.len() > LARGEST {
        return Ok(None);
    }
    let path = folder.join(format!("{start}{}-{there}{ENDING}", Timestamp::now().0));
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&path)?;
    file.write_all(bytes)?;
    Ok(Some(path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_are_at_most_ten_of_a_module() {
        let folder = tempfile::tempdir().expect("a folder");
        let write = |module: &str| save(folder.path(), module, b"dump").expect("written").is_some();
        assert!((0..MOST).all(|_| write("one")));
        assert!(!write("one"));
        assert!(write("other"));
        assert!(save(&folder.path().join("nowhere"), "one", b"dump").is_err());
    }
}
