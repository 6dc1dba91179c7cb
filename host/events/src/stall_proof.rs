//! A writer for standard error and standard output that never waits for a reader that has stalled.

use std::io::{self, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

/// Octets that a pipe takes at once when it is ready (PIPE_BUF of pipe(7)).
const PIECE: usize = 4096;
/// Time for which the first write waits for a reader, in seconds; later writes do not wait once that was in vain.
const PATIENCE: i64 = 1;

/// True once a reader has not taken text in time.
static STALLED: AtomicBool = AtomicBool::new(false);

/// A writer that drops text which the reader does not take within a second. Another writer of the same pipe may fill the
/// pipe between the look and the write, which then waits.
pub struct StallProof<F>(F);

impl StallProof<io::Stderr> {
    /// Returns a writer to standard error.
    pub fn stderr() -> Self {
        Self(io::stderr())
    }
}

impl StallProof<io::Stdout> {
    /// Returns a writer to standard output, beside the buffer of [`io::stdout`].
    pub fn stdout() -> Self {
        Self(io::stdout())
    }
}

impl<F: AsFd> Write for StallProof<F> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let fd = self.0.as_fd();
        if !is_ready(fd) {
            STALLED.store(true, Ordering::Relaxed);
            return Ok(bytes.len());
        }
        STALLED.store(false, Ordering::Relaxed);
        Ok(rustix::io::write(fd, &bytes[..bytes.len().min(PIECE)])?)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn is_ready(fd: BorrowedFd<'_>) -> bool {
    let patience = if STALLED.load(Ordering::Relaxed) { 0 } else { PATIENCE };
    let limit = Timespec {
        tv_sec: patience,
        tv_nsec: 0,
    };
    // An error of poll, and a broken pipe, are left to the write.
    !matches!(
        poll(&mut [PollFd::from_borrowed_fd(fd, PollFlags::OUT)], Some(&limit)),
        Ok(0)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn drops_text_that_the_reader_of_a_pipe_does_not_take() {
        let (reader, writer) = io::pipe().expect("a pipe");
        let mut writer = StallProof(writer);
        let line = [b'x'; 1000];
        for _ in 0..1000 {
            writer.write_all(&line).expect("never fails");
        }
        drop(reader);
        assert_eq!(
            writer.write_all(&line).map_err(|error| error.kind()),
            Err(io::ErrorKind::BrokenPipe)
        );
    }
}
