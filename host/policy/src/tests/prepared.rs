//! Pre-initialised instances decide like instances that are configured when made.

use std::sync::Arc;

use serde_json::{Value, json};

use crate::testing::{Bench, address, anna, path, stranger};
use host_contract::Origin;
use host_engine::component::builtin;
use host_engine::generation::Generation;
use host_engine::preinitialise::with_settings;
use host_mail::SessionId;

async fn prepare(bench: &Bench) -> (Arc<Generation>, Result<(), String>) {
    let set = bench.policies.set();
    let generation = set.chain.load_full().generations().remove(0);
    let context = set.evaluator.context(Origin::default());
    let prepared = with_settings(&set.evaluator.runtime, &generation.candidate, &context).await;
    generation.preparation.end(prepared);
    let result = generation.preparation.result().expect("it was decided");
    let result = result.map_err(str::to_owned);
    (generation, result)
}

/// Returns the answers to several questions, as text.
async fn decisions(bench: &Bench) -> Vec<String> {
    let mut answers = Vec::new();
    for client in [anna(), stranger()] {
        let session = SessionId::generate();
        answers.push(format!("{:?}", bench.policies.admit(session, &client).await));
        for sender in ["anna@example.org", "twin@example.org", "x@elsewhere.test"] {
            let mut transaction = bench.policies.transaction(session);
            answers.push(format!("{:?}", transaction.sender(&client, &path(sender)).await));
            let recipient = address("anna@example.org");
            answers.push(format!(
                "{:?}",
                transaction.recipient(&client, &path(sender), &recipient).await
            ));
        }
    }
    answers
}

fn settings() -> Value {
    let hosts: Vec<Value> = (0..50)
        .map(|number| json!({ "network": format!("192.0.{number}.0/24"), "exempt": ["authentication", "homing"] }))
        .collect();
    json!({ "accept": { "from": "authenticated", "hosts": hosts } })
}

#[tokio::test]
async fn preinitialised_instances_decide_alike() {
    for (name, code, settings) in [
        ("default", builtin::DEFAULT, settings()),
        ("default", builtin::DEFAULT, json!({})),
        ("first-policy", builtin::FIRST_POLICY, json!({})),
        ("misbehaving", builtin::MISBEHAVING, json!({})),
    ] {
        let bench = Bench::with(&[("p", code, settings)]).await;
        let before = decisions(&bench).await;
        let (generation, result) = prepare(&bench).await;
        assert_eq!(result, Ok(()), "{name}");
        assert!(generation.prepared().is_some());
        assert_eq!(decisions(&bench).await, before, "{name}");
    }
}

#[tokio::test]
async fn fault_of_a_preinitialised_instance_has_the_same_location() {
    let bench = Bench::misbehaving("panic", "sender").await;
    let ask = || async {
        let mut transaction = bench.policies.transaction(SessionId::generate());
        assert!(transaction.sender(&anna(), &path("anna@example.org")).await.fault);
    };
    ask().await;
    let (_, result) = prepare(&bench).await;
    assert_eq!(result, Ok(()));
    ask().await;
    let faults = bench.faults();
    let [before, after] = &faults[..] else {
        panic!("two faults expected: {faults:?}");
    };
    assert!(before.location.is_some(), "{before:?}");
    assert_eq!((&after.class, &after.code), (&before.class, &before.code));
    assert_eq!((&after.function, &after.location), (&before.function, &before.location));
    assert_eq!(after.digest, before.digest);
}

#[tokio::test]
async fn policy_with_random_configuration_is_not_preinitialised() {
    let settings = json!({ "mode": "panic", "stage": "configure", "chance": 0 });
    let bench = Bench::with(&[("p", builtin::MISBEHAVING, settings)]).await;
    let before = decisions(&bench).await;
    let (generation, result) = prepare(&bench).await;
    let why = result.expect_err("a random number would be the same for all");
    assert!(why.contains("wasi:random"), "{why}");
    assert!(generation.prepared().is_none());
    assert_eq!(decisions(&bench).await, before);
}
