//! Measurements, without assertions: `cargo test --release -p host-spool --lib -- --ignored --nocapture tests::speed`.

use std::time::Instant;

use super::*;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a measurement"]
async fn durable_puts_of_4_kib_from_20_tasks() {
    let folder = tempfile::tempdir_in(env!("CARGO_MANIFEST_DIR")).expect("folder");
    let spool = open(folder.path());
    let bytes = pattern(4096);
    let start = Instant::now();
    let tasks: Vec<_> = (0..20)
        .map(|_| {
            let (spool, bytes) = (spool.clone(), bytes.clone());
            tokio::spawn(async move {
                for _ in 0..5000 {
                    put(&spool, &bytes).await;
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.expect("task");
    }
    let rate = 100_000.0 / start.elapsed().as_secs_f64();
    println!("{rate:.0} durable puts of 4 KiB a second from 20 tasks");

    let start = Instant::now();
    let mut settled = 0;
    loop {
        let claims = spool.claim_due(Timestamp(u64::MAX), 20);
        if claims.is_empty() {
            break;
        }
        settled += claims.len();
        let settling = claims.into_iter().map(|claim| spool.settle(claim, None, Vec::new()));
        for done in futures_util::future::join_all(settling).await {
            done.expect("settle");
        }
    }
    let rate = f64::from(u32::try_from(settled).expect("few")) / start.elapsed().as_secs_f64();
    println!("{rate:.0} claims and settles a second, 20 at a time");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a measurement"]
async fn space_of_a_deleted_gibibyte_is_reclaimed() {
    let folder = tempfile::tempdir_in(env!("CARGO_MANIFEST_DIR")).expect("folder");
    let spool = open(folder.path());
    let bytes = pattern(64 * 1024);
    let store = &spool.inner.shared.store;
    for _ in 0..64 {
        let puts = (0..256).map(|_| put(&spool, &bytes));
        futures_util::future::join_all(puts).await;
    }
    println!("put: {} MiB in tables", store.bodies_on_disk() >> 20);
    loop {
        let claims = spool.claim_due(Timestamp(u64::MAX), 256);
        if claims.is_empty() {
            break;
        }
        let settling = claims.into_iter().map(|claim| spool.settle(claim, None, Vec::new()));
        futures_util::future::join_all(settling).await;
    }
    let start = Instant::now();
    while store.bodies_on_disk() > 1 << 20 && start.elapsed().as_secs() < 30 {
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
    println!(
        "deleted: {} MiB after {:?}",
        store.bodies_on_disk() >> 20,
        start.elapsed()
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a measurement"]
async fn opening_with_many_queued() {
    let folder = tempfile::tempdir_in(env!("CARGO_MANIFEST_DIR")).expect("folder");
    let spool = open(folder.path());
    for _ in 0..1000 {
        futures_util::future::join_all((0..1000).map(|_| put(&spool, b"small"))).await;
    }
    close(spool).await;
    let start = Instant::now();
    let spool = open(folder.path());
    println!("{} queued: opened in {:?}", spool.counts().queued, start.elapsed());
    let start = Instant::now();
    let claimed = spool.claim_due(Timestamp(u64::MAX), 100).len();
    println!("{claimed} claimed in {:?}", start.elapsed());
}
