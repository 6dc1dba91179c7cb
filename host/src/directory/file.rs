//! The directory in a TOML file.

/// Accounts and addresses from a file that is re-read when it changes.
pub struct FileDirectory {}
