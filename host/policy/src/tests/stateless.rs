//! PolicyManager that keep nothing from one question to the next, and those that might.

use std::sync::Arc;

use serde_json::{Value, json};

use crate::testing::{Bench, address, anna, envelope, load, path, stranger};
use host_contract::{Disposition, Edit};
use host_engine::component::builtin;
use host_mail::{Client, InMemory, MessageId, ReversePath, SessionId};

/// A policy that stamps each message with every question its instance was ever asked.
async fn stamping(settings: Value, stateless: Option<bool>) -> Bench {
    Bench::asking(builtin::MISBEHAVING, settings, stateless).await
}

fn text(subject: &str) -> Arc<InMemory> {
    let text = format!("From: <anna@example.org>\r\nSubject: {subject}\r\n\r\nHello\r\n");
    Arc::new(InMemory(text.into()))
}

/// What a transaction of a sender and a message came to: its stamp, or none for a fault.
async fn stamp(bench: &Bench, subject: &str) -> Option<String> {
    let client = anna();
    let envelope = envelope(path("anna@example.org"), &["bert@example.org"]);
    let mut transaction = bench.policies.transaction(SessionId::generate());
    transaction.sender(&client, &envelope.sender).await;
    let asked = transaction
        .message(MessageId::generate(), &client, &envelope, text(subject))
        .await;
    match asked.answer {
        Disposition::Accept(edits) => match &edits[..] {
            [Edit::AddHeader(_, value)] => Some(value.clone()),
            other => panic!("one stamp expected: {other:?}"),
        },
        _ => None,
    }
}

/// Each instance begins with `configure`.
const ONCE: &str = "stamp: configure sender message";
const TWICE: &str = "stamp: configure sender message sender message";

#[tokio::test]
async fn an_operators_policy_begins_anew_for_each_message() {
    let bench = stamping(json!({ "stamp": "stamp:" }), None).await;
    for _ in 0..3 {
        assert_eq!(stamp(&bench, "x").await.as_deref(), Some(ONCE));
    }
}

#[tokio::test]
async fn an_instance_of_a_stateless_policy_answers_whoever_asks() {
    let bench = stamping(json!({ "stamp": "stamp:" }), Some(true)).await;
    assert!(bench.policies.status()[0].stateless);
    assert_eq!(stamp(&bench, "x").await.as_deref(), Some(ONCE));
    assert_eq!(stamp(&bench, "x").await.as_deref(), Some(TWICE));
}

/// Whatever it says of itself: nothing piles up without an end.
#[tokio::test]
async fn it_begins_anew_after_a_thousand_questions() {
    let bench = stamping(json!({ "stamp": "stamp:" }), Some(true)).await;
    let client = anna();
    for _ in 0..1000 {
        let mut transaction = bench.policies.transaction(SessionId::generate());
        transaction.sender(&client, &path("anna@example.org")).await;
    }
    assert_eq!(stamp(&bench, "x").await.as_deref(), Some(ONCE));
}

#[tokio::test]
async fn an_instance_that_faulted_never_serves_again() {
    let settings = json!({ "stamp": "stamp:", "mode": "panic", "stage": "message", "subject": "bad" });
    let bench = stamping(settings, Some(true)).await;
    assert_eq!(stamp(&bench, "good").await.as_deref(), Some(ONCE));
    assert_eq!(stamp(&bench, "bad").await, None);
    assert_eq!(stamp(&bench, "good").await.as_deref(), Some(ONCE));
    assert_eq!(bench.faults().len(), 1);
}

#[tokio::test]
async fn what_is_loaded_has_none_of_the_instances_before() {
    let bench = stamping(json!({ "stamp": "before:" }), Some(true)).await;
    assert!(stamp(&bench, "x").await.is_some());
    let after = load(None, Some(json!({ "stamp": "stamp:" })));
    bench.policies.load(after).await.expect("loaded");
    assert_eq!(stamp(&bench, "x").await.as_deref(), Some(ONCE));
}

#[tokio::test]
async fn it_is_not_held_between_two_questions() {
    let mut bench = stamping(json!({ "stamp": "stamp:" }), Some(true)).await;
    bench.config.policy_engine.instances = 1;
    bench.restart().await;
    let client = anna();
    let mut begun = Vec::new();
    for _ in 0..5 {
        let mut transaction = bench.policies.transaction(SessionId::generate());
        let asked = transaction.sender(&client, &path("anna@example.org")).await;
        assert!(!asked.fault, "{asked:?}");
        begun.push(transaction);
    }
    assert_eq!(bench.policies.status()[0].load.instances, 0);
    assert!(stamp(&bench, "x").await.is_some());
}

#[tokio::test]
async fn what_a_message_took_of_the_budgets_is_not_missing_to_the_next() {
    let mut bench = Bench::with(&[("default", builtin::DEFAULT, json!({}))]).await;
    bench.config.policies[0].limits.host_calls = 20;
    bench.restart().await;
    let before = everything(&bench, &anna()).await;
    for _ in 0..20 {
        assert_eq!(everything(&bench, &anna()).await, before);
    }
    assert_eq!(bench.faults().len(), 0);
}

/// All that one client can be answered, in words.
async fn everything(bench: &Bench, client: &Client) -> Vec<String> {
    let mut said = vec![format!(
        "{:?}",
        bench.policies.admit(SessionId::generate(), client).await
    )];
    for sender in [path("anna@example.org"), path("mallory@example.net"), ReversePath::Null] {
        let envelope = envelope(sender, &["bert@example.org"]);
        let mut transaction = bench.policies.transaction(SessionId::generate());
        said.push(format!("{:?}", transaction.sender(client, &envelope.sender).await));
        for recipient in ["bert@example.org", "nobody@example.org", "somebody@example.net"] {
            let asked = transaction
                .recipient(client, &envelope.sender, &address(recipient))
                .await;
            said.push(format!("{asked:?}"));
        }
        let message = transaction
            .message(MessageId::generate(), client, &envelope, text("x"))
            .await;
        said.push(format!("{message:?}"));
    }
    said
}

/// The default policy that the host carries is taken for one without being told to be.
#[tokio::test]
async fn the_default_policy_keeps_nothing_from_one_message_to_the_next() {
    let settings = json!({
        "homing": { "required": true },
        "accept": { "hosts": [{ "network": "198.51.100.0/24", "exempt": ["homing"] }] },
    });
    let exempt = Client {
        address: "198.51.100.7".parse().expect("an address"),
        ..stranger()
    };
    let clients = [anna(), stranger(), exempt];
    let mut bench = Bench::with(&[("default", builtin::DEFAULT, settings)]).await;
    assert!(bench.policies.status()[0].stateless);
    bench.config.policies[0].stateless = Some(false);
    bench.restart().await;
    let mut fresh = Vec::new();
    for client in &clients {
        fresh.push(everything(&bench, client).await);
    }
    bench.config.policies[0].stateless = None;
    bench.restart().await;
    // Whoever came before, in whatever order.
    for round in 0..12 {
        let which = (round * 7 + round / 3) % clients.len();
        assert_eq!(everything(&bench, &clients[which]).await, fresh[which], "round {round}");
    }
}
