//! `posthouse try`: plays an SMTP session against the policies only, without network and spool.

mod play_session;
mod try_report;

use std::io::Read;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Context, anyhow, bail};
use bytes::Bytes;
use clap::Args;

use super::output;
use super::target::ConfigFile;
use crate::daemon;
use host_config::{Config, ConfigError, ListenerTls};
use host_directory::FileDirectory;
use host_events::Events;
use host_mail::{Client, Identity, Mailbox, ReversePath, TlsSession};
use host_policy::PolicyManager;
use play_session::Script;

#[derive(Debug, Args)]
pub struct TryArgs {
    /// IP address of the client
    client: IpAddr,
    /// Listener that the client connects to; without it the first listener
    #[arg(long, value_name = "NAME")]
    listener: Option<String>,
    /// Name in the client's EHLO
    #[arg(long, value_name = "NAME", default_value = "client.example")]
    helo: String,
    /// Play a client that uses TLS
    #[arg(long)]
    tls: bool,
    /// Account that the client has authenticated as
    #[arg(long, value_name = "ACCOUNT")]
    identity: Option<String>,
    /// Reverse-path; empty or <> is the null reverse-path
    #[arg(long, value_name = "ADDRESS", default_value = "")]
    sender: String,
    /// Forward-path; may be repeated
    #[arg(long = "recipient", value_name = "ADDRESS", required = true)]
    recipients: Vec<Mailbox>,
    /// File of the message, or - for stdin; without it only the envelope is tried
    #[arg(long, value_name = "FILE")]
    message: Option<PathBuf>,
    /// Print JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    config: ConfigFile,
}

pub async fn run(options: TryArgs) -> anyhow::Result<ExitCode> {
    let config = options.config.load()?;
    let directory = Arc::new(daemon::open_directory(&config).map_err(ConfigError)?);
    let script = script(&options, &config, &directory)?;
    let (events, captured) = Events::capture();
    let policies = PolicyManager::ephemeral(&config, directory.clone(), events)
        .await
        .map_err(ConfigError)?;
    let played = play_session::play(&policies, &directory, script, &captured).await?;
    if options.json {
        output::json(&played)?;
    } else {
        try_report::show(&played)?;
    }
    Ok(ExitCode::from(u8::from(!played.accepted)))
}

fn script(options: &TryArgs, config: &Config, directory: &FileDirectory) -> anyhow::Result<Script> {
    let listener = match &options.listener {
        None => config.listeners.first(),
        Some(name) => config.listeners.iter().find(|listener| listener.name == *name),
    };
    let listener = listener.cloned().ok_or_else(|| {
        let names: Vec<_> = config.listeners.iter().map(|listener| listener.name.as_str()).collect();
        anyhow!("--listener: there is no such listener; there are {}", names.join(", "))
    })?;
    let identity = options.identity.as_ref().map(|account| Identity {
        account: account.to_lowercase(),
        mechanism: "PLAIN".to_owned(),
    });
    if let Some(identity) = &identity
        && !directory
            .accounts()
            .iter()
            .any(|account| account.name == identity.account)
    {
        bail!(
            "--identity: there is no account {:?} in the directory",
            identity.account
        );
    }
    let tls = options.tls || listener.tls == ListenerTls::Implicit;
    Ok(Script {
        client: Client {
            helo: Some(options.helo.clone()),
            tls: tls.then(|| TlsSession {
                version: "TLSv1.3".to_owned(),
                cipher: "TLS_AES_256_GCM_SHA384".to_owned(),
                subject: None,
            }),
            identity,
            ..Client::new(&listener.name, (options.client, 50_000).into())
        },
        listener,
        sender: reverse_path(&options.sender)?,
        recipients: options.recipients.clone(),
        message: options.message.as_deref().map(read_message).transpose()?,
    })
}

fn reverse_path(text: &str) -> anyhow::Result<ReversePath> {
    let text = text
        .strip_prefix('<')
        .and_then(|rest| rest.strip_suffix('>'))
        .unwrap_or(text);
    if text.is_empty() {
        return Ok(ReversePath::Null);
    }
    text.parse()
        .map(ReversePath::Mailbox)
        .with_context(|| format!("--sender {text:?}"))
}

/// Reads the message and converts line ends to CRLF, as a client would send the message.
fn read_message(path: &Path) -> anyhow::Result<Bytes> {
    let mut bytes = Vec::new();
    if path == Path::new("-") {
        std::io::stdin()
            .lock()
            .read_to_end(&mut bytes)
            .context("the message on stdin")?;
    } else {
        bytes = std::fs::read(path).with_context(|| path.display().to_string())?;
    }
    Ok(with_crlf(&bytes).into())
}

fn with_crlf(bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(bytes.len() + bytes.len() / 32);
    for line in bytes.split_inclusive(|b| *b == b'\n') {
        match line.strip_suffix(b"\n") {
            None => out.extend_from_slice(line),
            Some(line) => out.extend_from_slice(line.strip_suffix(b"\r").unwrap_or(line)),
        }
        out.extend_from_slice(b"\r\n");
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn null_path_is_empty_or_angle_brackets() {
        assert_eq!(reverse_path("").expect("null"), ReversePath::Null);
        assert_eq!(reverse_path("<>").expect("null"), ReversePath::Null);
        let anna = ReversePath::Mailbox("anna@example.org".parse().expect("mailbox"));
        assert_eq!(reverse_path("<anna@example.org>").expect("path"), anna);
        assert_eq!(reverse_path("anna@example.org").expect("path"), anna);
        assert!(reverse_path("anna").is_err());
    }

    #[test]
    fn converts_line_ends_to_crlf_once() {
        assert_eq!(with_crlf(b"a\nb\r\nc"), b"a\r\nb\r\nc\r\n");
        assert_eq!(with_crlf(b""), b"");
    }
}
