//! The first run without a configuration: makes a directory with the account `postmaster`, for logins and for the
//! administrator's notifications.

use std::fs;
use std::io::ErrorKind;
use std::path::Path;

use anyhow::Context;

use super::output::remark;
use host_config::Config;
use host_directory::password_verifiers;
use host_files::{create_whole, make_private_folder, replace_whole};

/// Letters and digits of passwords, without the ambiguous `l`, `o`, `0` and `1`.
const ALPHABET: &[u8] = b"abcdefghijkmnpqrstuvwxyz23456789";
/// Length of a generated password: 20 characters of 5 bits are 100 bits of entropy.
const PASSWORD_LENGTH: usize = 20;

/// Makes the directory's file unless the file exists. Prints the generated password to stderr, once.
///
/// # Errors
/// Folder or file could not be written.
pub fn make_directory(config: &Config) -> anyhow::Result<()> {
    let path = &config.directory;
    // A run on a full disk may have left an empty file.
    if fs::metadata(path).is_ok_and(|existing| existing.len() > 0) {
        return Ok(());
    }
    let folder = path.parent().unwrap_or(Path::new("/"));
    let failed = || format!("{}: no first directory could be made", path.display());
    make_private_folder(folder).with_context(failed)?;
    let password = random_password();
    let [argon2id, scram] = password_verifiers(&password)?;
    let text = format!(
        "# Made by the first `posthouse run`. `posthouse account add` adds more.\n\
         domains = [\"localhost\"]\n\n\
         [[account]]\nname = \"postmaster\"\npassword = [\"{}\", \"{}\"]\naddresses = [\"{}\"]\n",
        argon2id, scram, config.administrator,
    );
    if path.exists() {
        replace_whole(path, text.as_bytes()).with_context(failed)?;
    } else if let Err(error) = create_whole(path, text.as_bytes()) {
        // Another process has made the file meanwhile.
        if error.kind() == ErrorKind::AlreadyExists {
            return Ok(());
        }
        return Err(error).with_context(failed);
    }
    remark(format!(
        "first account  postmaster, password {password} (said only now; posthouse account passwd changes it)"
    ));
    Ok(())
}

fn random_password() -> String {
    (0..PASSWORD_LENGTH)
        .map(|_| char::from(ALPHABET[usize::from(rand::random::<u8>()) % ALPHABET.len()]))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use host_directory::FileDirectory;

    #[test]
    fn makes_valid_directory_once() {
        let dir = tempfile::tempdir().expect("folder");
        let text = format!(
            "administrator = 'postmaster@localhost'\ndata = '{}'",
            dir.path().join("a/b").display()
        );
        let config = Config::parse(&text, Path::new("/")).expect("right");
        make_directory(&config).expect("made");
        let first = std::fs::read(&config.directory).expect("reads");
        make_directory(&config).expect("kept");
        assert_eq!(std::fs::read(&config.directory).expect("reads"), first);
        fs::write(&config.directory, "").expect("emptied");
        make_directory(&config).expect("made again");
        let directory = FileDirectory::open(&config.directory, "/mail", config.administrator.clone()).expect("right");
        assert!(directory.accounts()[0].may_log_in);
    }

    #[test]
    fn passwords_differ() {
        assert_eq!(256 % ALPHABET.len(), 0, "every letter is as likely");
        assert_ne!(random_password(), random_password());
    }
}
