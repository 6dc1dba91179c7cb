//! Errors of case files, with their position.

use std::fmt;
use std::ops::Range;

/// An error in a case file. Displayed as `FILE:LINE:COLUMN: KEY: TEXT`, without the parts that are `None` or empty.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Error {
    /// The file's name as given by the caller.
    pub file: String,
    /// Line number, counted from 1; `None` for an error of the file as a whole.
    pub line: Option<usize>,
    /// Column in characters, counted from 1.
    pub column: Option<usize>,
    /// Key path such as `case[1].client.address`; empty for a syntax error.
    pub key: String,
    /// Description of the error and of the expected value.
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
        let position = span.map(|span| line_and_column(source, span.start));
        Self {
            line: position.map(|(line, _)| line),
            column: position.map(|(_, column)| column),
            key,
            ..Self::whole(file, text)
        }
    }
}

/// Returns line and column of a byte offset, both counted from 1.
pub(crate) fn line_and_column(source: &str, offset: usize) -> (usize, usize) {
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
