//! The parent of a compilation: starts the child process and interprets how the child ended.

use std::io;
use std::os::unix::process::ExitStatusExt as _;
use std::path::PathBuf;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::Signal;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::process::{Child, Command};

use crate::compile::progress::{CurrentCompilation, cpu_time};

/// Hidden command of `posthouse` that runs the child.
pub const COMMAND: &str = "compile-policy";

/// Multiple of the processor time for which the parent waits for a child.
const PATIENCE_FACTOR: u32 = 20;
/// Time for which the parent waits for a child at least.
const MIN_PATIENCE: Duration = Duration::from_secs(10 * 60);
/// Bytes that are read of the child's stderr.
const MAX_OUTPUT: u64 = 16 * 1024;
/// Bytes of stderr that are quoted when the child crashed.
const QUOTED: usize = 500;

/// Options of the child process.
#[derive(Debug, Clone)]
pub(super) struct ChildOptions {
    /// Folder of the engine's cache.
    pub(super) cache: PathBuf,
    /// Bytes of data the child may have.
    pub(super) memory: u64,
    /// Processor time the child may use.
    pub(super) cpu: Duration,
}

/// Reason for which nothing was compiled.
#[derive(Debug)]
pub(super) enum CompileFailure {
    /// The compiler refused the component, crashed or reached a limit; text for an operator.
    Refused(String),
    /// The child could not be started, or communication with the child failed.
    NotStarted(io::Error),
}

impl ChildOptions {
    /// Compiles `bytes` in a child; the result is in the cache afterwards. Dropping the future kills the child. The
    /// child is limited in processor time; the clock on the wall only ends a child that gets none.
    pub(super) async fn compile(
        &self,
        bytes: &[u8],
        digest: &str,
        current: &CurrentCompilation,
    ) -> Result<(), CompileFailure> {
        let mut child = self.command().spawn().map_err(CompileFailure::NotStarted)?;
        let process = child.id().unwrap_or_default();
        let _shown = current.begin(digest, process, self.cpu_seconds());
        let patience = self.patience();
        let ended = tokio::time::timeout(patience, run(&mut child, bytes)).await;
        match ended {
            Ok(Ok((status, output))) => self.outcome(status, &output),
            Ok(Err(error)) => Err(CompileFailure::NotStarted(error)),
            Err(_) => {
                let used = cpu_time(process);
                // Waits for the child's end, so that two never compile at once.
                let _ = child.kill().await;
                Err(CompileFailure::Refused(format!(
                    "not compiled within {} s, in which the compiler got {:.1} s of processor time of the {} s that \
                     policy-engine.compile-time allows, and waited for a busy host the rest: try again, or give the \
                     host more room",
                    patience.as_secs(),
                    used.as_secs_f32(),
                    self.cpu_seconds()
                )))
            }
        }
    }

    /// Processor time in whole seconds, the unit of the system's limit; at least 1.
    pub(super) fn cpu_seconds(&self) -> u64 {
        self.cpu
            .as_millis()
            .div_ceil(1000)
            .try_into()
            .unwrap_or(u64::MAX)
            .max(1)
    }

    /// Time on the clock after which a child is given up.
    fn patience(&self) -> Duration {
        self.cpu.saturating_mul(PATIENCE_FACTOR).max(MIN_PATIENCE)
    }

    fn command(&self) -> Command {
        let mut command = Command::new(own_executable());
        command
            .arg0("posthouse")
            .arg(COMMAND)
            .arg("--cache")
            .arg(&self.cache)
            .arg("--memory")
            .arg(self.memory.to_string())
            .arg("--cpu")
            .arg(self.cpu_seconds().to_string())
            .env_clear()
            .env("RAYON_NUM_THREADS", threads().to_string())
            // An arena that is reserved ahead of use would take a gibibyte of the memory that the child may have.
            .env("MIMALLOC_ARENA_RESERVE", "0")
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        command
    }

    fn outcome(&self, status: ExitStatus, output: &str) -> Result<(), CompileFailure> {
        if status.success() {
            return Ok(());
        }
        if status.code() == Some(1) {
            return Err(CompileFailure::Refused(output.to_owned()));
        }
        if status.signal() == Some(Signal::XCPU.as_raw()) {
            return Err(CompileFailure::Refused(format!(
                "it takes more than {} s of processor time to compile: the limit policy-engine.compile-time",
                self.cpu_seconds()
            )));
        }
        let how = match (status.signal(), status.code()) {
            (Some(signal), _) => format!("signal {signal}"),
            (None, code) => format!("exit code {}", code.unwrap_or_default()),
        };
        let last = &output[output.ceil_char_boundary(output.len().saturating_sub(QUOTED))..];
        let limit = self.memory >> 20;
        Err(CompileFailure::Refused(format!(
            "the compiler crashed on it ({how}; it may have {limit} MiB, the limit policy-engine.compile-memory): {last}"
        )))
    }
}

/// Number of compiler threads: half of the processors, so that mail has the other half even on systems that ignore
/// priorities.
fn threads() -> usize {
    std::thread::available_parallelism().map_or(1, |all| all.get().div_ceil(2))
}

/// Path of the running executable, even if the file was replaced since: a child of another release would fill a cache
/// that this process cannot use.
fn own_executable() -> PathBuf {
    let running = PathBuf::from("/proc/self/exe");
    if running.exists() {
        return running;
    }
    std::env::current_exe().unwrap_or_else(|_| "posthouse".into())
}

/// Sends the component and waits for the child's end; returns exit status and stderr. The child's input stays open
/// until then.
async fn run(child: &mut Child, bytes: &[u8]) -> io::Result<(ExitStatus, String)> {
    let (Some(mut input), Some(stderr)) = (child.stdin.take(), child.stderr.take()) else {
        return Err(io::ErrorKind::BrokenPipe.into());
    };
    let send = async {
        let length = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
        input.write_all(&length.to_le_bytes()).await?;
        input.write_all(bytes).await
    };
    let mut output = Vec::new();
    let mut stderr = stderr.take(MAX_OUTPUT);
    // The error of a broken pipe is ignored: a child that ends early explains itself on stderr.
    let (_, received) = tokio::join!(send, stderr.read_to_end(&mut output));
    received?;
    // Closes the pipe, so that a child with more output does not block on a write.
    drop(stderr);
    let status = child.wait().await?;
    drop(input);
    Ok((status, String::from_utf8_lossy(&output).trim().to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcome(status: i32, output: &str) -> Result<(), String> {
        let options = ChildOptions {
            cache: PathBuf::new(),
            memory: 3 << 20,
            cpu: Duration::from_millis(1500),
        };
        let ended = options.outcome(ExitStatus::from_raw(status), output);
        ended.map_err(|failure| match failure {
            CompileFailure::Refused(text) => text,
            CompileFailure::NotStarted(error) => panic!("{error}"),
        })
    }

    #[test]
    fn distinguishes_a_refusal_from_a_crash() {
        assert_eq!(outcome(0, "noise"), Ok(()));
        assert_eq!(outcome(1 << 8, "too many locals"), Err("too many locals".to_owned()));
        let crash = outcome(6, &"é".repeat(2000)).expect_err("signal 6");
        assert!(crash.contains("signal 6; it may have 3 MiB"), "{crash}");
        assert!(crash.len() < 700);
        assert!(outcome(101 << 8, "").expect_err("a panic").contains("exit code 101"));
        let slow = outcome(Signal::XCPU.as_raw(), "").expect_err("a limit");
        assert!(slow.contains("more than 2 s of processor time"), "{slow}");
    }
}
