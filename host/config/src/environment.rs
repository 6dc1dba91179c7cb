//! Checks of a configuration's environment: readable files and writable folders. The checks neither create nor change
//! anything.

use std::fs::{self, File};
use std::os::unix::fs::FileTypeExt as _;
use std::path::Path;

use rustix::fs::{Access, access};

use super::{Config, HopTrust, Problem, dkim_signers, listener_tls_configs, secret};
use crate::pem_file::PemFile;
use host_files::{current_user, describe_user, owner_of};

/// Longest path of a Unix socket, in bytes, without the final NUL.
const MAX_SOCKET_PATH: usize = 107;

/// Returns the problems of the configuration's environment that would keep the host from starting: folders that cannot
/// be written, password files that cannot be read, unusable keys of DKIM, a socket path that is too long, unusable certificates. A component
/// that cannot be read keeps no host from starting; see [`unreadable_components`].
pub fn problems_around(config: &Config) -> Vec<Problem> {
    let mut problems = Vec::new();
    for (key, folder) in [("data", &config.data), ("mailboxes", &config.mailboxes)] {
        problems.extend(not_writable(folder).map(|text| Problem::new(key, text)));
    }
    problems.extend(folder_problems(config));
    if config.control.as_os_str().len() > MAX_SOCKET_PATH {
        let text = format!("{}: longer than {MAX_SOCKET_PATH} bytes", config.control.display());
        problems.push(Problem::new("control", text));
    }
    for (index, login) in config.delivery.logins.iter().enumerate() {
        let unreadable = secret(&login.password_file).err();
        problems.extend(unreadable.map(|text| Problem::new(format!("delivery.login[{index}].password-file"), text)));
    }
    problems.extend(dkim_signers(config).err().unwrap_or_default());
    problems.extend(
        listener_tls_configs(config, &config.certificates())
            .err()
            .unwrap_or_default(),
    );
    for (index, hop) in config.delivery.hops.iter().enumerate() {
        if let HopTrust::File(file) = &hop.trust
            && let Some(text) = no_certificates(file)
        {
            problems.push(Problem::new(format!("delivery.next-hop[{index}].ca-file"), text));
        }
    }
    config.add_lines(&mut problems);
    problems
}

/// Returns a problem unless the file has certificates.
fn no_certificates(file: &Path) -> Option<String> {
    let problem = match PemFile::read(file) {
        Ok(pem) => match pem.certificates() {
            Ok(found) if !found.is_empty() => return None,
            Ok(_) => "has no certificate".to_owned(),
            Err(error) => error.to_string(),
        },
        Err(error) => error.to_string(),
    };
    Some(format!("{}: {problem}", file.display()))
}

/// Returns the problems of folders and of the socket that would destroy other files or never work.
fn folder_problems(config: &Config) -> Vec<Problem> {
    let mut problems = Vec::new();
    for name in ["events", "policies", "spool", "tls"] {
        if config.mailboxes.starts_with(config.data.join(name)) {
            let text = format!(
                "{} belongs to the host itself: write another folder",
                config.mailboxes.display()
            );
            problems.push(Problem::new("mailboxes", text));
        }
    }
    let control = config.control.display();
    let folder = config.control.parent().unwrap_or(Path::new("/"));
    if fs::symlink_metadata(&config.control).is_ok_and(|existing| !existing.file_type().is_socket()) {
        problems.push(Problem::new(
            "control",
            format!("{control} is no socket: write another path"),
        ));
    } else if !folder.is_dir() && folder != config.data {
        let text = format!("{control}: there is no folder {}: make it", folder.display());
        problems.push(Problem::new("control", text));
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
    access(existing, Access::WRITE_OK | Access::EXEC_OK).err().map(|error| {
        let user = describe_user(current_user().0);
        let owner = owner_of(existing).map_or_else(String::new, |(owner, _)| describe_user(owner));
        format!(
            "{} cannot be written: {error}: its owner is {owner}, and this is {user}; run as {owner}, or chown it",
            existing.display()
        )
    })
}
