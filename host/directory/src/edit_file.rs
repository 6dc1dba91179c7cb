//! Edits of the directory file. An edit is atomic and preserves all other content, including comments and order.

use std::fs::{self, File};
use std::io;
use std::path::Path;

use toml::Value;
use toml::de::{DeTable, DeValue};

use super::password::password_verifiers;
use crate::directory_table::DirectoryTable;
use host_config::toml_reader::Problem;
use host_files::replace_whole_shared;

/// Reason why the file was not changed.
#[derive(Debug, thiserror::Error)]
pub enum EditError {
    /// The file could not be read or written.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// The account does not exist.
    #[error("there is no account {0:?}")]
    NoAccount(String),
    /// An address or the name of a new account belongs to another entry.
    #[error("{address} is taken already, {owners}: mail for an address with two meanings is refused")]
    Taken {
        /// Address as given.
        address: String,
        /// Meanings of the address, such as `account anna`.
        owners: String,
    },
    /// The password could not be hashed.
    #[error(transparent)]
    Password(#[from] super::PasswordError),
    /// The file, before or after the edit, is not a valid directory.
    #[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))]
    Problems(Vec<Problem>),
}

/// Settings of a new account, unchecked.
#[derive(Debug, Clone, Default)]
pub struct NewAccount {
    /// Name of the account.
    pub name: String,
    /// Password in clear text; an account without a password cannot log in.
    pub password: Option<String>,
    /// Addresses that the account owns.
    pub addresses: Vec<String>,
    /// Further addresses, or `@domain` for all of a domain, that the account may use as originator.
    pub send_as: Vec<String>,
    /// Home as written in the file; `None` is `here`.
    pub home: Option<String>,
    /// Allows addresses that belong to other entries.
    pub allow_taken: bool,
}

/// Appends an account to the file. The password is hashed; invalid settings leave the file unchanged.
///
/// # Errors
/// [`EditError::Taken`] if an address, in any spelling, or the name belongs to another account, alias or group.
pub fn add_account(path: &Path, account: &NewAccount) -> Result<(), EditError> {
    let mut block = format!("\n[[account]]\nname = {}\n", quoted(&account.name));
    if let Some(password) = &account.password {
        block += &format!("password = {}\n", list(&password_verifiers(password)?));
    }
    block += &format!("addresses = {}\n", list(&account.addresses));
    if !account.send_as.is_empty() {
        block += &format!("send-as = {}\n", list(&account.send_as));
    }
    if let Some(home) = &account.home {
        block += &format!("home = {}\n", quoted(home));
    }
    change(path, |text| {
        if !account.allow_taken {
            check_taken(text, account)?;
        }
        let line_end = if text.is_empty() || text.ends_with('\n') {
            ""
        } else {
            "\n"
        };
        Ok(format!("{text}{line_end}{block}"))
    })
}

fn check_taken(text: &str, account: &NewAccount) -> Result<(), EditError> {
    let table = DirectoryTable::parse(text, Path::new("")).map_err(EditError::Problems)?;
    // The name of an account is also a login, which takes precedence over an equal address.
    for address in account.addresses.iter().chain([&account.name]) {
        let owners = address
            .parse()
            .map_or_else(|_| Vec::new(), |mailbox| table.exact(&mailbox).to_vec());
        if !owners.is_empty() {
            let owners: Vec<String> = owners.iter().map(ToString::to_string).collect();
            return Err(EditError::Taken {
                address: address.clone(),
                owners: owners.join(", "),
            });
        }
    }
    Ok(())
}

/// Sets the password of an account, whose name is compared without regard to case.
pub fn set_password(path: &Path, name: &str, password: &str) -> Result<(), EditError> {
    let hash = list(&password_verifiers(password)?);
    let name = name.to_lowercase();
    change(path, |text| {
        let document = DeTable::parse(text)
            .map_err(|error| EditError::Problems(vec![Problem::new("", error.message().to_owned())]))?;
        let accounts = match document.get_ref().get("account").map(toml::Spanned::get_ref) {
            Some(DeValue::Array(accounts)) => Some(accounts),
            _ => None,
        };
        let accounts = accounts.into_iter().flat_map(|accounts| accounts.iter());
        for account in accounts.filter_map(|account| account.get_ref().as_table()) {
            let Some(found) = account.get("name") else { continue };
            if found.get_ref().as_str().map(str::to_lowercase) != Some(name.clone()) {
                continue;
            }
            let (span, new) = match account.get("password") {
                Some(old) => (old.span(), hash.clone()),
                None => (found.span().end..found.span().end, format!("\npassword = {hash}")),
            };
            let mut out = text.to_owned();
            out.replace_range(span, &new);
            return Ok(out);
        }
        Err(EditError::NoAccount(name.clone()))
    })
}

/// Applies `edit` to the file under an exclusive lock, checks the result, and replaces the file atomically: readers see
/// either the old or the new file, also after a crash.
fn change(path: &Path, edit: impl FnOnce(&str) -> Result<String, EditError>) -> Result<(), EditError> {
    // A symbolic link is preserved: the target of the link is replaced.
    let path = fs::canonicalize(path)?;
    let folder = File::open(path.parent().unwrap_or(Path::new("/")))?;
    rustix::fs::flock(&folder, rustix::fs::FlockOperation::LockExclusive).map_err(io::Error::from)?;

    let text = edit(&fs::read_to_string(&path)?)?;
    DirectoryTable::parse(&text, Path::new("")).map_err(EditError::Problems)?;

    Ok(replace_whole_shared(&path, text.as_bytes())?)
}

fn quoted(text: &str) -> String {
    Value::String(text.to_owned()).to_string()
}

fn list(items: &[String]) -> String {
    Value::Array(items.iter().cloned().map(Value::String).collect()).to_string()
}
