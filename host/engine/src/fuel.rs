//! Fuel: what guests execute, counted. The same question costs the same on every machine.

use std::sync::{Mutex, PoisonError};

/// More than any guest executes before another limit ends it.
pub const PLENTY: u64 = u64::MAX;

/// Counts, and may hold a fuse.
#[derive(Debug, Default)]
pub struct Meter {
    fuse: Mutex<Option<StageFuse>>,
}

/// Ends the guest of one stage after so much fuel.
#[derive(Debug, Clone)]
struct StageFuse {
    stage: String,
    fuel: u64,
}

impl Meter {
    /// From now on a call of `stage` traps when it has burnt `fuel`.
    pub fn set_fuse(&self, stage: &str, fuel: u64) {
        *self.lock() = Some(StageFuse {
            stage: stage.to_owned(),
            fuel,
        });
    }

    /// What a call of this stage may burn, if the fuse is for it.
    pub(super) fn ration(&self, stage: &str) -> Option<u64> {
        let fuse = self.lock();
        fuse.as_ref().filter(|fuse| fuse.stage == stage).map(|fuse| fuse.fuel)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Option<StageFuse>> {
        self.fuse.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fuse_is_for_one_stage() {
        let meter = Meter::default();
        meter.set_fuse("ndr", 7);
        assert_eq!((meter.ration("ndr"), meter.ration("admit")), (Some(7), None));
        meter.set_fuse("admit", 0);
        assert_eq!((meter.ration("ndr"), meter.ration("admit")), (None, Some(0)));
    }
}
