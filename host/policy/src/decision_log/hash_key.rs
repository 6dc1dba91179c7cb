//! The key of the hashes that replace addresses: without the key, guessed addresses cannot be compared with hashes.
//! Used by the writer of the log.

use std::fs;
use std::io;
use std::path::Path;

use ring::hmac;

use host_events::{Event, Events};
use host_files::replace_whole;

/// Length of the key, in bytes.
const KEY_LENGTH: usize = 32;
/// Length of a hash, in bytes.
const HASH_LENGTH: usize = 8;

/// A key for hashing personal data.
pub(super) struct HashKey(hmac::Key);

impl HashKey {
    /// Reads the key, or creates a key that only the daemon's user can read. Removing the file creates a new key at the
    /// next start; hashes of the old and the new key cannot be joined. A file that holds no key is replaced, with an
    /// event.
    pub fn open(path: &Path, events: &Events) -> io::Result<Self> {
        match fs::read(path) {
            Ok(bytes) if bytes.len() == KEY_LENGTH => return Ok(Self::new(&bytes)),
            Ok(bytes) => events.emit(Event::FileMadeAgain {
                file: path.display().to_string(),
                reason: format!("{} bytes, not {KEY_LENGTH}", bytes.len()),
            }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
        let bytes: [u8; KEY_LENGTH] = rand::random();
        replace_whole(path, &bytes)?;
        Ok(Self::new(&bytes))
    }

    fn new(bytes: &[u8]) -> Self {
        Self(hmac::Key::new(hmac::HMAC_SHA256, bytes))
    }

    /// Returns the first bytes of an HMAC-SHA-256, hexadecimal.
    pub fn hash(&self, text: &str) -> String {
        let tag = hmac::sign(&self.0, text.as_bytes());
        tag.as_ref()
            .iter()
            .take(HASH_LENGTH)
            .map(|byte| format!("{byte:02x}"))
            .collect()
    }
}
