//! Tests of the log of decisions.

use std::path::Path;
use std::time::{Duration, Instant};

use super::*;
use crate::{Completeness, Exchange, ExchangeOutcome, RECORD_VERSION};
use host_contract::Question;
use host_events::Captured;
use host_mail::{Client, RecordId, Timestamp};
use host_spool::SpoolOptions;

const TIMEOUT: Duration = Duration::from_secs(30);

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

struct LogBench {
    decisions: DecisionLog,
    captured: Captured,
    _spool: Spool,
}

fn open(folder: &Path, more: &str) -> LogBench {
    let (events, captured) = Events::capture();
    let config = Config::parse(&format!("administrator = 'a@b.example'\n{more}"), folder).expect("right");
    let spool = Spool::open(&folder.join("spool"), SpoolOptions::default(), events.clone()).expect("a spool");
    let config = Arc::new(ArcSwap::from_pointee(config));
    LogBench {
        decisions: DecisionLog::start(&spool, folder, config, events).expect("started"),
        captured,
        _spool: spool,
    }
}

impl LogBench {
    fn read(&self, filter: &Wanted) -> Vec<Record> {
        let mut records = Vec::new();
        let read = self.decisions.read(filter, |bytes| {
            records.push(serde_json::from_slice(&bytes).expect("a record"));
            true
        });
        read.expect("read");
        records
    }

    fn eventually(&self, condition: impl Fn(&[Record]) -> bool) -> Vec<Record> {
        let deadline = Instant::now() + TIMEOUT;
        loop {
            let records = self.read(&Wanted::default());
            if condition(&records) {
                return records;
            }
            assert!(Instant::now() < deadline, "{} records", records.len());
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

#[tokio::test]
async fn reads_records_by_time_count_and_module() {
    let folder = tempfile::tempdir().expect("a folder");
    let bench = open(folder.path(), "");
    let now = Timestamp::now().0;
    for (age, module) in [(3000, "a"), (2000, "b"), (1000, "a")] {
        bench
            .decisions
            .take(record(Timestamp(now - age), module), RecordMode::On);
    }
    bench.eventually(|records| records.len() == 3);
    let chosen = |filter: Wanted| -> Vec<u64> {
        let records = bench.read(&filter);
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
async fn trims_old_records_and_the_excess() {
    let folder = tempfile::tempdir().expect("a folder");
    let bench = open(folder.path(), "[decisions]\nage = '1h'\nsize = '16KiB'");
    let now = Timestamp::now();
    bench
        .decisions
        .take(record(Timestamp(now.0 - 2 * 3_600_000), "old"), RecordMode::On);
    for number in 0..200 {
        bench
            .decisions
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
    let left = bench.eventually(|records| newest(records) && bounded(records));
    assert!(
        left.iter().all(|record| record.module == "new"),
        "the old one was too old"
    );
    assert!(bench.captured.ids().is_empty());
}

#[tokio::test]
async fn overflow_is_dropped_and_reported_once() {
    let folder = tempfile::tempdir().expect("a folder");
    let bench = open(folder.path(), "");
    let mut large = record(Timestamp::now(), "m");
    let exchange = large.exchanges[0].clone();
    large.exchanges = vec![exchange; 20_000];
    let offered = 20;
    for _ in 0..offered {
        bench.decisions.take(large.clone(), RecordMode::On);
    }
    bench.decisions.close().await;
    let kept = bench.read(&Wanted::default()).len();
    assert!(kept < offered, "{kept}");
    assert_eq!(bench.captured.ids(), [5036]);
}

#[tokio::test]
async fn close_writes_queued_records_and_hashes_are_stable() {
    let folder = tempfile::tempdir().expect("a folder");
    for _ in 0..2 {
        let bench = open(folder.path(), "");
        bench.decisions.take(record(Timestamp::now(), "m"), RecordMode::Hashed);
        bench.decisions.close().await;
        bench.decisions.take(record(Timestamp::now(), "late"), RecordMode::On);
        bench._spool.close().await;
    }
    let bench = open(folder.path(), "");
    let records = bench.read(&Wanted::default());
    assert_eq!(records.len(), 2);
    assert!(records.iter().all(|record| record.kept == Completeness::Hashed));
    let text = serde_json::to_string(&records).expect("JSON");
    assert!(!text.contains("somebody") && !text.contains("192.0.2.7"), "{text}");
    assert!(bench.decisions.record(records[0].id).expect("read").is_some());
    let (key, events) = (folder.path().join("decisions.key"), Events::discard());
    let before = HashKey::open(&key, &events).expect("kept").hash("anna@example.org");
    assert_eq!(
        HashKey::open(&key, &events).expect("kept").hash("anna@example.org"),
        before
    );
    std::fs::write(&key, "short").expect("writes");
    let again = HashKey::open(&key, &events).expect("made again");
    assert_ne!(again.hash("anna@example.org"), before);
}
