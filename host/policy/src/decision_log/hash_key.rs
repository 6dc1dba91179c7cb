//! The key of the hashes that stand for addresses: without it nobody can try addresses until one fits.

use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use ring::hmac;

/// Bytes of the key.
const LENGTH: usize = 32;
/// Bytes of a hash that are shown.
const SHOWN: usize = 8;

pub(super) struct HashKey(hmac::Key);

impl HashKey {
    /// Reads it, or makes it: for the daemon's user alone. Removing the file makes a new one at the next
    /// start; what was recorded before can then no longer be joined with what comes after.
    pub fn open(path: &Path) -> io::Result<Self> {
        match fs::read(path) {
            Ok(bytes) if bytes.len() == LENGTH => Ok(Self::new(&bytes)),
            Ok(bytes) => Err(io::Error::new(
                io::ErrorKind::InvalidData,
                format!(
                    "{}: {} bytes, not {LENGTH}: remove it for a new one",
                    path.display(),
                    bytes.len()
                ),
            )),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Self::make(path),
            Err(error) => Err(error),
        }
    }

    fn make(path: &Path) -> io::Result<Self> {
        let bytes: [u8; LENGTH] = rand::random();
        let draft = path.with_extension("new");
        // Left behind by a crash at worst.
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

    /// The first bytes of an HMAC-SHA-256, hexadecimal.
    pub fn hash(&self, text: &str) -> String {
        let tag = hmac::sign(&self.0, text.as_bytes());
        tag.as_ref()
            .iter()
            .take(SHOWN)
            .map(|byte| format!("{byte:02x}"))
            .collect()
    }
}
