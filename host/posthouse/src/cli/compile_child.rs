//! `posthouse compile-policy`: what the daemon starts to have a component compiled. Not for people.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;

use host_engine::compile::compile_as_child;

#[derive(Debug, Args)]
pub struct CompileChildArgs {
    /// Folder of the cache that the result goes to
    #[arg(long, value_name = "FOLDER")]
    cache: PathBuf,
    /// Bytes of data it may have
    #[arg(long, value_name = "BYTES")]
    memory: u64,
}

/// Exit code 1 and plain words on stderr: the component cannot be compiled.
pub fn run(options: &CompileChildArgs) -> ExitCode {
    match compile_as_child(&options.cache, options.memory, std::io::stdin()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(problem) => {
            eprintln!("{problem}");
            ExitCode::FAILURE
        }
    }
}
