//! Having a component compiled by a child, and understanding how the child ended.

use std::io;
use std::os::unix::process::ExitStatusExt as _;
use std::path::PathBuf;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::process::{Child, Command};

/// The hidden command of `posthouse` that is the child.
pub const COMMAND: &str = "compile-policy";

/// Bytes of the child's word that are read.
const SAID: u64 = 16 * 1024;
/// Bytes of it that are quoted when it crashed.
const QUOTED: usize = 500;

/// How children are to compile.
#[derive(Debug, Clone)]
pub(super) struct ChildOptions {
    /// Folder of the engine's cache.
    pub(super) cache: PathBuf,
    /// Bytes of data the child may have.
    pub(super) memory: u64,
    /// How long it may take.
    pub(super) time: Duration,
}

/// Why nothing was compiled.
#[derive(Debug)]
pub(super) enum CompileFailure {
    /// The component is to blame.
    Refused(String),
    /// There is no child.
    NotStarted(io::Error),
}

impl ChildOptions {
    /// Returns when the result is in the cache. The child is killed when this is dropped.
    pub(super) async fn carry_out(&self, bytes: &[u8]) -> Result<(), CompileFailure> {
        let mut child = self.command().spawn().map_err(CompileFailure::NotStarted)?;
        let ended = tokio::time::timeout(self.time, talk(&mut child, bytes)).await;
        match ended {
            Ok(Ok((status, said))) => self.verdict(status, &said),
            Ok(Err(error)) => Err(CompileFailure::NotStarted(error)),
            Err(_) => {
                // It is waited for, so that two never compile at once.
                let _ = child.kill().await;
                Err(CompileFailure::Refused(format!(
                    "not compiled within {} s: the limit policy-engine.compile-time",
                    self.time.as_secs_f32()
                )))
            }
        }
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
            .env_clear()
            .env("RAYON_NUM_THREADS", threads().to_string())
            // Mapped ahead of its use, a gibibyte of the memory that the child may have would be gone.
            .env("MIMALLOC_ARENA_RESERVE", "0")
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        command
    }

    fn verdict(&self, status: ExitStatus, said: &str) -> Result<(), CompileFailure> {
        if status.success() {
            return Ok(());
        }
        if status.code() == Some(1) {
            return Err(CompileFailure::Refused(said.to_owned()));
        }
        let how = match (status.signal(), status.code()) {
            (Some(signal), _) => format!("signal {signal}"),
            (None, code) => format!("exit code {}", code.unwrap_or_default()),
        };
        let last = &said[said.ceil_char_boundary(said.len().saturating_sub(QUOTED))..];
        let limit = self.memory >> 20;
        Err(CompileFailure::Refused(format!(
            "the compiler crashed on it ({how}; it may have {limit} MiB, the limit policy-engine.compile-memory): {last}"
        )))
    }
}

/// Half of the processors: the mail has the others even where priorities do not count.
fn threads() -> usize {
    std::thread::available_parallelism().map_or(1, |all| all.get().div_ceil(2))
}

/// This program, also when its file was replaced since: the cache of another release is no use.
fn own_executable() -> PathBuf {
    let running = PathBuf::from("/proc/self/exe");
    if running.exists() {
        return running;
    }
    std::env::current_exe().unwrap_or_else(|_| "posthouse".into())
}

/// Hands the component over and waits for the end. The child's input stays open until then.
async fn talk(child: &mut Child, bytes: &[u8]) -> io::Result<(ExitStatus, String)> {
    let (Some(mut input), Some(output)) = (child.stdin.take(), child.stderr.take()) else {
        return Err(io::ErrorKind::BrokenPipe.into());
    };
    let hand_over = async {
        let length = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
        input.write_all(&length.to_le_bytes()).await?;
        input.write_all(bytes).await
    };
    let mut said = Vec::new();
    let mut output = output.take(SAID);
    // A child that ends before it has read everything says why; the broken pipe says less.
    let (_, listened) = tokio::join!(hand_over, output.read_to_end(&mut said));
    listened?;
    // A child that says more is not listened to, and must not wait for it.
    drop(output);
    let status = child.wait().await?;
    drop(input);
    Ok((status, String::from_utf8_lossy(&said).trim().to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdict(status: i32, said: &str) -> Result<(), String> {
        let order = ChildOptions {
            cache: PathBuf::new(),
            memory: 3 << 20,
            time: Duration::from_secs(1),
        };
        let ended = order.verdict(ExitStatus::from_raw(status), said);
        ended.map_err(|failure| match failure {
            CompileFailure::Refused(text) => text,
            CompileFailure::NotStarted(error) => panic!("{error}"),
        })
    }

    #[test]
    fn a_refusal_is_the_compilers_and_a_crash_is_told() {
        assert_eq!(verdict(0, "noise"), Ok(()));
        assert_eq!(verdict(1 << 8, "too many locals"), Err("too many locals".to_owned()));
        let crash = verdict(6, &"é".repeat(2000)).expect_err("signal 6");
        assert!(crash.contains("signal 6; it may have 3 MiB"), "{crash}");
        assert!(crash.len() < 700);
        assert!(verdict(101 << 8, "").expect_err("a panic").contains("exit code 101"));
    }
}
