//! What is wrong with a file, and where.

use std::fmt;
use std::ops::Range;

/// A case file that cannot be used. Displayed as `FILE:LINE:COLUMN: KEY: what is wrong`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Error {
    /// The file, as whoever reads it named it.
    pub file: String,
    /// From one; none when the file as a whole is meant.
    pub line: Option<usize>,
    /// From one, in characters.
    pub column: Option<usize>,
    /// Key path such as `case[1].client.address`; empty for a syntax error.
    pub key: String,
    /// What is wrong and what was expected.
    pub text: String,
}

impl Error {
    pub(crate) fn whole(file: &str, text: impl Into<String>) -> Self {
        Self {
            file: file.to_owned(),
            line: None,
            column: None,
            key: String::new(),
            text: text.into(),
        }
    }

    pub(crate) fn at(
        file: &str,
        source: &str,
        span: Option<Range<usize>>,
        key: String,
        text: impl Into<String>,
    ) -> Self {
        let place = span.map(|span| place(source, span.start));
        Self {
            line: place.map(|(line, _)| line),
            column: place.map(|(_, column)| column),
            key,
            ..Self::whole(file, text)
        }
    }
}

/// Line and column of a byte offset.
pub(crate) fn place(source: &str, offset: usize) -> (usize, usize) {
    let before = &source[..source.floor_char_boundary(offset)];
    let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
    (
        before.matches('\n').count() + 1,
        before[line_start..].chars().count() + 1,
    )
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.file)?;
        for number in [self.line, self.column].into_iter().flatten() {
            write!(f, ":{number}")?;
        }
        f.write_str(": ")?;
        if !self.key.is_empty() {
            write!(f, "{}: ", self.key)?;
        }
        f.write_str(&self.text)
    }
}

impl std::error::Error for Error {}
