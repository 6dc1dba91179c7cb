//! Measurements of decisions, run by hand.

use std::time::Instant;

use serde_json::json;

use crate::testing::{Bench, anna, path};
use host_contract::Origin;
use host_engine::component::builtin;
use host_engine::instance::Instance;
use host_engine::preinitialise::with_settings;
use host_mail::SessionId;

const ROUNDS: usize = 20_000;
const FAULTS: usize = 1_000;

/// Run with `cargo test --release -- --ignored --nocapture fresh_instance`.
#[tokio::test]
#[ignore = "a measurement"]
async fn fresh_instance_configure_and_one_decision() {
    for (name, code, stateless) in [
        ("default", builtin::DEFAULT, false),
        ("default, stateless", builtin::DEFAULT, true),
        ("q178091", builtin::Q178091, false),
    ] {
        let bench = Bench::with_stateless(code, json!({}), Some(stateless)).await;
        let (client, sender) = (anna(), path("anna@example.org"));
        let mut first = Vec::with_capacity(ROUNDS);
        let mut second = Vec::with_capacity(ROUNDS);
        for _ in 0..ROUNDS {
            let start = Instant::now();
            let mut transaction = bench.policies.transaction(SessionId::generate());
            assert!(!transaction.sender(&client, &sender).await.fault);
            first.push(start.elapsed());
            let start = Instant::now();
            assert!(!transaction.sender(&client, &sender).await.fault);
            second.push(start.elapsed());
        }
        first.sort();
        second.sort();
        println!("{name}: first {:?}, second {:?}", first[ROUNDS / 2], second[ROUNDS / 2]);
    }
}

/// Measures the time that an instance spends on the settings, which pre-initialisation saves.
#[tokio::test]
#[ignore = "a measurement"]
async fn configure_alone() {
    for (name, settings) in [("no", json!({})), ("some", some_settings()), ("many", many_settings())] {
        let bench = Bench::with(&[("p", builtin::DEFAULT, settings)]).await;
        let set = bench.policies.set();
        let chain = set.chain.load_full();
        let generation = chain.modules[0].running.as_ref().expect("it runs");
        let (mut made, mut configured, mut dropped) = (Vec::new(), Vec::new(), Vec::new());
        for _ in 0..ROUNDS {
            let start = Instant::now();
            let context = set.evaluator.context(Origin::default());
            let instance = Instance::new(&set.evaluator.runtime, &generation.candidate, context).await;
            let mut instance = instance.expect("room");
            made.push(start.elapsed());
            let start = Instant::now();
            instance
                .configure(&generation.settings)
                .await
                .expect("no fault")
                .expect("no complaint");
            configured.push(start.elapsed());
            let start = Instant::now();
            drop(instance);
            dropped.push(start.elapsed());
        }
        let median = |times: &mut Vec<std::time::Duration>| {
            times.sort();
            times[ROUNDS / 2]
        };
        println!(
            "{name} settings, {} bytes: made in {:?}, configured in {:?}, dropped in {:?}",
            generation.settings.len(),
            median(&mut made),
            median(&mut configured),
            median(&mut dropped)
        );
    }
}

fn some_settings() -> serde_json::Value {
    json!({ "accept": { "from": "authenticated", "hosts": hosts(2) }, "homing": { "required": true } })
}

fn many_settings() -> serde_json::Value {
    json!({ "accept": { "from": "authenticated", "hosts": hosts(200) } })
}

fn hosts(count: usize) -> Vec<serde_json::Value> {
    let host = |number| json!({ "network": format!("10.0.{number}.0/24"), "exempt": ["authentication", "encryption"] });
    (0..count).map(host).collect()
}

/// Measures pre-initialised instances beside instances that are configured when made.
#[tokio::test]
#[ignore = "a measurement"]
async fn prepared() {
    for (name, settings) in [("no", json!({})), ("some", some_settings()), ("many", many_settings())] {
        let bench = Bench::with_stateless(builtin::DEFAULT, settings, Some(false)).await;
        let set = bench.policies.set();
        let generation = set.chain.load_full().generations().remove(0);
        let context = set.evaluator.context(Origin::default());
        let mut medians = Vec::new();
        for preinitialised in [false, true] {
            if preinitialised {
                let prepared = with_settings(&set.evaluator.runtime, &generation.candidate, &context).await;
                generation.preparation.end(prepared);
                assert!(generation.prepared().is_some());
            }
            let mut fresh = Vec::with_capacity(ROUNDS);
            for _ in 0..ROUNDS {
                let start = Instant::now();
                let mut transaction = bench.policies.transaction(SessionId::generate());
                assert!(!transaction.sender(&anna(), &path("anna@example.org")).await.fault);
                drop(transaction);
                fresh.push(start.elapsed());
            }
            fresh.sort();
            medians.push(fresh[ROUNDS / 2]);
        }
        println!(
            "{name} settings: {:?} configured each time, {:?} prepared",
            medians[0], medians[1]
        );
    }
}

/// Measures a policy that faults beside a policy that does not.
#[tokio::test]
#[ignore = "a measurement"]
async fn a_fault() {
    for mode in [None, Some("panic"), Some("recurse"), Some("lie-reply")] {
        let name = mode.unwrap_or("no fault");
        let settings = mode.map_or(json!({}), |mode| json!({ "mode": mode, "stage": "sender" }));
        let bench = Bench::with(&[("p", builtin::MISBEHAVING, settings)]).await;
        let (client, sender) = (anna(), path("anna@example.org"));
        let ask = async || {
            let start = Instant::now();
            let mut transaction = bench.policies.transaction(SessionId::generate());
            transaction.sender(&client, &sender).await;
            drop(transaction);
            start.elapsed()
        };
        let first = ask().await;
        let mut times = Vec::with_capacity(FAULTS);
        for _ in 0..FAULTS {
            times.push(ask().await);
        }
        times.sort();
        println!("{name}: first {first:?}, then {:?}", times[FAULTS / 2]);
    }
}
