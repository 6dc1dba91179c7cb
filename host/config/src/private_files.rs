//! Privacy of files: what other users of the machine could read, and whether the data folder belongs to one user.

use std::path::Path;

use super::{Config, HopTrust, Problem};
use host_files::{AuditScope, Exposure, FolderAudit, audit, current_user, describe_user, exposure, owner_of};

/// Names in the data folder that the host makes for itself and cannot do without.
const OWN: [&str; 5] = ["decisions.key", "events", "policies", "spool", "tls"];

/// Inspects the data folder. With `tighten`, the folder and everything in it is made private.
pub fn inspect_data_folder(config: &Config, tighten: bool) -> FolderAudit {
    let scope = AuditScope {
        folder: &config.data,
        mailboxes: &config.mailboxes,
        own: &OWN,
    };
    audit(scope, tighten)
}

/// Returns the problems of a data folder with files that this process cannot use.
pub fn ownership_problems(config: &Config, found: &FolderAudit) -> Vec<Problem> {
    if found.unusable.is_empty() {
        return Vec::new();
    }
    let user = current_user().0;
    let owner = found
        .unusable_owner
        .map_or_else(|| "another user".to_owned(), describe_user);
    let text = format!(
        "{}: not usable for {}, since the owner is {owner}: chown -R {} {}",
        found.unusable,
        describe_user(user),
        describe_user(user).trim_start_matches("uid "),
        config.data.display()
    );
    vec![Problem::new("data", text)]
}

/// Returns the warnings about configured files that other users can read or write.
pub(super) fn file_warnings(config: &Config) -> Vec<Problem> {
    let mut warnings: Vec<Problem> = secret_files(config)
        .into_iter()
        .filter_map(|(key, file)| Some(Problem::new(key, exposed(config, file)?)))
        .collect();
    for (key, path) in trusted_files(config) {
        if let Some(Exposure::WritableByAll(mode)) = exposure(path, service_user(config)) {
            let shown = path.display();
            let text = format!("{shown} can be written by every user (mode {mode:04o}): chmod o-w {shown}");
            warnings.push(Problem::new(key, text));
        }
    }
    warnings
}

/// Returns the warnings about owners and permissions in the data folder. `tightened` is true for the daemon, whose audit
/// has made the folder private.
pub fn data_folder_warnings(config: &Config, found: &FolderAudit, tightened: bool) -> Vec<Problem> {
    let mut warnings: Vec<Problem> = root_warning(config, tightened).into_iter().collect();
    let mut warn = |text: String| warnings.push(Problem::new("data", text));
    if !tightened && !found.open.is_empty() {
        warn(format!(
            "{}: open to other users; the next start makes them private (files 0600, folders 0700)",
            found.open
        ));
    }
    if !found.foreign.is_empty() {
        let owner = describe_user(found.owner);
        warn(format!(
            "{}: not owned by {owner}: chown -R {} {}",
            found.foreign,
            owner.trim_start_matches("uid "),
            config.data.display()
        ));
    }
    if !found.not_tightened.is_empty() {
        warn(format!(
            "{}: open to other users, and could not be made private: chmod go= them as their owner",
            found.not_tightened
        ));
    }
    warnings.extend(mailbox_warnings(found, tightened));
    config.add_lines(&mut warnings);
    warnings
}

/// Returns the warnings about Maildirs outside the data folder.
fn mailbox_warnings(found: &FolderAudit, tightened: bool) -> Vec<Problem> {
    let mailboxes = &found.mailboxes;
    let mut warnings = Vec::new();
    if !tightened && !mailboxes.open.is_empty() {
        let text = format!(
            "{}: open to every user; the next start closes them to others than owner and group",
            mailboxes.open
        );
        warnings.push(Problem::new("mailboxes", text));
    }
    if !mailboxes.not_tightened.is_empty() {
        let text = format!(
            "{}: open to every user, and could not be closed: chmod o= them as their owner",
            mailboxes.not_tightened
        );
        warnings.push(Problem::new("mailboxes", text));
    }
    warnings
}

