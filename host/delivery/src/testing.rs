//! Fakes and fixtures for the tests of this crate.

mod server;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::{BoxFuture, FutureExt, ready};
use parking_lot::Mutex;

use host_config::{DeliveryConfig, DnsConfig, TlsLevel};
use host_directory::{Directory, Entry, Home, Login, LookupError, Target};
use host_events::Event;
use host_mail::{Envelope, Mailbox, MessageId, ReversePath, Timestamp};
use host_spool::{Message, Recipient, State};

use crate::client_tls;
use crate::delivery_services::{DeliveryServices, EmitEvent, Settings};

pub(super) use server::{Act, FakeServer, greets, roots, say, takes};

pub(super) fn mailbox(text: &str) -> Mailbox {
    text.parse().expect("an address")
}

/// A configuration without routes and with short waits.
pub(super) fn delivery() -> DeliveryConfig {
    DeliveryConfig {
        smart_host: Vec::new(),
        logins: Vec::new(),
        routes: Vec::new(),
        retry: vec![Duration::from_secs(60)],
        expire: Duration::from_secs(3600),
        delay_notice: None,
        concurrency: 10,
        connections: 100,
        per_destination: 2,
        connect_timeout: Duration::from_secs(5),
        reply_timeout: Duration::from_secs(5),
        tls: TlsLevel::May,
        hops: Vec::new(),
        private_exchanges: vec!["127.0.0.0/8".parse().expect("a network")],
        tls_reports: None,
    }
}

/// A message from `sender@far.example` to `recipients`.
pub(super) fn message(recipients: &[&str]) -> Message {
    let recipients: Vec<Mailbox> = recipients.iter().map(|r| mailbox(r)).collect();
    let mut envelope = Envelope::from_sender(ReversePath::Mailbox(mailbox("sender@far.example")));
    envelope.recipients.clone_from(&recipients);
    Message {
        id: MessageId::generate(),
        received: Timestamp(0),
        envelope,
        client: None,
        size: 0,
        state: State::Queued,
        recipients: recipients.into_iter().map(Recipient::pending).collect(),
        attempts: 0,
        due: Timestamp(0),
        expires: Timestamp(u64::MAX),
        notification: false,
        faults: 0,
        delay_reported: false,
        successes: Vec::new(),
    }
}

/// A directory with `here.example` as the local domain.
#[derive(Default)]
pub(super) struct FakeDirectory {
    entries: BTreeMap<String, Vec<Entry>>,
    /// Address whose lookups fail as unavailable.
    pub(super) unavailable: Option<String>,
}

impl FakeDirectory {
    pub(super) fn account(self, address: &str, maildir: &str) -> Self {
        self.home(address, Home::Maildir(maildir.into()))
    }

    pub(super) fn home(self, address: &str, home: Home) -> Self {
        let account = address.to_owned();
        self.entry(address, Target::Account { account, home })
    }

    pub(super) fn alias(self, address: &str, members: &[&str]) -> Self {
        self.entry(address, Target::Alias(members.iter().map(|m| mailbox(m)).collect()))
    }

    fn entry(mut self, address: &str, target: Target) -> Self {
        let address = mailbox(address);
        let entry = Entry {
            address: address.clone(),
            target,
        };
        self.entries.entry(address.key()).or_default().push(entry);
        self
    }
}

impl Directory for FakeDirectory {
    fn is_member<'a>(&'a self, _: &'a Mailbox, _: &'a Mailbox) -> BoxFuture<'a, Result<bool, LookupError>> {
        async { Ok(false) }.boxed()
    }

    fn lookup<'a>(&'a self, address: &'a Mailbox) -> BoxFuture<'a, Result<Vec<Entry>, LookupError>> {
        if self.unavailable.as_deref() == Some(address.as_str()) {
            return ready(Err(LookupError::Unavailable("away".to_owned()))).boxed();
        }
        ready(Ok(self.entries.get(&address.key()).cloned().unwrap_or_default())).boxed()
    }

    fn may_send_as<'a>(&'a self, _: &'a str, _: &'a Mailbox) -> BoxFuture<'a, Result<bool, LookupError>> {
        ready(Ok(false)).boxed()
    }

    fn is_local_domain<'a>(&'a self, domain: &'a str) -> BoxFuture<'a, Result<bool, LookupError>> {
        ready(Ok(domain == "here.example")).boxed()
    }

    fn authenticate<'a>(&'a self, _: Login<'a>) -> BoxFuture<'a, Result<Option<String>, LookupError>> {
        ready(Ok(None)).boxed()
    }
}

/// Events that were emitted.
#[derive(Clone, Default)]
pub(super) struct RecordedEvents(Arc<Mutex<Vec<Event>>>);

impl RecordedEvents {
    pub(super) fn emitter(&self) -> EmitEvent {
        let recorded = self.0.clone();
        Arc::new(move |event| recorded.lock().push(event))
    }

    pub(super) fn ids(&self) -> Vec<u32> {
        self.0.lock().iter().map(|e| e.entry().id).collect()
    }
}

/// Services with `directory`, and the events emitted by the services.
pub(super) fn services(directory: FakeDirectory) -> (DeliveryServices, RecordedEvents) {
    let recorded = RecordedEvents::default();
    let tls = client_tls::Tls::new(Vec::new()).expect("TLS");
    (
        DeliveryServices::new(Arc::new(directory), DnsConfig::default(), recorded.emitter(), tls, 100),
        recorded,
    )
}

pub(super) fn settings<'a>(delivery: &'a DeliveryConfig, mailboxes: &'a Path) -> Settings<'a> {
    Settings {
        hostname: "mx.here.example",
        mailboxes,
        listeners: &[],
        delivery,
        hops: 3,
        fault_limit: 3,
    }
}
