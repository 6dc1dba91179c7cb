//! The daemon's process, as a command sees it: found by the control socket, waited for until it is gone.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::net::UnixStream;

use crate::control::ClientError;

/// Interval at which the process is looked at.
const POLL: Duration = Duration::from_millis(20);
/// Position of the start time in `/proc/PID/stat`, counted after the name of the program (proc(5), field 22).
const START_TIME: usize = 19;

/// The process that listens on a control socket.
pub struct DaemonProcess {
    socket: PathBuf,
    /// Process id; `None` for a process that this one cannot see, such as one in another container.
    pub id: Option<i32>,
    /// Start time of the process, by which another process with the same id is told apart.
    started: Option<String>,
}

impl DaemonProcess {
    /// Finds the process behind a socket.
    ///
    /// # Errors
    /// No daemon listens on the socket.
    pub async fn behind(socket: &Path) -> Result<Self, ClientError> {
        let connected = UnixStream::connect(socket).await;
        let stream = connected.map_err(|error| ClientError::NotRunning {
            socket: socket.to_owned(),
            error,
        })?;
        let id = stream.peer_cred().ok().and_then(|peer| peer.pid()).filter(|id| *id > 0);
        Ok(Self {
            socket: socket.to_owned(),
            id,
            started: id.and_then(start_of_running),
        })
    }

    /// Waits until the process has ended, for at most `limit`. Returns true if it has.
    pub async fn ended(self, limit: Duration) -> bool {
        let gone = async {
            while self.is_running().await {
                tokio::time::sleep(POLL).await;
            }
        };
        tokio::time::timeout(limit, gone).await.is_ok()
    }

    /// True while the process runs; of a process that cannot be seen, while the socket takes connections.
    async fn is_running(&self) -> bool {
        match (self.id, &self.started) {
            (Some(id), Some(started)) => start_of_running(id).as_ref() == Some(started),
            _ => UnixStream::connect(&self.socket).await.is_ok(),
        }
    }
}

/// Returns the start time of a process that runs. A zombie has ended: its parent has not yet looked.
fn start_of_running(id: i32) -> Option<String> {
    start_of(&fs::read_to_string(format!("/proc/{id}/stat")).ok()?)
}

fn start_of(stat: &str) -> Option<String> {
    // The name may contain spaces and parentheses.
    let fields: Vec<&str> = stat.rsplit_once(") ")?.1.split_ascii_whitespace().collect();
    match fields.first()? {
        &"Z" | &"X" => None,
        _ => fields.get(START_TIME).map(|start| (*start).to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zombie_has_ended() {
        let stat = |state: &str| format!("7 (a ) b) {state} 1 7 7 0 -1 4194304 100 0 0 0 1 2 0 0 20 0 1 0 12345 0 0");
        assert_eq!(start_of(&stat("S")).as_deref(), Some("12345"));
        assert_eq!(start_of(&stat("Z")), None);
        assert_eq!(start_of(""), None);
        let own = i32::try_from(std::process::id()).expect("an id");
        assert!(start_of_running(own).is_some());
        assert_eq!(start_of_running(i32::MAX), None);
    }
}
