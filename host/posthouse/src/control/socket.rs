//! The file of the control socket. Only owner and group ever have access, and a live daemon's socket is never replaced.

use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::{FileTypeExt as _, PermissionsExt as _};
use std::os::unix::net::UnixStream;
use std::path::Path;

use tokio::net::UnixListener;

/// Binds the socket with mode 0660. Replaces a stale file.
///
/// # Errors
/// [`io::ErrorKind::AddrInUse`] if another daemon listens on the socket; [`io::ErrorKind::AlreadyExists`] if the path
/// is no socket.
pub fn bind(path: &Path) -> io::Result<UnixListener> {
    if UnixStream::connect(path).is_ok() {
        return Err(io::Error::new(io::ErrorKind::AddrInUse, "another daemon listens on it"));
    }
    // The new socket takes the place of the old one by a rename, which would also replace a file.
    if fs::symlink_metadata(path).is_ok_and(|existing| !existing.file_type().is_socket()) {
        return Err(io::Error::new(
            io::ErrorKind::AlreadyExists,
            "it is no socket: it is left as it is",
        ));
    }
    let folder = path.parent().unwrap_or(Path::new("/"));
    // The socket is made in a private folder, so that other users cannot connect before its mode is set.
    let private = tempfile::Builder::new()
        .prefix(".c")
        .rand_bytes(4)
        .permissions(Permissions::from_mode(0o700))
        .tempdir_in(folder)?;
    let draft = private.path().join("s");
    let listener = UnixListener::bind(&draft)?;
    fs::set_permissions(&draft, Permissions::from_mode(0o660))?;
    fs::rename(&draft, path)?;
    Ok(listener)
}
