//! Tests of the work on a message, with a fake directory and real Maildirs.

use std::sync::Arc;

use futures_util::future::{BoxFuture, FutureExt, ready};
use tokio::sync::watch;

use super::super::testing::{self, Act, FakeDirectory, FakeServer, RecordedEvents, mailbox, say};
use super::*;
use crate::delivery_services::{DeliveryServices, Settings};
use crate::destination_attempts::Checkpoint;
use crate::ndr::{DeliveryPath, FailedDelivery};
use crate::settlement::{SettlementPlan, faulted};
use crate::signed_content::OutgoingContent;
use host_config::{DeliveryConfig, NextHop};
use host_contract::Reason;
use host_directory::Home;
use host_mail::{Content, InMemory, Timestamp};

/// Settles nothing before the end.
struct NoCheckpoint;

impl Checkpoint for NoCheckpoint {
    fn settle<'a>(&'a mut self, _: &'a mut Message, _: &'a mut WorkResult) -> BoxFuture<'a, ()> {
        ready(()).boxed()
    }
}

struct Fixture {
    services: DeliveryServices,
    recorded: RecordedEvents,
    delivery: DeliveryConfig,
    folder: tempfile::TempDir,
    content: Arc<dyn Content>,
}

impl Fixture {
    fn new(directory: FakeDirectory) -> Self {
        let (services, recorded) = testing::services(directory);
        Self {
            services,
            recorded,
            delivery: testing::delivery(),
            folder: tempfile::tempdir().expect("a folder"),
            content: Arc::new(InMemory("Subject: x\r\n\r\nbody\r\n".into())),
        }
    }

    fn settings(&self) -> Settings<'_> {
        testing::settings(&self.delivery, self.folder.path())
    }

    async fn work(&self, record: &mut Message, shutting_down: &mut watch::Receiver<bool>) -> io::Result<WorkResult> {
        let envelope = record.envelope.clone();
        let outgoing = OutgoingContent::new(self.content.clone(), record, &self.services.signers);
        let delivery = Delivery {
            services: &self.services,
            settings: self.settings(),
            envelope: &envelope,
            forwarding_sender: None,
            content: &self.content,
            outgoing: &outgoing,
            reports: None,
            received: host_mail::Timestamp(0),
            is_forced: false,
            is_tls_report: false,
            wait_bound: WaitBound::Remote,
        };
        let supervision = Supervision {
            place: None,
            checkpoint: &mut NoCheckpoint,
            shutting_down,
        };
        work(&delivery, record, supervision).await
    }

    async fn progress(&self, record: &mut Message) -> WorkResult {
        let (_sender, mut shutting_down) = watch::channel(false);
        self.work(record, &mut shutting_down).await.expect("readable")
    }

    fn count(&self, maildir: &str) -> usize {
        std::fs::read_dir(self.folder.path().join(maildir).join("new")).map_or(0, Iterator::count)
    }
}

fn directory() -> FakeDirectory {
    FakeDirectory::default()
        .account("anna@here.example", "anna")
        .account("anna.b@here.example", "anna")
        .account("ben@here.example", "ben")
        .alias("all@here.example", &["anna@here.example", "ben@here.example"])
}

fn states(record: &Message) -> Vec<String> {
    let show = |r: &Recipient| {
        let state = match &r.state {
            RecipientState::Pending { last: None } => "pending".to_owned(),
            RecipientState::Pending { last: Some(reply) } => format!("pending {}", reply.code),
            RecipientState::Delivered { .. } => "delivered".to_owned(),
            RecipientState::Failed(failed) => failed.class.clone(),
        };
        format!("{} {state}", r.address)
    };
    record.recipients.iter().map(show).collect()
}

async fn failures(plan: &SettlementPlan, fixture: &Fixture) -> Vec<FailedDelivery> {
    let directory = Arc::clone(&fixture.services.directory);
    plan.deliveries(&plan.failed, &*directory, fixture.settings()).await
}

fn because() -> Reason {
    Reason::host("test")
}

