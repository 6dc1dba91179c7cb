//! Programs of other projects, used as clients and build tools.

use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};

use crate::skip::skipped;

/// Finds a program. If the program is not installed, `None` is returned and a line with SKIPPED is printed; `.ci/run`
/// installs all programs.
pub fn tool(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    // Debian keeps Postfix's programs out of a user's PATH.
    let folders = std::env::split_paths(&path).chain([Path::new("/usr/sbin").to_owned()]);
    let found = folders.map(|folder| folder.join(name)).find(|file| file.is_file());
    if found.is_none() {
        skipped(format!("{name} is not installed"));
    }
    found
}

/// Returns a free port of a loopback address that no other process of the tests uses.
pub(crate) fn free_address() -> SocketAddr {
    let [.., high, low] = std::process::id().to_be_bytes();
    let probe = TcpListener::bind(SocketAddr::from(([127, 33, high, low], 0))).expect("a free port");
    probe.local_addr().expect("bound")
}
