//! The work on one message, against a directory that is a stand-in and real Maildirs.

use std::sync::Arc;

use super::super::testing::{self, Act, FakeDirectory, FakeServer, Told, mailbox, say};
use super::super::{DeliveryServices, Settings};
use super::*;
use crate::settlement::{SettlementPlan, faulted};
use host_config::{DeliveryConfig, NextHop};
use host_contract::Reason;
use host_directory::Home;
use host_mail::{Content, InMemory};

struct Here {
    station: DeliveryServices,
    told: Told,
    delivery: DeliveryConfig,
    folder: tempfile::TempDir,
    content: Arc<dyn Content>,
}

impl Here {
    fn new(directory: FakeDirectory) -> Self {
        let (station, told) = testing::station(directory);
        Self {
            station,
            told,
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
        let job = Delivery {
            station: &self.station,
            settings: self.settings(),
            envelope: &envelope,
            content: &self.content,
        };
        work(job, record, shutting_down).await
    }

    async fn progress(&self, record: &mut Message) -> WorkResult {
        let (_patient, mut shutting_down) = watch::channel(false);
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

fn because() -> Reason {
    Reason::host("test")
}

#[tokio::test]
async fn local_recipients_are_delivered_and_the_rest_fails() {
    let here = Here::new(directory());
    let mut record = testing::message(&[
        "all@here.example",
        "anna@here.example",
        "who@here.example",
        "x@far.example",
    ]);
    let progress = here.progress(&mut record).await;
    assert_eq!((here.count("anna"), here.count("ben")), (1, 1));
    assert_eq!(here.told.ids(), [5007, 5007]);

    let conclusion = SettlementPlan::of(record, progress, here.settings(), Timestamp(1000));
    let classes: Vec<String> = conclusion
        .to_notify()
        .into_iter()
        .map(|(a, f)| format!("{a} {}", f.class))
        .collect();
    assert_eq!(
        classes,
        ["who@here.example address-not-found", "x@far.example host-not-found"]
    );
    assert!(conclusion.notified().is_none(), "nothing is left to be done");
}

#[tokio::test]
async fn two_addresses_of_one_mailbox_are_one_copy() {
    let here = Here::new(directory());
    let mut record = testing::message(&["anna@here.example", "anna.b@here.example"]);
    here.progress(&mut record).await;
    assert_eq!(here.count("anna"), 1);
    assert_eq!(
        states(&record),
        ["anna@here.example delivered", "anna.b@here.example delivered"]
    );
}

#[tokio::test]
async fn what_waits_is_tried_again_without_repeating_the_rest() {
    let server = FakeServer::tcp(vec![vec![say("421 4.3.2 later")]]).await;
    let home = Home::Lmtp(server.endpoint.clone());
    let here = Here::new(
        directory()
            .home("carl@here.example", home)
            .alias("group@here.example", &["carl@here.example", "ben@here.example"]),
    );
    let mut record = testing::message(&["group@here.example"]);
    let progress = here.progress(&mut record).await;
    let conclusion = SettlementPlan::of(record, progress, here.settings(), Timestamp(1000));
    let told: Vec<u32> = conclusion.events.iter().map(|event| event.entry().id).collect();
    assert_eq!(told, [2000]);
    let mut next = conclusion.notified().expect("one is left");
    assert_eq!(
        states(&next),
        ["carl@here.example pending 421", "ben@here.example delivered"]
    );
    assert_eq!(next.attempts, 1);
    assert!((61_000..=67_000).contains(&next.due.0), "{}", next.due.0);
    assert_eq!(next.recipients[0].as_written(), &mailbox("group@here.example"));

    here.progress(&mut next).await;
    assert_eq!(here.count("ben"), 1);
}

#[tokio::test]
async fn time_ends() {
    let mut here = Here::new(directory());
    here.delivery.smart_host = Some(NextHop::Server("127.0.0.1:1".parse().expect("an endpoint")));
    let mut record = testing::message(&["x@far.example"]);
    record.expires = Timestamp(5000);
    let progress = here.progress(&mut record).await;
    let early = SettlementPlan::of(record.clone(), progress, here.settings(), Timestamp(1000));
    assert_eq!(early.notified().expect("waits").due, Timestamp(5000));

    let progress = here.progress(&mut record).await;
    let late = SettlementPlan::of(record, progress, here.settings(), Timestamp(5000));
    let told: Vec<u32> = late.events.iter().map(|event| event.entry().id).collect();
    assert_eq!(told, [5022]);
    let failed = late.to_notify();
    assert_eq!(failed[0].1.class, class::EXPIRED);
    assert!(failed[0].1.reply.text.contains("451 4.4.1"), "{}", failed[0].1.reply);
    assert!(late.notified().is_none());
}

#[tokio::test]
async fn too_many_hosts_is_a_loop() {
    let mut here = Here::new(directory());
    let hops = "Received: from a\r\n";
    here.content = Arc::new(InMemory(format!("{}\r\nx", hops.repeat(3)).into()));
    here.progress(&mut testing::message(&["anna@here.example"])).await;
    assert_eq!(here.count("anna"), 1);

    here.content = Arc::new(InMemory(format!("{}\r\nx", hops.repeat(4)).into()));
    let progress = here.progress(&mut testing::message(&["anna@here.example"])).await;
    assert_eq!(progress.failed[0].1.class, class::LOOP);
    assert_eq!(here.count("anna"), 1);
    assert_eq!(here.told.ids(), [5007, 4098]);
}

#[tokio::test]
async fn what_the_policy_failed_is_told_and_not_delivered() {
    let here = Here::new(directory());
    let mut record = testing::message(&["anna@here.example"]);
    record.state = State::Failing {
        class: class::NOT_HOMED.to_owned(),
        because: because(),
    };
    let progress = here.progress(&mut record).await;
    let conclusion = SettlementPlan::of(record, progress, here.settings(), Timestamp(0));
    let (address, failed) = conclusion.to_notify().remove(0);
    assert_eq!(
        (address.as_str(), failed.reply.to_string().as_str()),
        ("anna@here.example", "554 5.7.1 Mailbox is not local")
    );

    // Frozen, it keeps its failures to itself: the spool restores the state it was frozen in.
    let frozen = conclusion.frozen("the plan faulted");
    assert_eq!(states(&frozen), ["anna@here.example pending"]);
    assert!(matches!(frozen.state, State::Frozen { .. }));
    assert_eq!(here.count("anna"), 0);
}

#[tokio::test]
async fn failures_in_delivery_are_tried_again_after_a_release() {
    let here = Here::new(directory());
    let mut record = testing::message(&["who@here.example", "ben@here.example"]);
    let progress = here.progress(&mut record).await;
    let frozen = SettlementPlan::of(record, progress, here.settings(), Timestamp(0)).frozen("why");
    assert_eq!(
        states(&frozen),
        ["who@here.example pending", "ben@here.example delivered"]
    );
}

#[tokio::test]
async fn a_group_fails_once_and_discloses_nobody() {
    let here = Here::new(directory().alias("g@here.example", &["u1@here.example", "u2@here.example"]));
    let mut record = testing::message(&["g@here.example"]);
    let progress = here.progress(&mut record).await;
    let conclusion = SettlementPlan::of(record, progress, here.settings(), Timestamp(0));
    let told: Vec<Mailbox> = conclusion.to_notify().into_iter().map(|(address, _)| address).collect();
    assert_eq!(told, [mailbox("g@here.example")]);
}

#[tokio::test]
async fn faults_are_counted_and_end_in_the_ice() {
    let here = Here::new(directory());
    let mut record = testing::message(&["anna@here.example"]);
    for n in 1..3 {
        let (next, frozen) = faulted(record, "boom", here.settings(), Timestamp(0));
        assert_eq!((next.faults, frozen, next.due), (n, None, Timestamp(60_000)));
        record = next;
    }
    let (record, frozen) = faulted(record, "boom", here.settings(), Timestamp(0));
    assert_eq!(frozen.as_deref(), Some("3 faults, the last: boom"));
    assert!(matches!(record.state, State::Frozen { .. }));
    assert_eq!(states(&record), ["anna@here.example pending"]);
}

#[tokio::test]
async fn hurry_keeps_what_is_done() {
    let server = FakeServer::tcp(vec![vec![Act::Silence]]).await;
    let home = Home::Smtp(server.endpoint.clone());
    let here = Here::new(directory().home("carl@here.example", home));
    let mut record = testing::message(&["anna@here.example", "carl@here.example"]);
    let (shutting_down, mut hurried) = watch::channel(false);
    let stopping = async {
        while here.count("anna") == 0 || here.told.ids().is_empty() {
            tokio::task::yield_now().await;
        }
        shutting_down.send_replace(true);
    };
    let (progress, ()) = tokio::join!(here.work(&mut record, &mut hurried), stopping);
    assert!(progress.expect("readable").interrupted);
    assert_eq!(
        states(&record),
        ["anna@here.example delivered", "carl@here.example pending"]
    );
}

#[tokio::test]
async fn an_unreadable_message_is_a_fault_and_no_failure() {
    struct Gone;
    impl Content for Gone {
        fn size(&self) -> u64 {
            10
        }
        fn read(&self, _: u64, _: usize) -> io::Result<bytes::Bytes> {
            Err(io::Error::other("bad sector"))
        }
    }
    let mut here = Here::new(directory());
    here.content = Arc::new(Gone);
    let (_patient, mut shutting_down) = watch::channel(false);
    let mut record = testing::message(&["anna@here.example"]);
    assert!(here.work(&mut record, &mut shutting_down).await.is_err());
    assert_eq!(states(&record), ["anna@here.example pending"]);
}
