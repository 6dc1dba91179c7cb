//! Warnings: settings that are dangerous or can never work, and do not keep the host from starting.

use std::path::Path;
use std::time::Duration;

use super::{Config, Problem};
use crate::certificate_warnings::certificate_warnings;
use crate::listener_warnings::listener_warnings;
use crate::next_hop_warnings::next_hop_warnings;
use crate::policy_warnings::policy_warnings;
use crate::private_files::file_warnings;

/// Returns the warnings of a configuration and the files that it names, each with key and line. The data folder is not
/// inspected; see [`super::data_folder_warnings`].
pub fn warnings_around(config: &Config) -> Vec<Problem> {
    let mut warnings = listener_warnings(config);
    warnings.extend(next_hop_warnings(config));
    warnings.extend(policy_warnings(config));
    warnings.extend(certificate_warnings(config));
    warnings.extend(environment_warnings(config));
    warnings.extend(file_warnings(config));
    config.add_lines(&mut warnings);
    warnings
}

fn environment_warnings(config: &Config) -> Vec<Problem> {
    let mut warnings = Vec::new();
    let mut warn = |key: &str, text: String| warnings.push(Problem::new(key, text));
    let engine = &config.policy_engine;
    for (key, folder) in
        engine
            .watch
            .iter()
            .map(|folder| ("policy-engine.watch".to_owned(), folder))
            .chain(config.policies.iter().enumerate().filter_map(|(index, module)| {
                Some((format!("policy[{index}].core-dumps"), module.core_dumps.as_ref()?))
            }))
    {
        if !folder.is_dir() {
            warn(&key, format!("{} is no folder: make it", folder.display()));
        }
    }
    if let Some(size) = disk_size(&config.data) {
        for (key, bytes) in [
            ("low-water", config.low_water),
            ("limits.message-size", config.limits.message_size),
        ] {
            if bytes >= size {
                warn(
                    key,
                    format!(
                        "{bytes} bytes are more than the whole disk of {}, {size} bytes: write less",
                        config.data.display()
                    ),
                );
            }
        }
    }
    if config.data.starts_with(&config.mailboxes) {
        warn(
            "mailboxes",
            "is or contains the data folder, where an account could have the name of a folder of the host: \
              write a folder of its own"
                .to_owned(),
        );
    }
    for (index, server) in config.dns.servers.iter().enumerate() {
        if server.port() == 0 || server.ip().is_unspecified() {
            warn(
                &format!("dns.servers[{index}]"),
                format!("{server} is no server: write its address and port 53"),
            );
        }
    }
    let delivery = &config.delivery;
    let first = delivery.retry.first().copied().unwrap_or(Duration::ZERO);
    if delivery.expire <= first {
        let text = format!(
            "messages are given up after {:?}, before the first retry after {first:?}: write more",
            delivery.expire
        );
        warn("delivery.expire", text);
    }
    warnings
}

/// Size in bytes of the file system of a folder, or of its nearest existing ancestor.
fn disk_size(folder: &Path) -> Option<u64> {
    let existing = folder.ancestors().find(|path| path.exists())?;
    let disk = rustix::fs::statvfs(existing).ok()?;
    disk.f_blocks.checked_mul(disk.f_frsize)
}
