//! The log of decisions by itself.

use std::path::Path;
use std::time::{Duration, Instant};

use super::*;
use crate::{Completeness, Exchange, ExchangeOutcome, RECORD_VERSION};
use host_contract::Question;
use host_events::Captured;
use host_mail::{Client, RecordId, Timestamp};
use host_spool::SpoolOptions;

const PATIENCE: Duration = Duration::from_secs(30);

fn record(time: Timestamp, module: &str) -> Record {
    Record {
        version: RECORD_VERSION,
        id: RecordId::at(time),
        time,
        session: None,
        message: None,
        module: module.to_owned(),
        generation: 1,
        digest: "d".repeat(64),
        kept: Completeness::All,
        exchanges: vec![Exchange {
            question: Question::Admit {
                client: std::sync::Arc::new(Client {
                    listener: "smtp".to_owned(),
                    address: "192.0.2.7".parse().expect("an address"),
                    port: 25,
                    name: None,
                    helo: Some("somebody.example".to_owned()),
                    tls: None,
                    identity: None,
                    exemptions: Vec::new().into(),
                }),
            },
            fresh: true,
            calls: Vec::new(),
            outcome: ExchangeOutcome::Pass,
            micros: 5,
        }],
    }
}

struct Desk {
    decisions: DecisionLog,
    told: Captured,
    _spool: Spool,
}

fn open(folder: &Path, more: &str) -> Desk {
    let (events, told) = Events::capture();
    let config = Config::parse(&format!("administrator = 'a@b.example'\n{more}"), folder).expect("right");
    let spool = Spool::open(&folder.join("spool"), SpoolOptions::default(), events.clone()).expect("a spool");
    let config = Arc::new(ArcSwap::from_pointee(config));
    Desk {
        decisions: DecisionLog::start(&spool, folder, config, events).expect("started"),
        told,
        _spool: spool,
    }
}

impl Desk {
    fn read(&self, wanted: &Wanted) -> Vec<Record> {
        let mut records = Vec::new();
        let read = self.decisions.read(wanted, |bytes| {
            records.push(serde_json::from_slice(&bytes).expect("a record"));
            true
        });
        read.expect("read");
        records
    }

    fn eventually(&self, is: impl Fn(&[Record]) -> bool) -> Vec<Record> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let records = self.read(&Wanted::default());
            if is(&records) {
                return records;
            }
            assert!(Instant::now() < deadline, "{} records", records.len());
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

#[tokio::test]
async fn records_are_chosen_by_time_number_and_module() {
    let folder = tempfile::tempdir().expect("a folder");
    let desk = open(folder.path(), "");
    let now = Timestamp::now().0;
    for (age, module) in [(3000, "a"), (2000, "b"), (1000, "a")] {
        desk.decisions
            .take(record(Timestamp(now - age), module), RecordMode::On);
    }
    desk.eventually(|records| records.len() == 3);
    let chosen = |wanted: Wanted| -> Vec<u64> {
        let records = desk.read(&wanted);
        records.iter().map(|record| now - record.time.0).collect()
    };
    let since = |age: u64| Some(Timestamp(now - age));
    let module = |name: &str| Some(name.to_owned());
    assert_eq!(
        chosen(Wanted {
            since: since(2000),
            ..Wanted::default()
        }),
        [2000, 1000]
    );
    assert_eq!(
        chosen(Wanted {
            last: Some(1),
            ..Wanted::default()
        }),
        [1000]
    );
    assert_eq!(
        chosen(Wanted {
            last: Some(0),
            ..Wanted::default()
        }),
        [0; 0]
    );
    assert_eq!(
        chosen(Wanted {
            module: module("a"),
            ..Wanted::default()
        }),
        [3000, 1000]
    );
    let last_of_b = Wanted {
        last: Some(1),
        module: module("b"),
        since: since(5000),
    };
    assert_eq!(chosen(last_of_b), [2000]);
}

#[tokio::test]
async fn what_is_too_old_or_too_much_goes() {
    let folder = tempfile::tempdir().expect("a folder");
    let desk = open(folder.path(), "[decisions]\nage = '1h'\nsize = '16KiB'");
    let now = Timestamp::now();
    desk.decisions
        .take(record(Timestamp(now.0 - 2 * 3_600_000), "old"), RecordMode::On);
    for number in 0..200 {
        desk.decisions
            .take(record(Timestamp(now.0 + number), "new"), RecordMode::On);
    }
    let newest = |records: &[Record]| records.last().is_some_and(|last| last.time.0 == now.0 + 199);
    let bounded = |records: &[Record]| {
        let bytes: usize = records
            .iter()
            .map(|record| serde_json::to_vec(record).expect("JSON").len())
            .sum();
        bytes <= 17 << 10
    };
    let left = desk.eventually(|records| newest(records) && bounded(records));
    assert!(
        left.iter().all(|record| record.module == "new"),
        "the old one was too old"
    );
    assert!(desk.told.ids().is_empty());
}

#[tokio::test]
async fn a_flood_is_dropped_counted_and_told_of_once() {
    let folder = tempfile::tempdir().expect("a folder");
    let desk = open(folder.path(), "");
    let mut large = record(Timestamp::now(), "m");
    let exchange = large.exchanges[0].clone();
    large.exchanges = vec![exchange; 20_000];
    let offered = 20;
    for _ in 0..offered {
        desk.decisions.take(large.clone(), RecordMode::On);
    }
    desk.decisions.close().await;
    let kept = desk.read(&Wanted::default()).len();
    assert!(kept < offered, "{kept}");
    assert_eq!(desk.told.ids(), [5036]);
}

#[tokio::test]
async fn what_was_taken_is_written_before_it_closes_and_hashes_stay_the_same() {
    let folder = tempfile::tempdir().expect("a folder");
    for _ in 0..2 {
        let desk = open(folder.path(), "");
        desk.decisions.take(record(Timestamp::now(), "m"), RecordMode::Hashed);
        desk.decisions.close().await;
        desk.decisions.take(record(Timestamp::now(), "late"), RecordMode::On);
        desk._spool.close().await;
    }
    let desk = open(folder.path(), "");
    let records = desk.read(&Wanted::default());
    assert_eq!(records.len(), 2);
    assert!(records.iter().all(|record| record.kept == Completeness::Hashed));
    let text = serde_json::to_string(&records).expect("JSON");
    assert!(!text.contains("somebody") && !text.contains("192.0.2.7"), "{text}");
    assert!(desk.decisions.record(records[0].id).expect("read").is_some());
    let key = folder.path().join("decisions.key");
    let before = HashKey::open(&key).expect("kept").hash("anna@example.org");
    assert_eq!(HashKey::open(&key).expect("kept").hash("anna@example.org"), before);
    std::fs::write(&key, "short").expect("writes");
    assert!(HashKey::open(&key).is_err());
}
