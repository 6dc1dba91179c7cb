//! Programs of other projects that speak to the daemon.

use std::path::{Path, PathBuf};

/// Where a program is. None, and a loud line, when it is not installed; `.ci/run` installs all.
pub fn tool(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    // Debian keeps Postfix's programs out of a user's PATH.
    let folders = std::env::split_paths(&path).chain([Path::new("/usr/sbin").to_owned()]);
    let found = folders.map(|folder| folder.join(name)).find(|file| file.is_file());
    if found.is_none() {
        eprintln!("SKIPPED: {name} is not installed");
    }
    found
}
