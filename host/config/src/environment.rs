//! Checks of a configuration's environment: readable files and writable folders. The checks neither create nor change
//! anything.

use std::fs::File;
use std::path::Path;

use rustix::fs::{Access, access};

use super::{Config, Problem, secret, server_config};

/// Longest path of a Unix socket, in bytes, without the final NUL.
const MAX_SOCKET_PATH: usize = 107;

/// Returns the problems of the configuration's environment that would keep the host from starting: folders that cannot
/// be written, password files that cannot be read, a socket path that is too long, unusable certificates. A component
/// that cannot be read keeps no host from starting; see [`unreadable_components`].
pub fn problems_around(config: &Config) -> Vec<Problem> {
    let mut problems = Vec::new();
    for (key, folder) in [("data", &config.data), ("mailboxes", &config.mailboxes)] {
        problems.extend(not_writable(folder).map(|text| Problem::new(key, text)));
    }
    if config.control.as_os_str().len() > MAX_SOCKET_PATH {
        let text = format!("{}: longer than {MAX_SOCKET_PATH} bytes", config.control.display());
        problems.push(Problem::new("control", text));
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

/// Returns a problem for each component file that cannot be opened.
pub fn unreadable_components(config: &Config) -> Vec<Problem> {
    let modules = config.policies.iter().enumerate();
    let problems = modules.filter_map(|(index, module)| {
        let file = module.file.as_ref()?;
        let error = File::open(file).err()?;
        let text = format!("{}: {error}", file.display());
        Some(Problem::new(format!("policy[{index}].file"), text))
    });
    problems.collect()
}

/// Returns a problem unless `folder`, or its nearest existing ancestor if the folder is missing, is a writable folder.
fn not_writable(folder: &Path) -> Option<String> {
    let existing = folder.ancestors().find(|path| path.exists())?;
    if !existing.is_dir() {
        return Some(format!("{} is not a folder", existing.display()));
    }
    access(existing, Access::WRITE_OK | Access::EXEC_OK)
        .err()
        .map(|error| format!("{} cannot be written: {error}", existing.display()))
}
