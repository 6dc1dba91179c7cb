//! `posthouse compile-policy`: the child process in which the daemon compiles a component. Hidden from the help.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;

use host_engine::compile::compile_as_child;

#[derive(Debug, Args)]
pub struct CompileChildArgs {
    /// Folder of the cache for the result
    #[arg(long, value_name = "FOLDER")]
    cache: PathBuf,
    /// Maximum data memory of the process in bytes
    #[arg(long, value_name = "BYTES")]
    memory: u64,
    /// Maximum processor time of the process in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 60)]
    cpu: u64,
}

/// Compiles the component on stdin. Exit code 1, with the reason on stderr, if the component cannot be compiled.
pub fn run(options: &CompileChildArgs) -> ExitCode {
    match compile_as_child(&options.cache, options.memory, options.cpu, std::io::stdin()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(problem) => {
            eprintln!("{problem}");
            ExitCode::FAILURE
        }
    }
}
