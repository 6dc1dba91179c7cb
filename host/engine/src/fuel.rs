//! Fuel: counted guest instructions. The same question costs the same fuel on every machine.

use parking_lot::Mutex;

/// More fuel than any guest burns before another limit ends the call.
pub const PLENTY: u64 = u64::MAX;

/// Turns fuel counting on for a runtime, and may hold a fuse for a stage.
#[derive(Debug, Default)]
pub struct Meter {
    fuse: Mutex<Option<StageFuse>>,
}

/// Fuel limit for calls of a stage.
#[derive(Debug, Clone)]
struct StageFuse {
    stage: String,
    fuel: u64,
}

impl Meter {
    /// Lets calls of `stage` trap after `fuel` from now on. Replaces the fuse of any other stage.
    pub fn set_fuse(&self, stage: &str, fuel: u64) {
        *self.fuse.lock() = Some(StageFuse {
            stage: stage.to_owned(),
            fuel,
        });
    }

    /// Fuel limit of a call of `stage`; `None` if the fuse is not for that stage.
    pub(super) fn limit(&self, stage: &str) -> Option<u64> {
        let fuse = self.fuse.lock();
        fuse.as_ref().filter(|fuse| fuse.stage == stage).map(|fuse| fuse.fuel)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fuse_limits_one_stage_at_a_time() {
        let meter = Meter::default();
        meter.set_fuse("ndr", 7);
        assert_eq!((meter.limit("ndr"), meter.limit("admit")), (Some(7), None));
        meter.set_fuse("admit", 0);
        assert_eq!((meter.limit("ndr"), meter.limit("admit")), (None, Some(0)));
    }
}
