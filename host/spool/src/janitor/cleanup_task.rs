//! Tasks of the janitor.

use std::path::PathBuf;

/// A task for the janitor's thread, without a deadline.
pub(crate) enum CleanupTask {
    /// Removes the spill file of a message that has left the spool.
    Unlink(PathBuf),
}
