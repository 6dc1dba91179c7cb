//! The key of the hashes that replace addresses: without the key, guessed addresses cannot be compared with hashes.
//! Used by the writer of the log.

use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use ring::hmac;

/// Length of the key, in bytes.
const KEY_LENGTH: usize = 32;
/// Length of a hash, in bytes.
const HASH_LENGTH: usize = 8;

/// A key for hashing personal data.
pub(super) struct HashKey(hmac::Key);

impl HashKey {
    /// Reads the key, or creates a key that only the daemon's user can read. Removing the file creates a new key at the
    /// next start; hashes of the old and the new key cannot be joined.
    pub fn open(path: &Path) -> io::Result<Self> {
        match fs::read(path) {
            Ok(bytes) if bytes.len() == KEY_LENGTH => Ok(Self::new(&bytes)),
            Ok(bytes) => Err(io::Error::new(
                io::ErrorKind::InvalidData,
                format!(
                    "{}: {} bytes, not {KEY_LENGTH}: remove it for a new one",
                    path.display(),
                    bytes.len()
                ),
            )),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Self::make(path),
            Err(error) => Err(error),
        }
    }

    fn make(path: &Path) -> io::Result<Self> {
        let bytes: [u8; KEY_LENGTH] = rand::random();
        let draft = path.with_extension("new");
        // A crash may leave a draft behind.
        let _ = fs::remove_file(&draft);
        let mut file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&draft)?;
        file.write_all(&bytes)?;
        file.sync_all()?;
        fs::rename(&draft, path)?;
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
