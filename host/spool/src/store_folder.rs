//! The format of the spool's folder.

use std::fs;
use std::io;
use std::path::Path;

use host_files::replace_whole;

use crate::spool_error::OpenError;

/// Format of the folder, written in the file `format`.
const FORMAT: u32 = 1;

/// True if the folder is a spool of this format already; false if it is new. Changes nothing.
pub(super) fn check_format(root: &Path) -> Result<bool, OpenError> {
    let path = root.join("format");
    let text = match fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return match root.join("store").exists() {
                false => Ok(false),
                true => Err(OpenError::Store(format!(
                    "{} has no format file: not a spool, or not all of one",
                    root.display()
                ))),
            };
        }
        Err(error) => return Err(OpenError::Store(format!("{}: {error}", path.display()))),
    };
    let found = text
        .strip_prefix("posthouse-spool ")
        .and_then(|number| number.trim_end().parse::<u32>().ok());
    match found {
        Some(FORMAT) => Ok(true),
        Some(found) if found > FORMAT => Err(OpenError::Newer { found, known: FORMAT }),
        _ => Err(OpenError::Store(format!(
            "{}: {text:?} is no spool format",
            path.display()
        ))),
    }
}

/// Writes the file `format` atomically.
pub(super) fn write_format(root: &Path) -> io::Result<()> {
    replace_whole(&root.join("format"), format!("posthouse-spool {FORMAT}\n").as_bytes())
}
