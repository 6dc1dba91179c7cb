//! The low-water mark: the free space that the spool's disk must have.

use std::path::PathBuf;
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
}

#[derive(Default)]
struct DiskState {
    /// Time and result of the last measurement.
    measured: Option<(Instant, u64)>,
    /// True from a fall below the mark until free space is 5 % above the mark.
    low: bool,
}

impl Disk {
    pub fn new(path: PathBuf, mark: u64, events: Events) -> Self {
        Self {
            path,
            mark,
            events,
            state: Mutex::default(),
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

    /// Returns the free bytes, measured at most [`CACHE_TIME`] ago.
    fn recent_free(&self, state: &mut DiskState) -> Result<u64, PutError> {
        if let Some((when, free)) = state.measured
            && when.elapsed() < CACHE_TIME
        {
            return Ok(free);
        }
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
}
