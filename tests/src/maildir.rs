//! A reader of Maildirs.

use std::path::{Path, PathBuf};

use crate::wait::eventually;

/// A message in a mailbox.
#[derive(Debug, Clone)]
pub struct Delivered {
    /// File of the message.
    pub path: PathBuf,
    /// Content of the file; invalid UTF-8 is replaced by U+FFFD.
    pub text: String,
}

/// The Maildir of an account.
#[derive(Debug, Clone)]
pub struct Maildir(PathBuf);

impl Maildir {
    /// Creates a reader of the Maildir in a folder, which need not exist yet.
    pub fn at(path: impl Into<PathBuf>) -> Self {
        Self(path.into())
    }

    /// Returns every message in `new`, ordered by file name.
    pub fn messages(&self) -> Vec<Delivered> {
        let Ok(folder) = std::fs::read_dir(self.0.join("new")) else {
            return Vec::new();
        };
        let mut paths: Vec<PathBuf> = folder.filter_map(|entry| Some(entry.ok()?.path())).collect();
        paths.sort();
        paths.into_iter().filter_map(|path| read(&path)).collect()
    }

    /// Returns the messages that contain `text`.
    pub fn containing(&self, text: &str) -> Vec<Delivered> {
        let messages = self.messages().into_iter();
        messages.filter(|message| message.text.contains(text)).collect()
    }

    /// Waits for a message that contains `text`.
    ///
    /// # Panics
    /// If no message arrives in time.
    pub fn expect(&self, text: &str) -> Delivered {
        eventually(&format!("a message with {text:?} in {}", self.0.display()), || {
            self.containing(text).pop()
        })
    }
}

fn read(path: &Path) -> Option<Delivered> {
    let bytes = std::fs::read(path).ok()?;
    Some(Delivered {
        path: path.to_owned(),
        text: String::from_utf8_lossy(&bytes).into_owned(),
    })
}