/// Returns a warning if the host runs as root, or if root checks a host whose data belongs to root.
fn root_warning(config: &Config, runs: bool) -> Option<Problem> {
    let is_root = current_user().0 == 0;
    let owned_by_root = || owner_of(&config.data).is_some_and(|(owner, _)| owner == 0);
    (is_root && (runs || owned_by_root())).then(|| {
        let text = format!(
            "{}: the host runs as root: run it as a user of its own (systemd: User= and \
             AmbientCapabilities=CAP_NET_BIND_SERVICE for ports below 1024), after chown -R USER of this folder",
            config.data.display()
        );
        Problem::new("data", text)
    })
}

/// Returns files with secrets, each with its key: hashes of passwords, keys, passwords of logins.
fn secret_files(config: &Config) -> Vec<(String, &Path)> {
    let mut files = vec![("directory".to_owned(), config.directory.as_path())];
    files.extend(config.tls.iter().map(|tls| ("tls.key".to_owned(), tls.key.as_path())));
    for (index, tls) in config.more_tls.iter().enumerate() {
        files.push((format!("tls.additional[{index}].key"), &tls.key));
    }
    files.extend(
        config
            .srs
            .iter()
            .map(|srs| ("srs.secret-file".to_owned(), srs.secret_file.as_path())),
    );
    for (index, login) in config.delivery.logins.iter().enumerate() {
        files.push((format!("delivery.login[{index}].password-file"), &login.password_file));
    }
    files
}

/// Returns files and folders that decide what the host does, each with its key.
fn trusted_files(config: &Config) -> Vec<(String, &Path)> {
    let mut files = Vec::new();
    files.extend(config.file.iter().map(|file| (String::new(), file.as_path())));
    files.extend(
        config
            .tls
            .iter()
            .map(|tls| ("tls.certificate".to_owned(), tls.certificate.as_path())),
    );
    for (index, tls) in config.more_tls.iter().enumerate() {
        files.push((format!("tls.additional[{index}].certificate"), &tls.certificate));
    }
    for (index, listener) in config.listeners.iter().enumerate() {
        let authorities = listener.client_ca.iter();
        files.extend(authorities.map(|file| (format!("listener[{index}].client-ca"), file.as_path())));
    }
    files.extend(
        config
            .policy_engine
            .watch
            .iter()
            .map(|folder| ("policy-engine.watch".to_owned(), folder.as_path())),
    );
    for (index, hop) in config.delivery.hops.iter().enumerate() {
        if let HopTrust::File(file) = &hop.trust {
            files.push((format!("delivery.next-hop[{index}].ca-file"), file.as_path()));
        }
    }
    for (index, module) in config.policies.iter().enumerate() {
        files.extend(
            module
                .file
                .iter()
                .map(|file| (format!("policy[{index}].file"), file.as_path())),
        );
    }
    files
}

/// Returns the text about a file with a secret that other users can read.
pub(super) fn exposed(config: &Config, file: &Path) -> Option<String> {
    let found = exposure(file, service_user(config))?;
    Some(format!("{} {found}: chmod 600 {0}", file.display()))
}

/// Gives a file or folder that root has made to the user of the daemon. Does nothing for other users.
///
/// # Errors
/// The owner could not be changed.
pub fn give_to_service(config: &Config, path: &Path) -> std::io::Result<()> {
    let (user, group) = service_user(config);
    if current_user().0 != 0 || user == 0 {
        return Ok(());
    }
    std::os::unix::fs::chown(path, Some(user), Some(group))
}

/// User and group of the daemon: of this process, or for root of the data folder, since root may check a host that runs
/// as another user.
fn service_user(config: &Config) -> (u32, u32) {
    let user = current_user();
    match owner_of(&config.data) {
        Some(owner) if user.0 == 0 => owner,
        _ => user,
    }
}
