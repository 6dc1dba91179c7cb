//! The file of a message too big for one value.

use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::Sender;

use super::janitor::CleanupTask;
use super::store::sync_folder;

/// A file that is removed again unless it is kept.
pub(super) struct Spill {
    file: Arc<File>,
    path: PathBuf,
    size: u64,
    kept: bool,
    janitor: Sender<CleanupTask>,
}

impl Spill {
    /// Makes the file; there must be none yet.
    pub fn create(path: PathBuf, janitor: Sender<CleanupTask>) -> io::Result<Self> {
        let file = OpenOptions::new()
            .read(true)
            .append(true)
            .create_new(true)
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

    /// Bytes and name are on disk when this returns.
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

    /// A record names it now.
    pub fn keep(mut self) {
        self.kept = true;
    }
}

impl Drop for Spill {
    fn drop(&mut self) {
        if !self.kept {
            // Without a janitor the next open removes it.
            let _ = self.janitor.send(CleanupTask::Unlink(std::mem::take(&mut self.path)));
        }
    }
}
