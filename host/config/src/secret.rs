//! Passwords kept in separate files.

use std::fs::File;
use std::io::Read;
use std::path::Path;

/// Longest password, in bytes.
const MAX_LENGTH: usize = 1024;

/// Reads a password: the only line of `file`, without the line end, of 1 to 1024 bytes without control characters. The
/// error names the file and the problem, and never quotes the content.
pub fn secret(file: &Path) -> Result<String, String> {
    let failed = |problem: &str| format!("{}: {problem}", file.display());
    let mut text = String::new();
    let opened = File::open(file).and_then(|file| file.take(MAX_LENGTH as u64 + 3).read_to_string(&mut text));
    opened.map_err(|error| failed(&error.to_string()))?;
    let line = text.strip_suffix('\n').unwrap_or(&text);
    let line = line.strip_suffix('\r').unwrap_or(line);
    if line.is_empty() {
        return Err(failed("is empty"));
    }
    if line.len() > MAX_LENGTH || line.contains(|c: char| c.is_control()) {
        return Err(failed(&format!("expected one line of at most {MAX_LENGTH} bytes")));
    }
    Ok(line.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accepts_exactly_one_line() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("password");
        let read = |text: &[u8]| {
            std::fs::write(&file, text).expect("written");
            secret(&file)
        };
        for text in ["s e¢ret", "s e¢ret\n", "s e¢ret\r\n"] {
            assert_eq!(read(text.as_bytes()).as_deref(), Ok("s e¢ret"));
        }
        assert!(read("x".repeat(MAX_LENGTH).as_bytes()).is_ok());
        for text in ["", "\n", "a\nb\n", "a\0b", &"x".repeat(MAX_LENGTH + 1)] {
            let error = read(text.as_bytes()).expect_err("refused");
            assert!(error.contains("is empty") || error.contains("one line"), "{error}");
        }
        assert!(read(b"\xff").is_err());
        assert!(secret(&folder.path().join("none")).is_err());
    }
}
