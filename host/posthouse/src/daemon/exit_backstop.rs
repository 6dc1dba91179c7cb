//! The backstop of a stop: ends the process when a stop does not come to its end, such as on a disk that hangs.

use std::io;
use std::time::Duration;

use crate::daemon::signals::Signals;

/// Time that a stop has left after a second signal.
const AFTER_SECOND_SIGNAL: Duration = Duration::from_secs(1);
/// Exit code of a process that did not come to its end in time.
const EXIT_CODE: i32 = 1;

/// Ends the process a second after the second termination signal, even if the rest of the daemon hangs.
///
/// # Errors
/// Signals cannot be received.
pub(super) fn watch_signals() -> io::Result<()> {
    let mut signals = Signals::new()?;
    tokio::spawn(async move {
        signals.terminated().await;
        signals.terminated().await;
        exit_after(AFTER_SECOND_SIGNAL);
    });
    Ok(())
}

/// Ends the process after `limit`, unless the process has ended before. The thread needs nothing of the runtime.
pub(super) fn exit_after(limit: Duration) {
    let exit = move || {
        std::thread::sleep(limit);
        std::process::exit(EXIT_CODE)
    };
    // Without a thread the stop takes the time that it takes.
    let _ = std::thread::Builder::new().name("exit".to_owned()).spawn(exit);
}
