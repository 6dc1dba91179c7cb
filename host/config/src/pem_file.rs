//! A PEM file, read with more tolerance than the parser has: a block that begins in the middle of a line, as `cat`
//! leaves it after a file without a final line end, is a block nevertheless.

use std::fs;
use std::io;
use std::path::Path;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::{self, PemObject as _};

const BEGIN: &[u8] = b"-----BEGIN ";

/// The content of a PEM file.
pub(super) struct PemFile {
    text: Vec<u8>,
    joined: usize,
}

impl PemFile {
    /// Reads a file.
    pub(super) fn read(path: &Path) -> io::Result<Self> {
        Ok(Self::parse(&fs::read(path)?))
    }

    fn parse(bytes: &[u8]) -> Self {
        let (mut text, mut joined) = (Vec::with_capacity(bytes.len()), 0);
        for (index, byte) in bytes.iter().enumerate() {
            let within_line = text.last().is_some_and(|last| !b"\r\n".contains(last));
            if within_line && bytes[index..].starts_with(BEGIN) {
                text.push(b'\n');
                joined += 1;
            }
            text.push(*byte);
        }
        Self { text, joined }
    }

    /// Returns the content, with each block on a line of its own.
    pub(super) fn text(&self) -> &[u8] {
        &self.text
    }

    /// Number of blocks that begin in the middle of a line.
    pub(super) fn joined(&self) -> usize {
        self.joined
    }

    /// True if the content has `words`.
    pub(super) fn contains(&self, words: &str) -> bool {
        self.text.windows(words.len()).any(|window| window == words.as_bytes())
    }

    /// Returns the certificates, in the order of the file.
    pub(super) fn certificates(&self) -> Result<Vec<CertificateDer<'static>>, pem::Error> {
        CertificateDer::pem_slice_iter(&self.text).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn puts_each_block_on_a_line_of_its_own() {
        for (text, expected, joined) in [
            ("-----BEGIN A-----\n-----END A-----\n-----BEGIN B-----", 0, 0),
            ("-----BEGIN A-----\r\n-----END A-----\r\n-----BEGIN B-----", 0, 0),
            ("-----BEGIN A-----\n-----END A----------BEGIN B-----", 1, 1),
            ("\u{feff}-----BEGIN A-----\n-----END A----- -----BEGIN B-----", 2, 2),
        ] {
            let file = PemFile::parse(text.as_bytes());
            assert_eq!(file.joined(), joined, "{text}");
            assert_eq!(file.text().len(), text.len() + expected, "{text}");
        }
    }
}
