//! What nobody waits for: removing files, giving disk space back, noticing that there is room.

use std::path::PathBuf;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use super::shared::Shared;

/// How often it looks round by itself.
const ROUND: Duration = Duration::from_secs(5);
/// Less garbage than this is left alone.
const WORTH_WHILE: u64 = 64 * 1024 * 1024;

/// Something to be done some time.
pub(super) enum CleanupTask {
    /// Remove the file of a message that is gone.
    Unlink(PathBuf),
}

/// Runs until every handle of the spool is gone.
pub(super) fn start(shared: &Arc<Shared>, chores: Receiver<CleanupTask>) -> std::io::Result<()> {
    let shared = Arc::downgrade(shared);
    std::thread::Builder::new()
        .name("spool-janitor".to_owned())
        .spawn(move || run(&shared, &chores))
        .map(drop)
}

fn run(shared: &Weak<Shared>, chores: &Receiver<CleanupTask>) {
    let mut left_over = 0;
    let mut round = Instant::now() + ROUND;
    loop {
        match chores.recv_timeout(round.saturating_duration_since(Instant::now())) {
            Ok(CleanupTask::Unlink(path)) => {
                if let Err(error) = std::fs::remove_file(&path) {
                    tracing::warn!(path = %path.display(), %error, "not removed; the next start tries again");
                }
            }
            Err(RecvTimeoutError::Timeout) => {
                let Some(shared) = shared.upgrade() else { return };
                // The answer is for sessions; here only the change from low to enough matters.
                let _ = shared.disk.check();
                left_over = reclaim(&shared, left_over);
                round = Instant::now() + ROUND;
            }
            Err(RecvTimeoutError::Disconnected) => return,
        }
    }
}

/// Compacts the bodies if most of them are garbage. `left_over` is what the last time could not
/// remove; returned is what this time could not.
fn reclaim(shared: &Shared, left_over: u64) -> u64 {
    if !shared.recovered.initialized() {
        // What is alive is not all known yet.
        return left_over;
    }
    let alive = shared.index().bodies();
    let on_disk = shared.store.bodies_on_disk();
    if !is_worth_while(alive, on_disk, left_over) {
        return left_over.min(on_disk.saturating_sub(alive));
    }
    if let Err(error) = shared.store.compact_bodies() {
        tracing::warn!(%error, "space of deleted messages not given back");
    }
    shared.store.bodies_on_disk().saturating_sub(alive)
}

fn is_worth_while(alive: u64, on_disk: u64, left_over: u64) -> bool {
    let garbage = on_disk.saturating_sub(alive);
    garbage > alive && garbage > left_over.saturating_add(WORTH_WHILE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn garbage_must_be_much_more_than_half_and_new() {
        let mib = 1024 * 1024;
        assert!(!is_worth_while(0, 60 * mib, 0));
        assert!(is_worth_while(0, 65 * mib, 0));
        assert!(!is_worth_while(1000 * mib, 1900 * mib, 0));
        assert!(is_worth_while(1000 * mib, 2100 * mib, 0));
        assert!(
            !is_worth_while(0, 100 * mib, 90 * mib),
            "the last time could not remove it either"
        );
    }
}
