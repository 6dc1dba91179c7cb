//! Writing for people: nothing from outside reaches a terminal unescaped, and a reader that goes
//! away early is no error.

use std::io::{self, Write};

use serde::Serialize;

use host_events::escape;

/// Writes a line to stdout.
pub fn line(text: impl AsRef<str>) -> io::Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_ref().as_bytes())?;
    out.write_all(b"\n")
}

/// Writes a line to stderr; if nobody reads it, nothing is lost but the line.
pub fn remark(text: impl AsRef<str>) {
    let _ = writeln!(io::stderr(), "{}", text.as_ref());
}

/// Writes JSON, indented, and escaped where a terminal might obey it.
pub fn json(value: &impl Serialize) -> anyhow::Result<()> {
    let text = serde_json::to_string_pretty(value)?;
    let escaped: Vec<String> = text.lines().map(visible).collect();
    Ok(line(escaped.join("\n"))?)
}

/// JSON has escaped C0 already; what is left is DEL, C1 and bidirectional controls, in strings.
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

/// Rows under a head, each column as wide as its widest cell.
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

/// Says why a command failed; what a daemon or a file said is escaped line by line.
pub fn complain(error: &anyhow::Error) {
    for (index, text) in format!("{error:#}").lines().enumerate() {
        let prefix = if index == 0 { "posthouse: " } else { "  " };
        remark(format!("{prefix}{}", escape(text)));
    }
}

/// Whether the error is that stdout's reader has gone.
pub fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error
        .chain()
        .filter_map(|cause| cause.downcast_ref::<io::Error>())
        .any(|cause| cause.kind() == io::ErrorKind::BrokenPipe)
}

/// What libraries trace goes to stderr when `RUST_LOG` asks for it; events are not traces.
pub fn libraries_to_stderr() {
    let filter = tracing_subscriber::EnvFilter::try_from_default_env()
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("off"));
    // Set once; a second command in the same process (a test) keeps the first.
    let _ = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(io::stderr)
        .with_ansi(false)
        .try_init();
}
