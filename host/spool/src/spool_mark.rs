//! The mark of a spool, a file outside its folder: tells a folder that is lost, or on a disk that is not mounted, from
//! the first start of a host.

use std::path::Path;

use host_files::replace_whole;

use crate::spool_error::{Damage, OpenError};
use crate::spool_options::SpoolOptions;
use crate::store_folder::check_format;

/// Returns the damage of a spool that was there before, by its mark, and is not there now.
///
/// # Errors
/// The folder is of another format, or cannot be read.
pub(super) fn lost_spool(root: &Path, options: &SpoolOptions) -> Result<Option<Damage>, OpenError> {
    let is_marked = options.mark.as_ref().is_some_and(|mark| mark.exists());
    if !is_marked || check_format(root)? {
        return Ok(None);
    }
    let name = root.file_name().unwrap_or(root.as_os_str()).to_string_lossy();
    let text = "is missing with all mail that was in it: see whether its disk is mounted, or restore the folder";
    Ok(Some(Damage::new(name, text)))
}

/// Writes the mark if there is none. Without room on the disk the next start writes it.
pub(super) fn set_mark(options: &SpoolOptions) {
    if let Some(mark) = options.mark.as_ref().filter(|mark| !mark.exists())
        && let Err(error) = replace_whole(mark, b"posthouse-spool\n")
    {
        tracing::warn!(%error, "the mark of the spool cannot be written");
    }
}
