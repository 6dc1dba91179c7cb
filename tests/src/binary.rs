//! The program under test, and the execution of programs.

use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread::JoinHandle;
use std::time::Instant;

use crate::wait::TIMEOUT;

/// Returns the path of the real binary: `POSTHOUSE_BIN`, or `target/<profile>/posthouse` beside this test.
///
/// # Panics
/// If the binary does not exist.
pub fn posthouse() -> PathBuf {
    if let Some(path) = std::env::var_os("POSTHOUSE_BIN") {
        return path.into();
    }
    let test = std::env::current_exe().expect("the path of this test");
    let profile = test
        .parent()
        .and_then(Path::parent)
        .expect("target/<profile>/deps/<test>");
    let binary = profile.join("posthouse");
    assert!(
        binary.exists(),
        "{} is missing: run `cargo build --release` first, or set POSTHOUSE_BIN",
        binary.display()
    );
    binary
}

/// Exit status and output of a program.
#[derive(Debug, Clone)]
pub struct Output {
    /// Exit status.
    pub status: ExitStatus,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
}

impl Output {
    /// Returns both streams, standard output first.
    pub fn text(&self) -> String {
        format!("{}{}", self.stdout, self.stderr)
    }

    /// Returns the standard output of a program that succeeded.
    ///
    /// # Panics
    /// If the program failed.
    pub fn ok(self) -> String {
        assert!(self.status.success(), "{}:\n{}", self.status, self.text());
        self.stdout
    }

    /// Returns both streams of a program that is expected to fail.
    ///
    /// # Panics
    /// If the program succeeded.
    pub fn failed(self) -> String {
        assert!(!self.status.success(), "should have failed:\n{}", self.text());
        self.text()
    }
}

/// Runs a program with `input` and waits for the exit, for at most four times [`TIMEOUT`], because some tools send
/// thousands of messages.
///
/// # Panics
/// If the program cannot be started, or does not exit in time and is killed.
pub fn run(command: &mut Command, input: &str) -> Output {
    let shown = format!("{command:?}");
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("{shown}: {error}"));
    let stdout = collect(child.stdout.take());
    let stderr = collect(child.stderr.take());
    if let Some(mut stdin) = child.stdin.take() {
        // A program may exit without reading its input.
        let _ = stdin.write_all(input.as_bytes());
    }
    let status = wait(&mut child);
    let (stdout, stderr) = (text(stdout), text(stderr));
    match status {
        Some(status) => Output { status, stdout, stderr },
        None => panic!("{shown} did not end:\n{stdout}{stderr}"),
    }
}

fn collect(stream: Option<impl Read + Send + 'static>) -> JoinHandle<Vec<u8>> {
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        if let Some(mut stream) = stream {
            let _ = stream.read_to_end(&mut bytes);
        }
        bytes
    })
}

fn text(thread: JoinHandle<Vec<u8>>) -> String {
    String::from_utf8_lossy(&thread.join().unwrap_or_default()).into_owned()
}

/// Waits for the exit. A program that takes too long is killed, and `None` is returned.
fn wait(child: &mut Child) -> Option<ExitStatus> {
    let deadline = Instant::now() + TIMEOUT * 4;
    loop {
        if let Some(status) = child.try_wait().expect("a child can be waited for") {
            return Some(status);
        }
        if Instant::now() > deadline {
            let _ = child.kill();
            let _ = child.wait();
            return None;
        }
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
}
