//! A case: client, envelope, message, failure and expectations.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use serde::{Deserialize, Deserializer};

use crate::case_decision::Reply;
use crate::case_message::Message;
use crate::case_text::{parsed, settings, text_or_table, time};
use crate::expect::Expect;

/// A case of a file.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Case {
    /// Name of the case, unique in the file.
    pub name: String,
    /// Number of the line at which the case begins, counted from 1.
    #[serde(skip)]
    pub line: usize,
    /// Replacement for the file's settings.
    #[serde(default, deserialize_with = "settings")]
    pub settings: Option<serde_json::Value>,
    /// Replacement for the file's time, in seconds since 1970.
    #[serde(default, deserialize_with = "time")]
    pub now: Option<u64>,
    /// Counters in addition to the file's counters; equal keys override.
    #[serde(default)]
    pub counters: BTreeMap<String, u64>,
    /// Services that are unavailable in this case.
    #[serde(default)]
    pub unavailable: Vec<Service>,
    /// Results of verification, each as `METHOD OUTCOME DOMAIN DETAIL`.
    #[serde(default)]
    pub findings: Vec<Finding>,
    #[serde(default, rename = "client")]
    client_keys: Option<ClientKeys>,
    /// The client, completed with the file's keys and with defaults; `None` for a case that is only a failure.
    #[serde(skip)]
    pub client: Option<Client>,
    /// The argument of MAIL.
    #[serde(default)]
    pub sender: Option<ReversePath>,
    #[serde(default)]
    recipient: Option<String>,
    /// The argument of each RCPT.
    #[serde(default)]
    pub recipients: Vec<String>,
    #[serde(default, rename = "message")]
    inline: Option<String>,
    #[serde(default)]
    message_file: Option<PathBuf>,
    /// The message that is sent after DATA.
    #[serde(skip)]
    pub message: Option<Message>,
    /// Mail that could not be delivered.
    #[serde(default)]
    pub failure: Option<Failure>,
    /// Expected answers.
    #[serde(default)]
    pub expect: Expect,
}

/// A service that a case can make unavailable.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[allow(missing_docs)] // wit/policy.wit says it
pub enum Service {
    Directory,
    Dns,
    Counters,
}

/// The client of a case, with all defaults.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Client {
    /// `smtp` unless the case says otherwise.
    pub listener: String,
    /// `192.0.2.1` unless the case says otherwise.
    pub address: String,
    /// 40000 unless the case says otherwise.
    pub port: u16,
    /// Forward-confirmed name.
    pub name: Option<String>,
    /// Argument of EHLO.
    pub helo: Option<String>,
    /// The TLS session.
    pub tls: Option<Tls>,
    /// Identity of an authenticated client.
    pub identity: Option<Identity>,
    /// Exemptions; `None` for the exemptions that `admit` grants.
    pub exemptions: Option<Vec<String>>,
}

/// Keys of a client as written. Absent keys come from the file's `[client]`, then from the defaults.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct ClientKeys {
    listener: Option<String>,
    #[serde(deserialize_with = "address")]
    address: Option<String>,
    port: Option<u16>,
    name: Option<String>,
    helo: Option<String>,
    tls: Option<Tls>,
    identity: Option<Identity>,
    exemptions: Option<Vec<String>>,
}

fn address<'de, D: Deserializer<'de>>(input: D) -> Result<Option<String>, D::Error> {
    let text = String::deserialize(input)?;
    let address: std::net::IpAddr = text
        .parse()
        .map_err(|_| serde::de::Error::custom(format!("{text:?} is no IP address")))?;
    Ok(Some(address.to_canonical().to_string()))
}

impl ClientKeys {
    fn complete(self, shared: Option<&Self>) -> Client {
        let shared = shared.cloned().unwrap_or_default();
        Client {
            listener: self.listener.or(shared.listener).unwrap_or_else(|| "smtp".to_owned()),
            address: self
                .address
                .or(shared.address)
                .unwrap_or_else(|| "192.0.2.1".to_owned()),
            port: self.port.or(shared.port).unwrap_or(40_000),
            name: self.name.or(shared.name),
            helo: self.helo.or(shared.helo),
            tls: self.tls.or(shared.tls),
            identity: self.identity.or(shared.identity),
            exemptions: self.exemptions.or(shared.exemptions),
        }
    }
}

/// A TLS session. Can be written as the version alone.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs)] // wit/policy.wit says it
pub struct Tls {
    pub version: String,
    pub cipher: String,
    pub subject: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct TlsKeys {
    version: Option<String>,
    cipher: Option<String>,
    subject: Option<String>,
}

impl FromStr for TlsKeys {
    type Err = String;

