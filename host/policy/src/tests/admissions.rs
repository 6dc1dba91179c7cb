//! Which admissions are asked for again, and which are remembered.

use serde_json::{Value, json};

use crate::testing::{Bench, load, stranger};
use host_contract::{Admission, Answered};
use host_engine::component::builtin;
use host_mail::{Client, SessionId};

/// The default policy refuses this network, and only this.
fn refusing(network: &str) -> Value {
    json!({ "accept": { "hosts": [{ "network": network, "action": "reject" }] } })
}

async fn remembering(code: &[u8], settings: Value) -> Bench {
    let mut bench = Bench::with(&[("p", code, settings)]).await;
    bench.config.policy_engine.remembered_admissions = 10;
    bench.restart().await;
    bench
}

async fn admit(bench: &Bench, client: &Client) -> Answered<Admission> {
    bench.policies.admit(SessionId::generate(), client).await
}

async fn is_refused(bench: &Bench, client: &Client) -> bool {
    matches!(admit(bench, client).await.answer, Admission::Refuse(_))
}

/// Questions that were put to the module, and those that were answered from memory.
fn asked(bench: &Bench) -> (u64, u64) {
    let status = &bench.policies.status()[0];
    (status.calls - status.load.remembered, status.load.remembered)
}

#[tokio::test]
async fn a_client_that_comes_again_is_known() {
    let bench = remembering(builtin::DEFAULT, refusing("192.0.2.7/32")).await;
    let first = admit(&bench, &stranger()).await;
    let again = Client {
        port: 4711,
        ..stranger()
    };
    assert_eq!(format!("{first:?}"), format!("{:?}", admit(&bench, &again).await));
    assert!(is_refused(&bench, &again).await);
    assert_eq!(asked(&bench), (1, 2));
}

#[tokio::test]
async fn another_client_is_asked_about() {
    let bench = remembering(builtin::DEFAULT, refusing("192.0.2.7/32")).await;
    assert!(is_refused(&bench, &stranger()).await);
    let neighbour = Client {
        address: "192.0.2.8".parse().expect("an address"),
        ..stranger()
    };
    assert!(!is_refused(&bench, &neighbour).await);
    let elsewhere = Client {
        listener: "submission".to_owned(),
        ..stranger()
    };
    assert!(is_refused(&bench, &elsewhere).await);
    assert_eq!(asked(&bench), (3, 0));
}

#[tokio::test]
async fn new_settings_know_nobody() {
    let bench = remembering(builtin::DEFAULT, refusing("192.0.2.7/32")).await;
    assert!(is_refused(&bench, &stranger()).await);
    let elsewhere = load(None, Some(refusing("198.51.100.0/24")));
    bench.policies.load(elsewhere).await.expect("loaded");
    assert!(!is_refused(&bench, &stranger()).await);
    assert_eq!(asked(&bench), (1, 0));
}

/// With this chance of a panic the policy asks for a random number, and never panics.
#[tokio::test]
async fn a_policy_that_asks_for_anything_is_asked_each_time() {
    let bench = remembering(
        builtin::MISBEHAVING,
        json!({ "mode": "panic", "stage": "admit", "chance": 0 }),
    )
    .await;
    for _ in 0..3 {
        assert!(!admit(&bench, &stranger()).await.fault);
    }
    assert_eq!(asked(&bench), (3, 0));
}

#[tokio::test]
async fn a_fault_is_not_remembered() {
    let bench = remembering(builtin::MISBEHAVING, json!({ "mode": "panic", "stage": "admit" })).await;
    for _ in 0..2 {
        assert!(admit(&bench, &stranger()).await.fault);
    }
    assert_eq!((asked(&bench), bench.faults().len()), ((2, 0), 2));
}

#[tokio::test]
async fn what_was_remembered_is_recorded_as_a_decision() {
    let mut bench = remembering(builtin::DEFAULT, refusing("192.0.2.7/32")).await;
    let collected = bench.record().await;
    for _ in 0..2 {
        assert!(is_refused(&bench, &stranger()).await);
    }
    let records = collected.records();
    let outcomes: Vec<_> = records.iter().map(|record| &record.exchanges[0].outcome).collect();
    assert_eq!(outcomes.len(), 2);
    assert_eq!(outcomes[0], outcomes[1]);
    assert_eq!(asked(&bench), (1, 1));
}
