//! From a candidate to the generation in force, and back: checked, loaded, watched, staged, on
//! probation, rolled back, remembered.

pub(super) mod activate;
pub(super) mod activation;
pub(super) mod backoff;
pub(super) mod difference;
pub(super) mod history;
pub(super) mod patience;
pub(super) mod prepare;
pub(super) mod probation;
pub(super) mod qualify;
pub(super) mod rehearse;
pub(super) mod stage;
pub(super) mod warden;
pub(super) mod watch;
pub(super) mod wish;
