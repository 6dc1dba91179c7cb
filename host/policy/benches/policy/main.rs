//! Benchmarks of policies: `cargo bench -p host-policy`; `docs/performance.md` has a table of a run.
//!
//! The benchmarks assert no speed; `tests/bench/instructions.py` guards against regressions.
#![allow(clippy::expect_used)] // A measurement that cannot be made ends, and says why.

mod boundary;
mod decision;
mod delegation;
mod languages;
mod milter;
mod native;
mod scene;

use criterion::Criterion;

/// The daemon's allocator.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() {
    let mut criterion = Criterion::default().configure_from_args();
    decision::measure(&mut criterion);
    native::measure(&mut criterion);
    delegation::measure(&mut criterion);
    milter::measure(&mut criterion);
    languages::measure(&mut criterion);
    boundary::measure(&mut criterion);
    criterion.final_summary();
}