    fn from_str(version: &str) -> Result<Self, String> {
        Ok(Self {
            version: Some(version.to_owned()),
            cipher: None,
            subject: None,
        })
    }
}

impl<'de> Deserialize<'de> for Tls {
    fn deserialize<D: Deserializer<'de>>(input: D) -> Result<Self, D::Error> {
        let keys: TlsKeys = text_or_table(input)?;
        Ok(Self {
            version: keys.version.unwrap_or_else(|| "TLSv1.3".to_owned()),
            cipher: keys.cipher.unwrap_or_else(|| "TLS_AES_128_GCM_SHA256".to_owned()),
            subject: keys.subject,
        })
    }
}

/// Identity of an authenticated client. Can be written as the account alone.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct Identity {
    pub account: String,
    pub mechanism: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct IdentityKeys {
    account: String,
    mechanism: Option<String>,
}

impl FromStr for IdentityKeys {
    type Err = String;

    fn from_str(account: &str) -> Result<Self, String> {
        Ok(Self {
            account: account.to_owned(),
            mechanism: None,
        })
    }
}

impl<'de> Deserialize<'de> for Identity {
    fn deserialize<D: Deserializer<'de>>(input: D) -> Result<Self, D::Error> {
        let keys: IdentityKeys = text_or_table(input)?;
        Ok(Self {
            account: keys.account,
            mechanism: keys.mechanism.unwrap_or_else(|| "PLAIN".to_owned()),
        })
    }
}

/// A reverse-path, written as the address, or as `<>` for the null reverse-path.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum ReversePath {
    Null,
    Mailbox(String),
}

impl<'de> Deserialize<'de> for ReversePath {
    fn deserialize<D: Deserializer<'de>>(input: D) -> Result<Self, D::Error> {
        let text = String::deserialize(input)?;
        if matches!(text.as_str(), "" | "<>") {
            return Ok(Self::Null);
        }
        match text.rsplit_once('@') {
            Some((local, domain)) if !local.is_empty() && !domain.is_empty() => {
                Ok(Self::Mailbox(format!("{local}@{}", domain.to_lowercase())))
            }
            _ => Err(serde::de::Error::custom(format!(
                "{text:?} is no reverse-path: expected an address, or <>"
            ))),
        }
    }
}

impl fmt::Display for ReversePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Null => f.write_str("<>"),
            Self::Mailbox(address) => f.write_str(address),
        }
    }
}

/// A result of verification, written as in `dkim pass example.org` or `spf fail example.org -all`.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs)] // wit/policy.wit says it
pub struct Finding {
    pub method: String,
    pub outcome: String,
    pub domain: Option<String>,
    pub detail: Option<String>,
}

impl FromStr for Finding {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut words = text.splitn(4, ' ').map(str::to_owned);
        let (Some(method), Some(outcome)) = (words.next(), words.next()) else {
            return Err(format!(
                "{text:?} is no finding: expected one such as \"dkim pass example.org\""
            ));
        };
        Ok(Self {
            method,
            outcome,
            domain: words.next(),
            detail: words.next(),
        })
    }
}

impl<'de> Deserialize<'de> for Finding {
    fn deserialize<D: Deserializer<'de>>(input: D) -> Result<Self, D::Error> {
        parsed(input)
    }
}

/// Mail that could not be delivered.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Failure {
    /// Class of the failure, such as `address-not-found`.
    pub class: String,
    /// Reverse-path of the original message.
    pub sender: ReversePath,
    /// Recipients of the original message. The default is the failed recipients.
    #[serde(default)]
    pub recipients: Vec<String>,
    /// Failed recipients, each as `ADDRESS: REPLY` or `ADDRESS at HOST: REPLY`.
    pub failed: Vec<FailedRecipient>,
    /// Identity of the submitter of the original message.
    #[serde(default)]
    pub identity: Option<Identity>,
    /// Address of the submitting client.
    #[serde(default)]
    pub client_address: Option<String>,
    /// Exemptions of the submitting client.
    #[serde(default)]
    pub exemptions: Vec<String>,
    /// True if the original message is automatic.
    #[serde(default)]
    pub automatic: bool,
    /// Header fields of the original message, each as `NAME: VALUE`.
    #[serde(default)]
    pub headers: Vec<Field>,
}

/// A header field.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Field {
    /// Name, the part before the colon.
    pub name: String,
    /// Value, the part after the colon.
    pub value: String,
}

