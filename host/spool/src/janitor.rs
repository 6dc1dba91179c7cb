//! The janitor: a background thread that unlinks files, reclaims disk space and notices that space is free again.

pub(crate) mod cleanup_task;

use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use crate::janitor::cleanup_task::CleanupTask;
use crate::removed_files;
use crate::shared::Shared;

/// Time between two rounds of checking the disk.
const ROUND: Duration = Duration::from_secs(5);
/// Time between two looks for orphans that were kept for long enough.
const EXPIRY: Duration = Duration::from_secs(3600);
/// Bytes of garbage from which a compaction pays.
const MIN_GARBAGE: u64 = 64 * 1024 * 1024;

/// Starts the thread, which ends when every handle of the spool is gone.
pub(super) fn start(shared: &Arc<Shared>, tasks: Receiver<CleanupTask>) -> std::io::Result<()> {
    let shared = Arc::downgrade(shared);
    std::thread::Builder::new()
        .name("spool-janitor".to_owned())
        .spawn(move || run(&shared, &tasks))
        .map(drop)
}

fn run(shared: &Weak<Shared>, tasks: &Receiver<CleanupTask>) {
    let mut unreclaimed = 0;
    let mut round = Instant::now() + ROUND;
    let mut expire_at = Instant::now();
    loop {
        match tasks.recv_timeout(round.saturating_duration_since(Instant::now())) {
            Ok(CleanupTask::Unlink(path)) => {
                if let Err(error) = std::fs::remove_file(&path) {
                    tracing::warn!(path = %path.display(), %error, "not removed; the next start tries again");
                }
            }
            Err(RecvTimeoutError::Timeout) => {
                let Some(shared) = shared.upgrade() else { return };
                // Only for the event of a change from low to enough; sessions check for themselves.
                let _ = shared.disk.check();
                shared.store.sync_manifest();
                if Instant::now() >= expire_at {
                    expire_at = Instant::now() + EXPIRY;
                    if let Err(error) = removed_files::expire(shared.store.root()) {
                        tracing::warn!(%error, "old orphans were not removed");
                    }
                }
                unreclaimed = reclaim(&shared, unreclaimed);
                round = Instant::now() + ROUND;
            }
            Err(RecvTimeoutError::Disconnected) => return,
        }
    }
}

/// Compacts the bodies if most are garbage. `unreclaimed` is the garbage that the last compaction left; returns the
/// garbage that remains now.
fn reclaim(shared: &Shared, unreclaimed: u64) -> u64 {
    if !shared.recovered.initialized() {
        // The index does not know all live bodies yet.
        return unreclaimed;
    }
    let alive = shared.index().bodies();
    let on_disk = shared.store.bodies_on_disk();
    if !should_compact(alive, on_disk, unreclaimed) {
        return unreclaimed.min(on_disk.saturating_sub(alive));
    }
    if let Err(error) = shared.store.compact_bodies() {
        tracing::warn!(%error, "space of deleted messages not given back");
    }
    shared.store.bodies_on_disk().saturating_sub(alive)
}

fn should_compact(alive: u64, on_disk: u64, unreclaimed: u64) -> bool {
    let garbage = on_disk.saturating_sub(alive);
    garbage > alive && garbage > unreclaimed.saturating_add(MIN_GARBAGE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn compacts_only_for_new_garbage_that_outweighs_live_bodies() {
        let mib = 1024 * 1024;
        assert!(!should_compact(0, 60 * mib, 0));
        assert!(should_compact(0, 65 * mib, 0));
        assert!(!should_compact(1000 * mib, 1900 * mib, 0));
        assert!(should_compact(1000 * mib, 2100 * mib, 0));
        assert!(
            !should_compact(0, 100 * mib, 90 * mib),
            "the last compaction could not remove it either"
        );
    }
}
