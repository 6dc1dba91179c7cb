//! The spill file: bytes of a message too large for a value of the store.

use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::Sender;

use crate::janitor::cleanup_task::CleanupTask;
use host_files::sync_folder;

/// A spill file. Dropping removes the file in the background, unless [`Self::keep`] was called.
pub(super) struct Spill {
    file: Arc<File>,
    path: PathBuf,
    size: u64,
    kept: bool,
    janitor: Sender<CleanupTask>,
}

impl Spill {
    /// Creates the file. An error if the path exists already.
    pub fn create(path: PathBuf, janitor: Sender<CleanupTask>) -> io::Result<Self> {
        let file = OpenOptions::new()
            .read(true)
            .append(true)
            .create_new(true)
            .mode(0o600)
            .open(&path)?;
        Ok(Self {
            file: Arc::new(file),
            path,
            size: 0,
            kept: false,
            janitor,
        })
    }

    pub fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        (&*self.file).write_all(bytes)?;
        self.size += bytes.len() as u64;
        Ok(())
    }

    /// Syncs the bytes and the name of the file to the disk.
    pub fn sync(&self) -> io::Result<()> {
        self.file.sync_all()?;
        self.path.parent().map_or(Ok(()), sync_folder)
    }

    pub fn size(&self) -> u64 {
        self.size
    }

    pub fn file(&self) -> &Arc<File> {
        &self.file
    }

    /// Leaves the file in place, since a record names the file now.
    pub fn keep(mut self) {
        self.kept = true;
    }
}

impl Drop for Spill {
    fn drop(&mut self) {
        if !self.kept {
            // Without a janitor the next open removes the file as an orphan.
            let _ = self.janitor.send(CleanupTask::Unlink(std::mem::take(&mut self.path)));
        }
    }
}
