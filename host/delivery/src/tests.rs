//! Tests of `run` with a real spool, as seen by an operator.

use std::time::Duration;

use futures_util::future::{BoxFuture, FutureExt};

use super::testing::{Act, FakeDirectory, FakeServer, greets, mailbox, message, takes};
use super::*;
use host_directory::{Entry, Login, LookupError};
use host_events::Captured;
use host_mail::{Mailbox, Timestamp};
use host_spool::{ListFilter, Message, SpoolOptions};
use host_testing::NoPolicy;

/// Limit of a wait for a condition, long enough for slow machines.
const LONG: Duration = Duration::from_secs(60);

struct Host {
    folder: tempfile::TempDir,
    context: DeliveryContext,
    captured: Captured,
}

impl Host {
    async fn new(directory: impl Directory + 'static, settings: &str) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let text = format!(
            "hostname = \"mx.here.example\"\nadministrator = \"root@here.example\"\nmailboxes = \"mail\"\ndata = \"data\"\n{settings}"
        );
        let mut config = Config::parse(&text, folder.path()).expect("a configuration");
        config.policies.clear();
        let (events, captured) = Events::capture();
        let directory: Arc<dyn Directory> = Arc::new(directory);
        let spool = folder.path().join("spool");
        let spool = Spool::open(&spool, SpoolOptions::default(), events.clone()).expect("a spool");
        let ndr = NdrService {
            policies: Arc::new(NoPolicy),
            spool: spool.clone(),
            events: events.clone(),
            hostname: config.hostname.clone(),
            administrator: config.administrator.clone(),
        };
        let context = DeliveryContext {
            config: Arc::new(arc_swap::ArcSwap::from_pointee(config)),
            directory,
            signers: Arc::default(),
            spool,
            ndr,
            events,
            connections: 100,
        };
        Self {
            folder,
            context,
            captured,
        }
    }

    async fn put(&self, recipients: &[&str]) {
        let mut draft = self.context.spool.draft().expect("room");
        draft.write(b"Subject: x\r\n\r\nbody\r\n").await.expect("written");
        let message = Message {
            id: draft.id(),
            received: host_mail::Timestamp::now(),
            ..message(recipients)
        };
        draft.commit(message).await.expect("put");
    }

    /// Runs until the spool meets the condition, then stops. Returns the number of messages given back.
    async fn run_until(&self, condition: impl Fn(&[Message]) -> bool) -> u64 {
        let (stop, stopped) = watch::channel(false);
        let running = tokio::spawn(run(self.context.clone(), stopped));
        let waiting = async {
            while !condition(&self.messages()) {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(LONG, waiting).await.expect("the condition is met");
        stop.send_replace(true);
        running.await.expect("no panic")
    }

    fn messages(&self) -> Vec<Message> {
        let filter = ListFilter {
            limit: 1000,
            ..ListFilter::default()
        };
        self.context.spool.list(&filter).expect("a list").messages
    }

    fn delivered(&self, maildir: &str) -> usize {
        let new = self.folder.path().join("mail").join(maildir).join("new");
        std::fs::read_dir(new).map_or(0, Iterator::count)
    }
}

#[tokio::test]
async fn delivers_every_message_in_the_spool() {
    let directory = FakeDirectory::default().account("anna@here.example", "anna");
    let host = Host::new(directory, "").await;
    for _ in 0..50 {
        host.put(&["anna@here.example"]).await;
    }
    assert_eq!(host.run_until(<[_]>::is_empty).await, 0);
    assert_eq!(host.delivered("anna"), 50);
    assert_eq!(host.captured.ids().iter().filter(|id| **id == 5007).count(), 50);
}

#[tokio::test]
async fn many_messages_share_a_connection() {
    let everything = [greets(&["PIPELINING"]), (0..30).flat_map(|_| takes()).collect()].concat();
    let server = FakeServer::tcp(vec![everything]).await;
    let settings = format!("[delivery]\nsmart-host = \"{}\"\nper-destination = 1", server.endpoint);
    let host = Host::new(FakeDirectory::default(), &settings).await;
    for _ in 0..30 {
        host.put(&["x@far.example"]).await;
    }
    assert_eq!(host.run_until(<[_]>::is_empty).await, 0);
    let heard = server.heard().await;
    assert_eq!((heard.matches("EHLO").count(), heard.matches("DATA").count()), (1, 30));
}

#[tokio::test]
async fn deferred_message_is_retried() {
    let refuses = [
        greets(&[]),
        vec![Act::Hear("MAIL"), Act::Say("451 4.3.0 later\r\n".to_owned())],
    ]
    .concat();
    let server = FakeServer::tcp(vec![refuses, [greets(&[]), takes()].concat()]).await;
    let settings = format!("[delivery]\nsmart-host = \"{}\"\nretry = [\"1s\"]", server.endpoint);
    let host = Host::new(FakeDirectory::default(), &settings).await;
    host.put(&["x@far.example"]).await;
    assert_eq!(host.run_until(<[_]>::is_empty).await, 0);
    assert_eq!(host.captured.ids(), [2000, 5007]);
}

#[tokio::test]
async fn stop_gives_back_unfinished_messages() {
    let server = FakeServer::tcp(vec![vec![Act::Silence]]).await;
    let settings = format!("drain = \"1s\"\n[delivery]\nsmart-host = \"{}\"", server.endpoint);
    let host = Host::new(FakeDirectory::default().account("anna@here.example", "anna"), &settings).await;
    host.put(&["x@far.example", "anna@here.example"]).await;
    let given_back = host.run_until(|_| host.captured.ids() == [5007]).await;
    assert_eq!(given_back, 1);
    let left = host.messages();
    assert_eq!((left.len(), left[0].attempts), (1, 0));

    // The next start attempts only the remaining recipient.
    drop(server);
    assert_eq!(host.delivered("anna"), 1);
    host.run_until(|left| left.iter().any(|m| m.attempts == 1)).await;
    assert_eq!(host.delivered("anna"), 1);
}

/// A directory whose lookups panic.
struct PanickingDirectory;

impl Directory for PanickingDirectory {
    fn is_member<'a>(&'a self, _: &'a Mailbox, _: &'a Mailbox) -> BoxFuture<'a, Result<bool, LookupError>> {
        async { Ok(false) }.boxed()
    }

    fn lookup<'a>(&'a self, _: &'a Mailbox) -> BoxFuture<'a, Result<Vec<Entry>, LookupError>> {
        async { panic!("boom") }.boxed()
    }

    fn may_send_as<'a>(&'a self, _: &'a str, _: &'a Mailbox) -> BoxFuture<'a, Result<bool, LookupError>> {
        async { Ok(false) }.boxed()
    }

    fn is_local_domain<'a>(&'a self, _: &'a str) -> BoxFuture<'a, Result<bool, LookupError>> {
        async { Ok(false) }.boxed()
    }

    fn authenticate<'a>(&'a self, _: Login<'a>) -> BoxFuture<'a, Result<Option<String>, LookupError>> {
        async { Ok(None) }.boxed()
    }
}

