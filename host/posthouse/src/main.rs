//! The `posthouse` command.

use std::process::ExitCode;

/// mimalloc, since a message costs some hundred small allocations and many are freed on another thread.
/// `docs/performance.md` has the measurement.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    posthouse::cli::main()
}
