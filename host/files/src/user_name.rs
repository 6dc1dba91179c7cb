//! Users: identities of this process and of owners of files, in words for operators.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

/// Returns user and group of this process.
pub fn current_user() -> (u32, u32) {
    (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw())
}

/// Returns user and group of a file or folder; `None` if it does not exist or cannot be inspected.
pub fn owner_of(path: &Path) -> Option<(u32, u32)> {
    let metadata = fs::metadata(path).ok()?;
    Some((metadata.uid(), metadata.gid()))
}

/// Returns the name of a user, or `uid N` for a user without an entry in `/etc/passwd`.
pub fn describe_user(uid: u32) -> String {
    let known = fs::read_to_string("/etc/passwd").unwrap_or_default();
    let entry = known.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1)?.parse() == Ok(uid)).then_some(name)
    });
    entry.map_or_else(|| format!("uid {uid}"), str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn describes_users_with_and_without_a_name() {
        assert_eq!(describe_user(0), "root");
        assert_eq!(describe_user(4_000_000_000), "uid 4000000000");
    }
}
