//! A number of paths, of which the first are named.

use std::fmt;
use std::path::{Path, PathBuf};

/// Number of paths that a [`PathList`] names.
const NAMED: usize = 3;

/// A number of paths, of which the first are named.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PathList {
    /// Number of paths.
    pub count: u64,
    /// First paths, at most three.
    pub first: Vec<PathBuf>,
}

impl PathList {
    pub(crate) fn add(&mut self, path: &Path) {
        self.count += 1;
        if self.first.len() < NAMED {
            self.first.push(path.to_owned());
        }
    }

    /// True if there is no path.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }
}

impl fmt::Display for PathList {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let named: Vec<String> = self.first.iter().map(|path| path.display().to_string()).collect();
        f.write_str(&named.join(", "))?;
        match self.count.saturating_sub(named.len() as u64) {
            0 => Ok(()),
            more => write!(f, " and {more} more"),
        }
    }
}
