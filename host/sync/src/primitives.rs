//! Locks, atomics, tasks and time. The model tests replace these with versions that `loom` schedules:
//! `RUSTFLAGS="--cfg loom" cargo test -p host-sync --lib --target-dir target/loom`.

#[cfg(loom)]
#[path = "primitives/loom_primitives.rs"]
mod implementation;

#[cfg(not(loom))]
mod implementation {
    pub(crate) use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

    pub(crate) use parking_lot::{Condvar, Mutex, MutexGuard};
    pub(crate) use tokio::spawn;
    pub(crate) use tokio::sync::Notify;
    pub(crate) use tokio::time::{Instant, sleep, timeout};
}

pub(crate) use implementation::*;
