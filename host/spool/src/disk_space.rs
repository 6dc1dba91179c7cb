//! The water mark: how much room the spool's disk has.

use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::PutError;
use host_events::{Event, Events};

/// The disk is asked no more often than this.
const FRESH: Duration = Duration::from_secs(1);

pub(super) struct Disk {
    path: PathBuf,
    mark: u64,
    events: Events,
    state: Mutex<DiskState>,
}

#[derive(Default)]
struct DiskState {
    /// When the disk was asked, and what it answered.
    asked: Option<(Instant, u64)>,
    /// Below the mark, and not yet well above it again.
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

    /// Whether there is room for new mail. Tells the operator when that changes.
    pub fn check(&self) -> Result<(), PutError> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let free = self.fresh(&mut state)?;
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

    /// Whether there is room for what can be done without: twice as much as mail needs. Says nothing.
    pub fn check_spare(&self) -> Result<(), PutError> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let (free, mark) = (self.fresh(&mut state)?, self.mark.saturating_mul(2));
        match free < mark {
            true => Err(PutError::Full { free, mark }),
            false => Ok(()),
        }
    }

    /// Asked no longer ago than [`FRESH`].
    fn fresh(&self, state: &mut DiskState) -> Result<u64, PutError> {
        if let Some((when, free)) = state.asked
            && when.elapsed() < FRESH
        {
            return Ok(free);
        }
        let free = self.free()?;
        state.asked = Some((Instant::now(), free));
        Ok(free)
    }

    fn free(&self) -> Result<u64, PutError> {
        rustix::fs::statvfs(&self.path)
            .map(|fs| fs.f_bavail.saturating_mul(fs.f_frsize))
            .map_err(|error| PutError::Store(format!("{}: {error}", self.path.display())))
    }
}

/// Once low, it takes 5 % more than the mark to be enough again.
fn is_low(was: bool, free: u64, mark: u64) -> bool {
    free < if was { mark.saturating_add(mark / 20) } else { mark }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_takes_more_to_be_enough_again_than_it_took_to_be_low() {
        assert!(!is_low(false, 100, 100));
        assert!(is_low(false, 99, 100));
        assert!(is_low(true, 104, 100));
        assert!(!is_low(true, 105, 100));
        assert!(!is_low(false, 0, 0), "a mark of zero stops nothing");
    }

    #[test]
    fn each_crossing_is_told_once() {
        let (events, captured) = Events::capture();
        let full = Disk::new(std::env::temp_dir(), u64::MAX, events.clone());
        for _ in 0..3 {
            assert!(matches!(full.check(), Err(PutError::Full { mark: u64::MAX, .. })));
        }
        assert_eq!(captured.ids(), [5013]);

        let roomy = Disk::new(std::env::temp_dir(), 1, events);
        roomy.state.lock().expect("lock").low = true;
        for _ in 0..3 {
            assert!(roomy.check().is_ok());
        }
        assert_eq!(captured.ids(), [5013, 5014]);
    }
}
