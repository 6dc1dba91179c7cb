//! Errors of opening, reading and writing the spool.

use std::time::Duration;

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
    /// The store failed.
    #[error("spool: {0}")]
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
