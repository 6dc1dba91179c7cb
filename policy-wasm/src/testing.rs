//! Clients, directories and headers for tests.

use std::cell::Cell;

use crate::directory_questions::Directory;
use crate::header_source::HeaderSource;
use crate::objections::reply;
use crate::settings::Settings;
use posthouse_policy::{Client, Envelope, FailedRecipient, Failure, Identity, ReversePath};
use posthouse_policy::{Entry, Home, NoAnswer};

pub fn settings(json: &str) -> Settings {
    Settings::parse(json).expect(json)
}

pub fn from(address: &str) -> ReversePath {
    ReversePath::Mailbox(address.to_owned())
}

/// Returns a client that has just connected to the listener `test`.
pub fn client_from(address: &str) -> Client {
    Client {
        listener: "test".to_owned(),
        address: address.to_owned(),
        port: 40_000,
        name: None,
        helo: None,
        tls: None,
        identity: None,
        exemptions: vec![],
    }
}

pub fn exempt(address: &str, exemptions: &[&str]) -> Client {
    Client {
        exemptions: exemptions.iter().map(|&name| name.to_owned()).collect(),
        ..client_from(address)
    }
}

pub fn authenticated(account: &str) -> Client {
    let identity = Identity {
        account: account.to_owned(),
        mechanism: "PLAIN".to_owned(),
    };
    Client {
        identity: Some(identity),
        ..client_from("192.0.2.1")
    }
}

/// Returns the failure of a remote recipient of a message from `anna@example.org`.
pub fn failure(class: &str) -> Failure {
    Failure {
        class: class.to_owned(),
        envelope: Envelope {
            sender: from("anna@example.org"),
            recipients: vec!["x@example.net".to_owned()],
        },
        failed: vec![FailedRecipient {
            address: "x@example.net".to_owned(),
            reply: reply(550, (5, 1, 1), "No such user"),
            remote: None,
        }],
        identity: None,
        client_address: Some("192.0.2.1".to_owned()),
        exemptions: vec![],
        automatic: false,
        headers: vec![],
    }
}

/// A directory in memory.
#[derive(Default)]
pub struct FakeDirectory {
    domains: Vec<String>,
    entries: Vec<Entry>,
    /// Accounts with the domains that the account may send as, each `@domain`.
    send_as: Vec<(String, String)>,
    unavailable: bool,
    questions: Cell<usize>,
}

impl FakeDirectory {
    pub fn new(domains: &[&str]) -> Self {
        Self {
            domains: domains.iter().map(|&domain| domain.to_owned()).collect(),
            ..Self::default()
        }
    }

    pub fn account(self, account: &str, address: &str) -> Self {
        self.entry(Some(account), address, Home::Here)
    }

    pub fn may_send_as(mut self, account: &str, domain: &str) -> Self {
        self.send_as.push((account.to_owned(), domain.to_owned()));
        self
    }

    pub fn elsewhere(self, address: &str) -> Self {
        self.entry(
            Some("elsewhere"),
            address,
            Home::Elsewhere("mail.example.org:25".to_owned()),
        )
    }

    pub fn unavailable(mut self) -> Self {
        self.unavailable = true;
        self
    }

    /// Returns the number of questions so far.
    pub fn questions(&self) -> usize {
        self.questions.get()
    }

    fn entry(mut self, account: Option<&str>, address: &str, home: Home) -> Self {
        self.entries.push(Entry {
            account: account.map(str::to_owned),
            address: address.to_owned(),
            home,
            kind: "account".to_owned(),
        });
        self
    }

    fn answer<T>(&self, answer: T) -> Result<T, NoAnswer> {
        self.questions.set(self.questions.get() + 1);
        if self.unavailable {
            return Err(NoAnswer::Unavailable("test".to_owned()));
        }
        Ok(answer)
    }
}

impl Directory for FakeDirectory {
    fn lookup(&self, address: &str) -> Result<Vec<Entry>, NoAnswer> {
        let entries = self
            .entries
            .iter()
            .filter(|entry| entry.address.eq_ignore_ascii_case(address));
        self.answer(entries.cloned().collect())
    }

    fn may_send_as(&self, account: &str, address: &str) -> Result<bool, NoAnswer> {
        let entries = self.lookup(address)?;
        let owns = entries.iter().any(|entry| entry.account.as_deref() == Some(account));
        Ok(owns
            || self
                .send_as
                .iter()
                .any(|(of, domain)| of == account && address.ends_with(domain.as_str())))
    }

    fn is_local_domain(&self, domain: &str) -> Result<bool, NoAnswer> {
        self.answer(self.domains.iter().any(|local| local.eq_ignore_ascii_case(domain)))
    }
}

/// A message of which only the header exists.
pub struct FakeHeader {
    header: String,
    whole: bool,
}

impl FakeHeader {
    pub fn new(header: &str) -> Self {
        Self {
            header: header.to_owned(),
            whole: true,
        }
    }

    /// Makes a header of which only the beginning can be read.
    pub fn cut(header: &str) -> Self {
        Self {
            whole: false,
            ..Self::new(header)
        }
    }
}

impl HeaderSource for FakeHeader {
    fn whole_header(&self) -> Option<Vec<u8>> {
        self.whole.then(|| self.header.clone().into_bytes())
    }
}