#[tokio::test]
async fn delivers_local_recipients_and_fails_the_others() {
    let fixture = Fixture::new(directory());
    let mut record = testing::message(&[
        "all@here.example",
        "anna@here.example",
        "who@here.example",
        "x@far.example",
    ]);
    let progress = fixture.progress(&mut record).await;
    assert_eq!((fixture.count("anna"), fixture.count("ben")), (1, 1));
    assert_eq!(fixture.recorded.ids(), [5007, 5007]);

    let plan = SettlementPlan::of(record, progress, fixture.settings(), Timestamp(1000));
    let failed = failures(&plan, &fixture).await;
    let classes: Vec<String> = failed
        .iter()
        .map(|each| format!("{} {} {:?}", each.written, each.why.class, each.path))
        .collect();
    assert_eq!(
        classes,
        [
            "who@here.example address-not-found Inside",
            "x@far.example host-not-found ConfiguredHop"
        ]
    );
    assert!(plan.notified().is_none(), "nothing is left to be done");
}

#[tokio::test]
async fn addresses_of_the_same_mailbox_share_a_copy() {
    let fixture = Fixture::new(directory());
    let mut record = testing::message(&["anna@here.example", "anna.b@here.example"]);
    fixture.progress(&mut record).await;
    assert_eq!(fixture.count("anna"), 1);
    assert_eq!(
        states(&record),
        ["anna@here.example delivered", "anna.b@here.example delivered"]
    );
}

#[tokio::test]
async fn retry_does_not_repeat_completed_deliveries() {
    let server = FakeServer::tcp(vec![vec![say("421 4.3.2 later")]]).await;
    let home = Home::Lmtp(server.endpoint.clone());
    let fixture = Fixture::new(
        directory()
            .home("carl@here.example", home)
            .alias("group@here.example", &["carl@here.example", "ben@here.example"]),
    );
    let mut record = testing::message(&["group@here.example"]);
    let progress = fixture.progress(&mut record).await;
    let plan = SettlementPlan::of(record, progress, fixture.settings(), Timestamp(1000));
    let recorded: Vec<u32> = plan.events.iter().map(|event| event.entry().id).collect();
    assert_eq!(recorded, [2000]);
    let mut next = plan.notified().expect("one is left");
    assert_eq!(
        states(&next),
        ["carl@here.example pending 421", "ben@here.example delivered"]
    );
    assert_eq!(next.attempts, 1);
    assert!((61_000..=67_000).contains(&next.due.0), "{}", next.due.0);
    assert_eq!(next.recipients[0].as_written(), &mailbox("group@here.example"));

    fixture.progress(&mut next).await;
    assert_eq!(fixture.count("ben"), 1);
}

#[tokio::test]
async fn deferred_recipient_fails_when_expired() {
    let mut fixture = Fixture::new(directory());
    fixture.delivery.smart_host = vec![NextHop::Server("127.0.0.1:1".parse().expect("an endpoint"))];
    let mut record = testing::message(&["x@far.example"]);
    record.expires = Timestamp(5000);
    let progress = fixture.progress(&mut record).await;
    let early = SettlementPlan::of(record.clone(), progress, fixture.settings(), Timestamp(1000));
    assert_eq!(early.notified().expect("waits").due, Timestamp(5000));

    let progress = fixture.progress(&mut record).await;
    let late = SettlementPlan::of(record, progress, fixture.settings(), Timestamp(5000));
    let recorded: Vec<u32> = late.events.iter().map(|event| event.entry().id).collect();
    assert_eq!(recorded, [5022]);
    let failed = failures(&late, &fixture).await.remove(0);
    assert_eq!(failed.why.class, class::EXPIRED);
    assert!(
        failed.why.reply.to_string().starts_with("451 4.4.1"),
        "{}",
        failed.why.reply
    );
    assert_eq!(failed.why.remote, None, "no remote has replied");
    assert!(late.notified().is_none());
}

#[tokio::test]
async fn too_many_hops_is_a_loop() {
    let mut fixture = Fixture::new(directory());
    let hops = "Received: from a\r\n";
    fixture.content = Arc::new(InMemory(format!("{}\r\nx", hops.repeat(3)).into()));
    fixture.progress(&mut testing::message(&["anna@here.example"])).await;
    assert_eq!(fixture.count("anna"), 1);

    fixture.content = Arc::new(InMemory(format!("{}\r\nx", hops.repeat(4)).into()));
    let progress = fixture.progress(&mut testing::message(&["anna@here.example"])).await;
    assert_eq!(progress.failed[0].1.class, class::LOOP);
    assert_eq!(fixture.count("anna"), 1);
    assert_eq!(fixture.recorded.ids(), [5007, 4098]);
}

