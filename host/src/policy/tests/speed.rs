//! What one decision costs; run by hand.

use std::time::Instant;

use serde_json::json;

use crate::mail::SessionId;
use crate::policy::builtin;
use crate::policy::testing::{Bench, anna, path};

const ROUNDS: usize = 20_000;

/// `cargo test --release -- --ignored --nocapture fresh_instance`
#[tokio::test]
#[ignore = "a measurement"]
async fn fresh_instance_configure_and_one_decision() {
    for (name, code) in [("default", builtin::DEFAULT), ("q178091", builtin::Q178091)] {
        let bench = Bench::with(&[("p", code, json!({}))]).await;
        let (client, sender) = (anna(), path("anna@example.org"));
        let mut fresh = Vec::with_capacity(ROUNDS);
        let mut warm = Vec::with_capacity(ROUNDS);
        for _ in 0..ROUNDS {
            let start = Instant::now();
            let mut transaction = bench.policies.transaction(SessionId::generate());
            assert!(!transaction.sender(&client, &sender).await.fault);
            fresh.push(start.elapsed());
            let start = Instant::now();
            assert!(!transaction.sender(&client, &sender).await.fault);
            warm.push(start.elapsed());
        }
        fresh.sort();
        warm.sort();
        println!("{name}: fresh {:?}, warm {:?}", fresh[ROUNDS / 2], warm[ROUNDS / 2]);
    }
}
