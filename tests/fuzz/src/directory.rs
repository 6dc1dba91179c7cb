//! The directory file.

use host_directory::fuzzing;

/// Parses a directory and asks about each of its addresses. Each problem must have a text.
pub fn directory(data: &[u8]) {
    if let Err(problems) = fuzzing::directory(&String::from_utf8_lossy(data)) {
        assert!(!problems.is_empty());
        assert!(problems.iter().all(|problem| !problem.text.is_empty()), "{problems:?}");
    }
}
