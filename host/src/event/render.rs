//! One place that turns events into lines.

/// How events are written on stdout.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// A line a human reads.
    Text,
    /// A JSON object a line.
    Json,
}

/// Hostile bytes made harmless: control characters, line breaks and bidirectional overrides become
/// visible escapes.
pub fn escape(_text: &str) -> String {
    todo!()
}
