//! Room on the spool's disk: the low-water mark, and the space that is promised to messages before they use it.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use host_events::{Event, Events};
use parking_lot::Mutex;

use crate::spool_error::PutError;

/// Time for which a measurement of free space is reused.
const CACHE_TIME: Duration = Duration::from_secs(1);

/// The spool's disk and the low-water mark.
pub(super) struct Disk {
    path: PathBuf,
    mark: u64,
    events: Events,
    state: Mutex<DiskState>,
    promises: Arc<Promises>,
}

/// Space that messages under way will use.
#[derive(Debug, Default)]
struct Promises {
    /// Bytes that were promised and are not in a file yet.
    outstanding: AtomicU64,
    /// Bytes that went into files since free space was measured.
    written: AtomicU64,
}

/// Space on the disk that is promised to a message. Dropping gives back what was not used.
#[derive(Debug)]
pub struct ReservedSpace {
    promises: Arc<Promises>,
    /// Bytes promised in all.
    total: u64,
    /// Bytes of `total` that are not in a file yet.
    left: u64,
}

impl ReservedSpace {
    /// Bytes promised in all.
    pub(super) fn total(&self) -> u64 {
        self.total
    }

    /// Adds another promise to this one.
    pub(super) fn join(&mut self, mut more: Self) {
        self.total += more.total;
        self.left += std::mem::take(&mut more.left);
    }

    /// Notes that `bytes` more have gone into a file.
    pub(super) fn use_up(&mut self, bytes: u64) {
        let used = bytes.min(self.left);
        self.left -= used;
        self.promises.outstanding.fetch_sub(used, Ordering::Relaxed);
        self.promises.written.fetch_add(bytes, Ordering::Relaxed);
    }
}

impl Drop for ReservedSpace {
    fn drop(&mut self) {
        self.promises.outstanding.fetch_sub(self.left, Ordering::Relaxed);
    }
}

#[derive(Default)]
struct DiskState {
    /// Time and result of the last measurement.
    measured: Option<(Instant, u64)>,
    /// True from a fall below the mark until free space is 5 % above the mark.
    low: bool,
    /// True from a reservation that did not fit until one that did.
    crowded: bool,
}

impl Disk {
    pub fn new(path: PathBuf, mark: u64, events: Events) -> Self {
        Self {
            path,
            mark,
            events,
            state: Mutex::default(),
            promises: Arc::default(),
        }
    }

    /// Promises `bytes` of space to a message, if they fit above the low-water mark beside all other promises. Emits
    /// 5013 or 5081 when free space, or what is promised, begins to stand in the way.
    pub fn reserve(&self, bytes: u64) -> Result<ReservedSpace, PutError> {
        self.check()?;
        let mut state = self.state.lock();
        let free = self.recent_free(&mut state)?;
        let promised = self.promises.outstanding.load(Ordering::Relaxed);
        let needed = self.mark.saturating_add(promised).saturating_add(bytes);
        if free < needed {
            if !std::mem::replace(&mut state.crowded, true) {
                let mark = self.mark;
                self.events.emit(Event::SpacePromised { free, promised, mark });
            }
            return Err(PutError::Full { free, mark: needed });
        }
        state.crowded = false;
        // Under the lock, so that two reservations do not take the same room.
        self.promises.outstanding.fetch_add(bytes, Ordering::Relaxed);
        Ok(ReservedSpace {
            promises: self.promises.clone(),
            total: bytes,
            left: bytes,
        })
    }

    /// Returns the error of a message that the full disk does not take. The next check measures again.
    pub fn full(&self) -> PutError {
        let mut state = self.state.lock();
        state.measured = None;
        let free = self.recent_free(&mut state).unwrap_or_default();
        PutError::Full { free, mark: self.mark }
    }

    /// The reason why new mail is refused, in words, as of the last check.
    pub fn problem(&self) -> Option<String> {
        let state = self.state.lock();
        let mark = self.mark;
        match (state.low, state.crowded) {
            (true, _) => Some(format!("the disk is below the low-water mark of {mark} bytes")),
            (false, true) => Some("messages under way are promised the rest of the disk".to_owned()),
            (false, false) => None,
        }
    }