#[tokio::test]
async fn repeatedly_faulting_message_is_frozen() {
    let host = Host::new(
        PanickingDirectory,
        "[faults]\nmessage-limit = 2\n[delivery]\nretry = [\"1s\"]",
    )
    .await;
    host.put(&["x@far.example"]).await;
    let frozen = |m: &Message| matches!(&m.state, host_spool::State::Frozen { reason } if reason.contains("boom"));
    let given_back = host.run_until(|left| left.iter().all(frozen)).await;
    assert_eq!(given_back, 0);
    assert_eq!(host.captured.ids(), [4081, 4081, 4117]);
    assert_eq!(host.messages()[0].faults, 2);
}

#[tokio::test]
async fn failed_notification_is_dropped() {
    let host = Host::new(FakeDirectory::default(), "").await;
    let mut draft = host.context.spool.notice_draft();
    draft.write(b"Subject: report\r\n\r\n").await.expect("written");
    let notice = Message {
        id: draft.id(),
        notification: true,
        ..message(&["who@here.example"])
    };
    draft.commit(notice).await.expect("put");
    assert_eq!(host.run_until(<[_]>::is_empty).await, 0);
    assert_eq!(host.captured.ids(), [5121, 4123]);
}

#[tokio::test]
async fn message_is_not_delivered_before_due() {
    let directory = FakeDirectory::default()
        .account("anna@here.example", "anna")
        .account("ben@here.example", "ben");
    let host = Host::new(directory, "").await;
    let mut draft = host.context.spool.draft().expect("room");
    draft.write(b"\r\n").await.expect("written");
    let later = Message {
        id: draft.id(),
        due: Timestamp::now().after(Duration::from_secs(3600)),
        ..message(&["anna@here.example"])
    };
    draft.commit(later).await.expect("put");
    host.put(&["ben@here.example"]).await;
    host.run_until(|left| left.len() == 1).await;
    assert_eq!((host.delivered("anna"), host.delivered("ben")), (0, 1));
    assert_eq!(host.messages()[0].recipients[0].address, mailbox("anna@here.example"));
}

/// The runtime moves the future of a message when it is spawned: what few messages need is in boxes of its own.
#[tokio::test]
async fn future_of_a_message_is_small() {
    let directory = FakeDirectory::default().account("anna@here.example", "anna");
    let host = Host::new(directory, "").await;
    host.put(&["anna@here.example"]).await;
    let claim = host.context.spool.claim_due(Timestamp::now(), 1).pop().expect("due");
    let worker = crate::claimed_message::Worker {
        services: Arc::new(testing::services(FakeDirectory::default()).0),
        spool: host.context.spool.clone(),
        ndr: host.context.ndr.clone(),
        shutting_down: watch::channel(false).1,
    };
    let place = Arc::new(crate::work_places::WorkPlaces::default()).enter();
    let work = Arc::new(worker).handle(claim, host.context.config.load_full(), place);
    assert!(size_of_val(&work) <= 3 * 1024 + 384, "{}", size_of_val(&work));
}