#[tokio::test]
async fn message_failed_by_policy_is_notified_and_not_delivered() {
    let fixture = Fixture::new(directory());
    let mut record = testing::message(&["anna@here.example"]);
    record.state = State::Failing {
        class: class::NOT_HOMED.to_owned(),
        because: because(),
    };
    let progress = fixture.progress(&mut record).await;
    let plan = SettlementPlan::of(record, progress, fixture.settings(), Timestamp(0));
    let failed = failures(&plan, &fixture).await.remove(0);
    assert_eq!(
        (failed.written.as_str(), failed.why.reply.to_string().as_str()),
        ("anna@here.example", "554 5.7.1 Mailbox is not local")
    );
    assert_eq!(failed.last_attempt, None);

    // A frozen record has no recorded failures: a release restores the state before the freeze.
    let frozen = plan.frozen("the plan faulted");
    assert_eq!(states(&frozen), ["anna@here.example pending"]);
    assert!(matches!(frozen.state, State::Frozen { .. }));
    assert_eq!(fixture.count("anna"), 0);
}

#[tokio::test]
async fn released_message_retries_failed_recipients() {
    let fixture = Fixture::new(directory());
    let mut record = testing::message(&["who@here.example", "ben@here.example"]);
    let progress = fixture.progress(&mut record).await;
    let frozen = SettlementPlan::of(record, progress, fixture.settings(), Timestamp(0)).frozen("why");
    assert_eq!(
        states(&frozen),
        ["who@here.example pending", "ben@here.example delivered"]
    );
}

#[tokio::test]
async fn failure_of_a_member_names_the_group_that_the_sender_wrote() {
    let fixture = Fixture::new(directory().alias("g@here.example", &["u1@here.example", "u2@here.example"]));
    let mut record = testing::message(&["g@here.example"]);
    let progress = fixture.progress(&mut record).await;
    let plan = SettlementPlan::of(record, progress, fixture.settings(), Timestamp(0));
    let failures = failures(&plan, &fixture).await;
    assert_eq!(failures.len(), 2);
    for failed in failures {
        assert_eq!(
            (failed.written, failed.path),
            (mailbox("g@here.example"), DeliveryPath::Inside)
        );
    }
}

#[tokio::test]
async fn repeated_faults_freeze_the_message() {
    let fixture = Fixture::new(directory());
    let mut record = testing::message(&["anna@here.example"]);
    for n in 1..3 {
        let (next, frozen) = faulted(record, "boom", fixture.settings(), Timestamp(0));
        assert_eq!((next.faults, frozen, next.due), (n, None, Timestamp(60_000)));
        record = next;
    }
    let (record, frozen) = faulted(record, "boom", fixture.settings(), Timestamp(0));
    assert_eq!(frozen.as_deref(), Some("3 faults, the last: boom"));
    assert!(matches!(record.state, State::Frozen { .. }));
    assert_eq!(states(&record), ["anna@here.example pending"]);
}

#[tokio::test]
async fn shutdown_keeps_completed_deliveries() {
    let server = FakeServer::tcp(vec![vec![Act::Silence]]).await;
    let home = Home::Smtp(server.endpoint.clone());
    let fixture = Fixture::new(directory().home("carl@here.example", home));
    let mut record = testing::message(&["anna@here.example", "carl@here.example"]);
    let (shutting_down, mut receiver) = watch::channel(false);
    let stopping = async {
        while fixture.count("anna") == 0 || fixture.recorded.ids().is_empty() {
            tokio::task::yield_now().await;
        }
        shutting_down.send_replace(true);
    };
    let (progress, ()) = tokio::join!(fixture.work(&mut record, &mut receiver), stopping);
    assert!(progress.expect("readable").interrupted);
    assert_eq!(
        states(&record),
        ["anna@here.example delivered", "carl@here.example pending"]
    );
}

#[tokio::test]
async fn unreadable_message_is_a_fault() {
    struct UnreadableContent;
    impl Content for UnreadableContent {
        fn size(&self) -> u64 {
            10
        }
        fn read(&self, _: u64, _: usize) -> io::Result<bytes::Bytes> {
            Err(io::Error::other("bad sector"))
        }
    }
    let mut fixture = Fixture::new(directory());
    fixture.content = Arc::new(UnreadableContent);
    let (_sender, mut shutting_down) = watch::channel(false);
    let mut record = testing::message(&["anna@here.example"]);
    assert!(fixture.work(&mut record, &mut shutting_down).await.is_err());
    assert_eq!(states(&record), ["anna@here.example pending"]);
}
