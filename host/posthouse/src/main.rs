//! The `posthouse` command.

use std::process::ExitCode;

/// A message costs some hundred small pieces of memory, many of which are given back by another thread
/// than took them; `docs/performance.md` has what this saves.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    posthouse::cli::main()
}
