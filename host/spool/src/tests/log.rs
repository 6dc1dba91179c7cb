//! Tests of the log beside the messages: order, bounds, restart, and room only while mail has plenty.

use super::*;

fn entry(number: u32, size: usize) -> (String, Vec<u8>) {
    (format!("{number:06}"), vec![b'x'; size])
}

fn keys(log: &Log) -> Vec<u32> {
    let keys = log.scan("").map(|item| item.expect("an entry").0);
    keys.map(|key| key.parse().expect("a number")).collect()
}

#[tokio::test]
async fn entries_scan_in_order_from_both_ends_and_survive_a_restart() {
    let folder = tempfile::tempdir().expect("folder");
    let spool = open(folder.path());
    let log = spool.log();
    log.append(vec![entry(2, 10), entry(1, 10)]).expect("written");
    log.append(vec![entry(3, 10)]).expect("written");
    assert_eq!(keys(&log), [1, 2, 3]);
    assert_eq!(log.get("000002").expect("read").expect("there").len(), 10);
    assert!(log.get("000004").expect("read").is_none());
    let back: Vec<String> = log.scan_back("000002").map(|item| item.expect("an entry").0).collect();
    assert_eq!(back, ["000003", "000002"]);
    let id = put(&spool, b"a message beside it").await;
    spool.close().await;
    drop((spool, log));
    let spool = open(folder.path());
    assert_eq!(keys(&spool.log()), [1, 2, 3]);
    assert!(spool.get(id).expect("read").is_some());
}

#[tokio::test]
async fn trim_removes_old_entries_then_the_first_beyond_the_limit() {
    let folder = tempfile::tempdir().expect("folder");
    let spool = open(folder.path());
    let log = spool.log();
    log.append((0..3000).map(|number| entry(number, 94)).collect())
        .expect("written");
    assert_eq!(log.trim("000100", u64::MAX).expect("trimmed"), 100);
    assert_eq!(keys(&log)[0], 100);
    assert_eq!(log.trim("", 1000).expect("trimmed"), 2890);
    assert_eq!(keys(&log), (2990..3000).collect::<Vec<_>>());
    assert_eq!(log.trim("", 1000).expect("trimmed"), 0);
    // A unit of work that began long ago may be logged late, under an early key.
    log.append(vec![entry(5, 94)]).expect("written");
    assert_eq!(keys(&log)[0], 5);
    assert_eq!(log.trim("", 1000).expect("trimmed"), 1);
    // Another handle measures the log anew.
    assert_eq!(spool.log().trim("", 500).expect("trimmed"), 5);
    assert_eq!(log.trim("zzz", 0).expect("trimmed"), 5);
    assert!(keys(&log).is_empty());
}

#[tokio::test]
async fn append_is_refused_below_twice_the_low_water_mark() {
    let folder = tempfile::tempdir().expect("folder");
    let free = |path: &Path| {
        rustix::fs::statvfs(path)
            .map(|fs| fs.f_bavail * fs.f_frsize)
            .expect("a file system")
    };
    let low_water = free(folder.path()) * 3 / 4;
    let spool = Spool::open(
        folder.path(),
        SpoolOptions {
            low_water,
            ..SpoolOptions::default()
        },
        Events::discard(),
    )
    .expect("spool");
    assert!(matches!(
        spool.log().append(vec![entry(1, 1)]),
        Err(PutError::Full { .. })
    ));
    put(&spool, b"there is room for mail").await;
}