impl FromStr for Field {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.split_once(':') {
            Some((name, value)) if !name.trim().is_empty() => Ok(Self {
                name: name.trim().to_owned(),
                value: value.trim().to_owned(),
            }),
            _ => Err(format!("{text:?} is no header field: expected NAME: VALUE")),
        }
    }
}

impl<'de> Deserialize<'de> for Field {
    fn deserialize<D: Deserializer<'de>>(input: D) -> Result<Self, D::Error> {
        parsed(input)
    }
}

/// A recipient that will not get the message.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs)] // wit/policy.wit says it
pub struct FailedRecipient {
    pub address: String,
    pub reply: Reply,
    pub remote: Option<String>,
}

impl FromStr for FailedRecipient {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (address, reply) = text
            .split_once(": ")
            .ok_or_else(|| format!("{text:?}: expected one such as \"x@example.net: 550 5.1.1 No such user\""))?;
        let (address, remote) = match address.split_once(" at ") {
            Some((address, remote)) => (address, Some(remote.to_owned())),
            None => (address, None),
        };
        Ok(Self {
            address: address.to_owned(),
            reply: reply.parse()?,
            remote,
        })
    }
}

impl<'de> Deserialize<'de> for FailedRecipient {
    fn deserialize<D: Deserializer<'de>>(input: D) -> Result<Self, D::Error> {
        parsed(input)
    }
}

impl Case {
    /// True if the case has a connection, not only a failure.
    fn connects(&self) -> bool {
        self.client_keys.is_some() || self.sender.is_some() || self.failure.is_none()
    }

    /// Completes the case with the keys that all cases of a file share.
    pub(crate) fn apply_shared(&mut self, shared: Option<&ClientKeys>) {
        if self.connects() {
            self.client = Some(self.client_keys.take().unwrap_or_default().complete(shared));
        }
        self.recipients.splice(0..0, self.recipient.take());
        if let Some(failure) = &mut self.failure
            && failure.recipients.is_empty()
        {
            failure.recipients = failure.failed.iter().map(|failed| failed.address.clone()).collect();
        }
    }

    /// Checks the constraints between keys. The error is a key and the description of the mistake.
    pub(crate) fn check(&self) -> Result<(), (&'static str, String)> {
        let has_message = self.inline.is_some() || self.message_file.is_some();
        let expect = &self.expect;
        if self.sender.is_none() && (!self.recipients.is_empty() || has_message) {
            return Err(("sender", "is missing: a transaction begins with its sender".to_owned()));
        }
        if has_message && self.recipients.is_empty() {
            return Err(("recipients", "is missing: a message has recipients".to_owned()));
        }
        if self.inline.is_some() && self.message_file.is_some() {
            return Err(("message", "there is a message-file too".to_owned()));
        }
        if let Some(failure) = &self.failure
            && failure.failed.is_empty()
        {
            return Err(("failure.failed", "is empty: at least one recipient failed".to_owned()));
        }
        if let Some(address) = expect
            .recipients
            .keys()
            .find(|address| !self.recipients.contains(address))
        {
            return Err(("expect.recipients", format!("{address} is no recipient of this case")));
        }
        if expect.recipient.is_some() && self.recipients.len() != 1 {
            return Err((
                "expect.recipient",
                "is for one recipient; use expect.recipients".to_owned(),
            ));
        }
        let unasked = [
            (
                "expect.admit",
                expect.admit.is_some() && self.client.is_none(),
                "client",
            ),
            (
                "expect.sender",
                expect.sender.is_some() && self.sender.is_none(),
                "sender",
            ),
            ("expect.message", expect.message.is_some() && !has_message, "message"),
            ("expect.ndr", expect.ndr.is_some() && self.failure.is_none(), "failure"),
        ];
        match unasked.into_iter().find(|(_, wrong, _)| *wrong) {
            Some((key, _, missing)) => Err((key, format!("the case has no {missing}"))),
            None => Ok(()),
        }
    }

    /// Reads the message of the case; the name of a message file is relative to `folder`.
    pub(crate) fn read_message(&mut self, folder: &Path) -> Result<(), String> {
        if let Some(text) = self.inline.take() {
            self.message = Some(Message::new(text.as_bytes()));
        }
        if let Some(file) = self.message_file.take() {
            let file = folder.join(file);
            let bytes = std::fs::read(&file).map_err(|error| format!("{}: {error}", file.display()))?;
            self.message = Some(Message::new(&bytes));
        }
        Ok(())
    }
}
