//! What a configuration needs around it: files that can be read, folders that can be written.
//! Nothing is made or changed by looking.

use std::fs::File;
use std::path::Path;

use rustix::fs::{Access, access};

use super::{Config, Problem, secret, server_config};

/// Longest path of a Unix socket, in bytes, its final NUL not counted.
const MAX_SOCKET_PATH: usize = 107;

/// Everything around the configuration that would keep the host from starting.
pub fn problems_around(config: &Config) -> Vec<Problem> {
    let mut problems = Vec::new();
    for (key, folder) in [("data", &config.data), ("mailboxes", &config.mailboxes)] {
        problems.extend(not_writable(folder).map(|text| Problem::new(key, text)));
    }
    if config.control.as_os_str().len() > MAX_SOCKET_PATH {
        let text = format!("{}: longer than {MAX_SOCKET_PATH} bytes", config.control.display());
        problems.push(Problem::new("control", text));
    }
    for (index, module) in config.policies.iter().enumerate() {
        if let Some(file) = &module.file
            && let Err(error) = File::open(file)
        {
            let text = format!("{}: {error}", file.display());
            problems.push(Problem::new(format!("policy[{index}].file"), text));
        }
    }
    for (index, login) in config.delivery.logins.iter().enumerate() {
        let unreadable = secret(&login.password_file).err();
        problems.extend(unreadable.map(|text| Problem::new(format!("delivery.login[{index}].password-file"), text)));
    }
    if let Some(files) = &config.tls {
        problems.extend(server_config(files).err().unwrap_or_default());
    }
    problems
}

/// A folder that is not there must have a parent it can be made in.
fn not_writable(folder: &Path) -> Option<String> {
    let existing = folder.ancestors().find(|path| path.exists())?;
    if !existing.is_dir() {
        return Some(format!("{} is not a folder", existing.display()));
    }
    access(existing, Access::WRITE_OK | Access::EXEC_OK)
        .err()
        .map(|error| format!("{} cannot be written: {error}", existing.display()))
}