    /// Checks that the disk has room for new mail. Emits an event when the result changes (5013, 5014).
    pub fn check(&self) -> Result<(), PutError> {
        let mut state = self.state.lock();
        let free = self.recent_free(&mut state)?;
        let mark = self.mark;
        match (state.low, is_low(state.low, free, mark)) {
            (false, true) => self.events.emit(Event::SpaceLow { free, mark }),
            (true, false) => self.events.emit(Event::SpaceEnough { free, mark }),
            _ => {}
        }
        state.low = is_low(state.low, free, mark);
        match state.low {
            true => Err(PutError::Full { free, mark }),
            false => Ok(()),
        }
    }

    /// Checks that free space is at least twice the low-water mark. For optional data such as decision records. Emits
    /// no event.
    pub fn check_spare(&self) -> Result<(), PutError> {
        let mut state = self.state.lock();
        let (free, mark) = (self.recent_free(&mut state)?, self.mark.saturating_mul(2));
        match free < mark {
            true => Err(PutError::Full { free, mark }),
            false => Ok(()),
        }
    }

    /// Returns the free bytes, measured at most [`CACHE_TIME`] ago, less what was written since.
    fn recent_free(&self, state: &mut DiskState) -> Result<u64, PutError> {
        let written = &self.promises.written;
        if let Some((when, free)) = state.measured
            && when.elapsed() < CACHE_TIME
        {
            return Ok(free.saturating_sub(written.load(Ordering::Relaxed)));
        }
        written.store(0, Ordering::Relaxed);
        let free = self.free()?;
        state.measured = Some((Instant::now(), free));
        Ok(free)
    }

    fn free(&self) -> Result<u64, PutError> {
        rustix::fs::statvfs(&self.path)
            .map(|fs| fs.f_bavail.saturating_mul(fs.f_frsize))
            .map_err(|error| PutError::Store(format!("{}: {error}", self.path.display())))
    }
}

/// True if `free` is below the mark, or, while the disk was low, below 105 % of the mark (hysteresis).
fn is_low(was: bool, free: u64, mark: u64) -> bool {
    free < if was { mark.saturating_add(mark / 20) } else { mark }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_low_disk_needs_five_percent_more_than_the_mark() {
        assert!(!is_low(false, 100, 100));
        assert!(is_low(false, 99, 100));
        assert!(is_low(true, 104, 100));
        assert!(!is_low(true, 105, 100));
        assert!(!is_low(false, 0, 0), "a mark of zero stops nothing");
    }

    #[test]
    fn each_crossing_of_the_mark_is_one_event() {
        let (events, captured) = Events::capture();
        let full = Disk::new(std::env::temp_dir(), u64::MAX, events.clone());
        for _ in 0..3 {
            assert!(matches!(full.check(), Err(PutError::Full { mark: u64::MAX, .. })));
        }
        assert_eq!(captured.ids(), [5013]);

        let roomy = Disk::new(std::env::temp_dir(), 1, events);
        roomy.state.lock().low = true;
        for _ in 0..3 {
            assert!(roomy.check().is_ok());
        }
        assert_eq!(captured.ids(), [5013, 5014]);
    }

    #[test]
    fn promises_count_before_and_after_they_are_used() {
        let (events, captured) = Events::capture();
        let disk = Disk::new(std::env::temp_dir(), 100, events);
        // A measurement that stays.
        disk.state.lock().measured = Some((Instant::now() + Duration::from_secs(3600), 1000));
        let mut first = disk.reserve(500).expect("room");
        let second = disk.reserve(400).expect("room");
        assert!(matches!(disk.reserve(1), Err(PutError::Full { .. })));
        assert!(disk.reserve(1).is_err() && disk.problem().is_some());
        assert_eq!(captured.ids(), [5081], "once");
        first.use_up(300);
        assert!(disk.reserve(1).is_err(), "used room is not free either");
        drop(second);
        first.join(disk.reserve(400).expect("room again"));
        assert_eq!((first.total(), disk.problem()), (900, None));
        first.use_up(700);
        assert!(disk.reserve(1).is_err());
        drop(first);
        assert_eq!(disk.promises.outstanding.load(Ordering::Relaxed), 0);
    }
}
