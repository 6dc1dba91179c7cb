//! Output for people. Text from outside is escaped for the terminal, and a reader that closes the pipe early is not an
//! error.

use std::backtrace::{Backtrace, BacktraceStatus};
use std::io::{self, Write};
use std::sync::atomic::{AtomicBool, Ordering};

use tracing_subscriber::Layer as _;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

use serde::Serialize;

use host_events::{StallProof, escape};

/// Writes a line to stdout.
pub fn line(text: impl AsRef<str>) -> io::Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_ref().as_bytes())?;
    out.write_all(b"\n")
}

/// True in the daemon, which must not wait for the reader of its output.
static IS_DAEMON: AtomicBool = AtomicBool::new(false);

/// Switches stderr to a writer that drops text while its reader stalls, the texts of panics included.
pub fn never_wait_for_stderr() {
    IS_DAEMON.store(true, Ordering::Relaxed);
    std::panic::set_hook(Box::new(|panic| {
        let thread = std::thread::current();
        let name = thread.name().unwrap_or("<unnamed>");
        let trace = Backtrace::capture();
        let trace = match trace.status() {
            BacktraceStatus::Captured => format!("\n{trace}"),
            _ => String::new(),
        };
        let _ = writeln!(StallProof::stderr(), "thread '{name}' {panic}{trace}");
    }));
}

/// Writes a line to stderr. Errors are ignored.
pub fn remark(text: impl AsRef<str>) {
    let line = format!("{}\n", text.as_ref());
    let _ = match IS_DAEMON.load(Ordering::Relaxed) {
        true => StallProof::stderr().write_all(line.as_bytes()),
        false => io::stderr().write_all(line.as_bytes()),
    };
}

/// Writes indented JSON to stdout, with characters that control a terminal escaped.
pub fn json(value: &impl Serialize) -> anyhow::Result<()> {
    let text = serde_json::to_string_pretty(value)?;
    let escaped: Vec<String> = text.lines().map(visible).collect();
    Ok(line(escaped.join("\n"))?)
}

/// Escapes the terminal controls that JSON leaves in strings: DEL, C1 and bidirectional controls. The JSON serializer
/// escapes C0.
pub fn visible(line: &str) -> String {
    let hostile = |c: char| !c.is_ascii() && escape(c.encode_utf8(&mut [0; 4])).starts_with('\\') || c == '\u{7f}';
    let mut out = String::with_capacity(line.len());
    for c in line.chars() {
        if hostile(c) {
            for unit in c.encode_utf16(&mut [0; 2]) {
                out.push_str(&format!("\\u{unit:04x}"));
            }
        } else {
            out.push(c);
        }
    }
    out
}

/// Writes rows under a head to stdout. Each column is as wide as its widest cell.
pub fn table(head: &[&str], rows: &[Vec<String>]) -> io::Result<()> {
    let mut widths: Vec<usize> = head.iter().map(|cell| cell.chars().count()).collect();
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let render = |row: &[String]| {
        let cells: Vec<String> = row
            .iter()
            .zip(&widths)
            .map(|(cell, width)| format!("{cell:width$}"))
            .collect();
        cells.join("  ").trim_end().to_owned()
    };
    let head: Vec<String> = head.iter().map(|cell| (*cell).to_owned()).collect();
    line(render(&head))?;
    rows.iter().try_for_each(|row| line(render(row)))
}

/// Prints the error of a command to stderr. Each line is escaped, since parts may come from a daemon or a file.
pub fn print_error(error: &anyhow::Error) {
    for (index, text) in format!("{error:#}").lines().enumerate() {
        let prefix = if index == 0 { "posthouse: " } else { "  " };
        remark(format!("{prefix}{}", escape(text)));
    }
}

/// True if the error is a broken pipe: the reader of stdout has closed the pipe.
pub fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error
        .chain()
        .filter_map(|cause| cause.downcast_ref::<io::Error>())
        .any(|cause| cause.kind() == io::ErrorKind::BrokenPipe)
}

/// Sends traces of libraries to stderr. `RUST_LOG` selects them by target and level, such as `hickory_resolver=debug,warn`;
/// all are off by default. Events are not traces.
pub fn trace_libraries() {
    let filter = std::env::var("RUST_LOG")
        .ok()
        .and_then(|filter| filter.parse::<Targets>().ok());
    let lines = tracing_subscriber::fmt::layer()
        .with_writer(StallProof::stderr)
        .with_ansi(false)
        .with_filter(filter.unwrap_or_default());
    // A second call in the same process, as in tests, fails and keeps the first subscriber.
    let _ = tracing_subscriber::registry().with(lines).try_init();
}
