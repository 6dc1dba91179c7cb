//! The daemon's process, as a command sees it: found by the control socket, waited for until it is gone.

use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::process::{Pid, PidfdFlags, pidfd_open};
use tokio::io::unix::AsyncFd;
use tokio::net::UnixStream;

use crate::control::ClientError;

/// Interval at which the socket is tried where the process itself cannot be watched.
const POLL: Duration = Duration::from_millis(100);

/// The process that listens on a control socket.
pub struct DaemonProcess {
    socket: PathBuf,
    /// Process id; `None` for a process that this one cannot see, such as one in another container.
    pub id: Option<i32>,
    process: Option<OwnedFd>,
}

impl DaemonProcess {
    /// Finds the process behind a socket. The process is known before any request, so that its id cannot be reused.
    ///
    /// # Errors
    /// No daemon listens on the socket.
    pub async fn behind(socket: &Path) -> Result<Self, ClientError> {
        let connected = UnixStream::connect(socket).await;
        let stream = connected.map_err(|error| ClientError::NotRunning {
            socket: socket.to_owned(),
            error,
        })?;
        let id = stream.peer_cred().ok().and_then(|peer| peer.pid());
        let pid = id.and_then(Pid::from_raw);
        Ok(Self {
            socket: socket.to_owned(),
            id,
            process: pid.and_then(|pid| pidfd_open(pid, PidfdFlags::empty()).ok()),
        })
    }

    /// Waits until the process has ended, for at most `limit`. Returns true if it has.
    pub async fn ended(self, limit: Duration) -> bool {
        let Self { socket, process, .. } = self;
        let ended = async move {
            match process.map(AsyncFd::new) {
                Some(Ok(process)) => wait_readable(&process).await,
                _ => Err(io::ErrorKind::Unsupported.into()),
            }
        };
        let gone = async {
            if ended.await.is_err() {
                while UnixStream::connect(&socket).await.is_ok() {
                    tokio::time::sleep(POLL).await;
                }
            }
        };
        tokio::time::timeout(limit, gone).await.is_ok()
    }
}

/// A process descriptor is readable once the process has ended.
async fn wait_readable(process: &AsyncFd<OwnedFd>) -> io::Result<()> {
    process.readable().await.map(drop)
}
