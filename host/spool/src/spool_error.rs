//! Errors of opening, reading and writing the spool.

use std::fmt;
use std::io;
use std::path::Path;
use std::time::Duration;

/// A part of the spool that is missing, shorter than it was, or damaged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Damage {
    /// File or folder, relative to the spool.
    pub file: String,
    /// The damage, in words that follow the file's name.
    pub text: String,
}

impl Damage {
    /// Names a file relative to the spool.
    pub(super) fn new(file: impl Into<String>, text: impl Into<String>) -> Self {
        let (file, text) = (file.into(), text.into());
        Self { file, text }
    }

    /// Names a file below the spool's folder `root`.
    pub(super) fn at(root: &Path, path: &Path, text: impl Into<String>) -> Self {
        Self::new(path.strip_prefix(root).unwrap_or(path).display().to_string(), text)
    }
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.file, self.text)
    }
}

/// The reason why a spool was not opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The folder has the format of a newer Posthouse.
    #[error(
        "the spool has format {found}, this Posthouse knows up to {known}: use the newer release, or another data folder"
    )]
    Newer {
        /// Format of the folder.
        found: u32,
        /// Newest format that this Posthouse reads.
        known: u32,
    },
    /// Another process has the folder open.
    #[error("the spool is in use by another process")]
    InUse,
    /// Parts of the spool are missing. At least one; nothing was changed.
    #[error(
        "the spool is damaged: {}. `posthouse spool check` shows this again; `posthouse spool salvage` keeps every byte \
         and makes what is left usable; `spool.on-damage = \"salvage\"` has the host do so at its start",
        .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
    )]
    Damaged(Vec<Damage>),
    /// The store failed.
    #[error("spool: {0}")]
    Store(String),
}

impl OpenError {
    /// Creates an error for a single file.
    pub(super) fn damaged(file: &str, text: String) -> Self {
        Self::Damaged(vec![Damage::new(file, text)])
    }
}

/// The reason why a batch was not written.
#[derive(Debug, Clone, thiserror::Error)]
pub(super) enum BatchError {
    /// The disk has no room.
    #[error("{0}")]
    Full(String),
    /// The store failed.
    #[error("{0}")]
    Store(String),
}

/// The reason why a read or write of the spool failed.
#[derive(Debug, thiserror::Error)]
pub enum PutError {
    /// Free space is below the low-water mark.
    #[error("{free} bytes free, below the mark of {mark}")]
    Full {
        /// Free bytes on the spool's disk.
        free: u64,
        /// The mark that applies, in bytes.
        mark: u64,
    },
    /// The write latency exceeds the limit: the disk is too slow for the mail accepted so far.
    #[error("what was accepted waits {waited:?} for the disk")]
    Behind {
        /// Age of the oldest pending write.
        waited: Duration,
    },
    /// The store failed; no edit was applied.
    #[error("spool: {0}")]
    Store(String),
}

impl From<BatchError> for PutError {
    fn from(error: BatchError) -> Self {
        match error {
            BatchError::Full(_) => Self::Full { free: 0, mark: 0 },
            BatchError::Store(text) => Self::Store(text),
        }
    }
}

/// True for an error of a disk, or of a quota, that has no room.
pub(super) fn is_storage_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}
