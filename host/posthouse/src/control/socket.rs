//! The socket's file: owner and group only from its first moment, and never another daemon's.

use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::Path;

use tokio::net::UnixListener;

/// Binds the socket with mode 0660. A stale file is replaced; a living daemon's is not.
pub fn bind(path: &Path) -> io::Result<UnixListener> {
    if UnixStream::connect(path).is_ok() {
        return Err(io::Error::new(io::ErrorKind::AddrInUse, "another daemon listens on it"));
    }
    let folder = path.parent().unwrap_or(Path::new("/"));
    // In a folder nobody else may enter until the mode is right.
    let private = tempfile::Builder::new().prefix(".c").rand_bytes(4).tempdir_in(folder)?;
    let made = private.path().join("s");
    let listener = UnixListener::bind(&made)?;
    fs::set_permissions(&made, Permissions::from_mode(0o660))?;
    fs::rename(&made, path)?;
    Ok(listener)
}
