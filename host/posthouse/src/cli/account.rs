//! `posthouse account`: edits the directory's file. A running daemon notices the change.

use std::io::BufRead;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, anyhow, bail};
use clap::{Args, Subcommand};
use serde_json::json;

use super::output::{self, line};
use super::target::ConfigFile;
use crate::daemon;
use host_directory::{EditError, NewAccount, add_account, set_password};
use host_events::escape;

/// Maximum length of a password in bytes.
const MAX_PASSWORD: u64 = 1024;

#[derive(Debug, Subcommand)]
pub enum AccountCommand {
    /// Add an account; prompts for the password
    ///
    /// Example: posthouse account add anna --address anna@example.org --send-as sales@example.org
    #[command(verbatim_doc_comment)]
    Add(AddAccountArgs),
    /// List accounts
    ///
    /// Example: posthouse account list --config posthouse.toml
    #[command(verbatim_doc_comment)]
    List(ListAccountsArgs),
    /// Change the password of an account; prompts for the password
    ///
    /// Example: posthouse account passwd anna
    #[command(verbatim_doc_comment)]
    Passwd(PasswdArgs),
}

/// The directory's file to edit.
#[derive(Debug, Args)]
struct DirectoryTarget {
    #[command(flatten)]
    config: ConfigFile,
    /// Directory file, instead of the configured one
    #[arg(long, value_name = "FILE")]
    directory: Option<PathBuf>,
}

impl DirectoryTarget {
    fn path(&self) -> anyhow::Result<PathBuf> {
        match &self.directory {
            Some(path) => Ok(path.clone()),
            None => Ok(self.config.load()?.directory),
        }
    }
}

#[derive(Debug, Args)]
pub struct AddAccountArgs {
    /// Login name
    name: String,
    /// Address of the account; may be repeated
    #[arg(long = "address", value_name = "ADDRESS", required = true)]
    addresses: Vec<String>,
    /// Further address or @domain that the account may send as; may be repeated
    #[arg(long = "send-as", value_name = "ADDRESS|@DOMAIN")]
    send_as: Vec<String>,
    /// Destination of the account's mail: here, lmtp:host:port, lmtp:/socket or smtp:host:port
    #[arg(long)]
    home: Option<String>,
    /// Add the account also if an address belongs to another account, alias or group already
    #[arg(long)]
    force: bool,
    /// Read the password from the first line of stdin
    #[arg(long, conflicts_with = "no_password")]
    password_stdin: bool,
    /// Add an account that cannot log in
    #[arg(long)]
    no_password: bool,
    #[command(flatten)]
    target: DirectoryTarget,
}

#[derive(Debug, Args)]
pub struct ListAccountsArgs {
    /// Print JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    target: DirectoryTarget,
}

#[derive(Debug, Args)]
pub struct PasswdArgs {
    /// Name of the account
    name: String,
    /// Read the password from the first line of stdin
    #[arg(long)]
    password_stdin: bool,
    #[command(flatten)]
    target: DirectoryTarget,
}

pub fn run(command: AccountCommand) -> anyhow::Result<ExitCode> {
    match command {
        AccountCommand::Add(options) => add(options)?,
        AccountCommand::List(options) => list(&options)?,
        AccountCommand::Passwd(options) => passwd(&options)?,
    }
    Ok(ExitCode::SUCCESS)
}

fn add(options: AddAccountArgs) -> anyhow::Result<()> {
    let path = options.target.path()?;
    let password = if options.no_password {
        None
    } else {
        Some(read_password(options.password_stdin)?)
    };
    let account = NewAccount {
        name: options.name,
        password,
        addresses: options.addresses,
        send_as: options.send_as,
        home: options.home,
        allow_taken: options.force,
    };
    add_account(&path, &account).map_err(|error| match error {
        EditError::Taken { .. } => anyhow!("{error}; give another address, or --force if you mean it"),
        error => anyhow::Error::from(error).context(path.display().to_string()),
    })?;
    Ok(line(format!("added {} to {}", escape(&account.name), path.display()))?)
}

fn passwd(options: &PasswdArgs) -> anyhow::Result<()> {
    let path = options.target.path()?;
    let password = read_password(options.password_stdin)?;
    set_password(&path, &options.name, &password).with_context(|| path.display().to_string())?;
    Ok(line(format!("{} has another password", escape(&options.name)))?)
}

fn list(options: &ListAccountsArgs) -> anyhow::Result<()> {
    let mut config = options.target.config.load()?;
    config.directory = options.target.path()?;
    let directory = daemon::open_directory(&config).map_err(host_config::ConfigError)?;
    let accounts = directory.accounts();
    if options.json {
        let accounts: Vec<_> = accounts
            .iter()
            .map(|account| {
                json!({
                    "name": account.name,
                    "addresses": account.addresses,
                    "home": account.home.to_string(),
                    "may-log-in": account.may_log_in,
                })
            })
            .collect();
        return output::json(&accounts);
    }
    let rows: Vec<_> = accounts
        .iter()
        .map(|account| {
            let addresses: Vec<_> = account
                .addresses
                .iter()
                .map(|address| escape(address.as_str()))
                .collect();
            vec![
                account.name.clone(),
                if account.may_log_in { "yes" } else { "no" }.to_owned(),
                escape(&account.home.to_string()),
                addresses.join(" "),
            ]
        })
        .collect();
    Ok(output::table(&["NAME", "LOGS IN", "HOME", "ADDRESSES"], &rows)?)
}

/// Reads the password from the first line of stdin, or twice from the terminal.
fn read_password(from_stdin: bool) -> anyhow::Result<String> {
    if from_stdin {
        return first_line(std::io::stdin().lock());
    }
    let password = rpassword::prompt_password("Password: ").context("no terminal to ask; use --password-stdin")?;
    if rpassword::prompt_password("Once more: ")? != password {
        bail!("the two are not the same");
    }
    Ok(password)
}

fn first_line(input: impl BufRead) -> anyhow::Result<String> {
    let mut text = String::new();
    input
        .take(MAX_PASSWORD + 2)
        .read_line(&mut text)
        .context("the password on stdin")?;
    let password = text.trim_end_matches(['\r', '\n']);
    if password.len() as u64 > MAX_PASSWORD {
        bail!("a password has at most {MAX_PASSWORD} bytes");
    }
    if password.is_empty() {
        bail!("there is no password on stdin");
    }
    Ok(password.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_password_from_first_line() {
        assert_eq!(first_line(&b"tea at five\nrest"[..]).expect("password"), "tea at five");
        assert_eq!(first_line(&b"tea\r\n"[..]).expect("password"), "tea");
        assert_eq!(first_line(&b"no line end "[..]).expect("password"), "no line end ");
        assert!(first_line(&b"\nx"[..]).is_err());
        assert!(first_line(&b""[..]).is_err());
        assert!(first_line(&b"\xff\xfe\n"[..]).is_err());
        assert!(first_line("x".repeat(2000).as_bytes()).is_err());
    }
}
