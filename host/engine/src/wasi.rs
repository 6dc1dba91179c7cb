//! WASI for guests: present, because language runtimes import WASI, and inert. Guests have no files, environment,
//! arguments, sockets or input; output to stdout and stderr is kept for Event 4037.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::io::AsyncWrite;
use wasmtime_wasi::cli::{IsTerminal, StdoutStream};
use wasmtime_wasi::p2::{OutputStream, Pollable, StreamResult};
use wasmtime_wasi::{WasiCtx, WasiCtxBuilder};

/// Bytes of output that are kept. The last bytes are kept, since a panic message comes last.
const CONSOLE_SIZE: usize = 8 * 1024;
/// Maximum number of random bytes in one call.
const MAX_RANDOM: u64 = 64 * 1024;

/// Makes a WASI context that has access to nothing and writes to `console`.
pub(super) fn inert(console: &Console) -> WasiCtx {
    let mut builder = WasiCtxBuilder::new();
    builder
        .stdout(console.clone())
        .stderr(console.clone())
        .allow_tcp(false)
        .allow_udp(false)
        .allow_ip_name_lookup(false)
        .max_random_size(MAX_RANDOM);
    builder.build()
}

/// Buffer of a guest's last output.
#[derive(Debug, Clone, Default)]
pub(super) struct Console {
    output: Arc<Mutex<VecDeque<u8>>>,
}

impl Console {
    /// Returns the kept output as text; invalid UTF-8 is replaced.
    pub(super) fn text(&self) -> String {
        let mut output = self.output.lock();
        String::from_utf8_lossy(output.make_contiguous()).into_owned()
    }

    pub(super) fn clear(&self) {
        self.output.lock().clear();
    }

    fn append(&self, bytes: &[u8]) {
        let bytes = &bytes[bytes.len().saturating_sub(CONSOLE_SIZE)..];
        let mut output = self.output.lock();
        let excess = (output.len() + bytes.len()).saturating_sub(CONSOLE_SIZE);
        output.drain(..excess);
        output.extend(bytes);
    }
}

impl IsTerminal for Console {
    fn is_terminal(&self) -> bool {
        false
    }
}

impl StdoutStream for Console {
    fn async_stream(&self) -> Box<dyn AsyncWrite + Send + Sync> {
        Box::new(self.clone())
    }

    fn p2_stream(&self) -> Box<dyn OutputStream> {
        Box::new(self.clone())
    }
}

impl OutputStream for Console {
    fn write(&mut self, bytes: Bytes) -> StreamResult<()> {
        self.append(&bytes);
        Ok(())
    }

    fn flush(&mut self) -> StreamResult<()> {
        Ok(())
    }

    fn check_write(&mut self) -> StreamResult<usize> {
        Ok(CONSOLE_SIZE)
    }
}

impl Pollable for Console {
    fn ready<'a, 'b>(&'a mut self) -> Pin<Box<dyn Future<Output = ()> + Send + 'b>>
    where
        'a: 'b,
        Self: 'b,
    {
        Box::pin(std::future::ready(()))
    }
}

impl AsyncWrite for Console {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<std::io::Result<usize>> {
        self.append(bytes);
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn console_keeps_the_last_output() {
        let console = Console::default();
        console.append(&[b'a'; 3 * CONSOLE_SIZE]);
        console.append(b"panicked");
        let text = console.text();
        assert_eq!(text.len(), CONSOLE_SIZE);
        assert!(text.starts_with('a') && text.ends_with("panicked"));
    }
}
