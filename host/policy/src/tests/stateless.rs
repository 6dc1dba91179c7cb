//! Stateless policies, with instances shared by units of work, and stateful policies.

use std::sync::Arc;

use serde_json::{Value, json};

use crate::testing::{Bench, address, anna, envelope, load, path, stranger};
use host_contract::{Disposition, Edit};
use host_engine::component::builtin;
use host_mail::{Client, InMemory, MessageId, ReversePath, SessionId};

/// Starts a policy that stamps each message with every question that the instance was ever asked.
async fn stamping(settings: Value, stateless: Option<bool>) -> Bench {
    Bench::with_stateless(builtin::MISBEHAVING, settings, stateless).await
}

fn text(subject: &str) -> Arc<InMemory> {
    let text = format!("From: <anna@example.org>\r\nSubject: {subject}\r\n\r\nHello\r\n");
    Arc::new(InMemory(text.into()))
}

/// Runs a transaction with a sender and a message. Returns the stamp, or `None` for a fault.
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

/// The stamp of a new instance: each instance begins with `configure`.
const ONCE: &str = "stamp: configure sender message";
const TWICE: &str = "stamp: configure sender message sender message";

#[tokio::test]
async fn stateful_policy_gets_a_fresh_instance_for_each_message() {
    let bench = stamping(json!({ "stamp": "stamp:" }), None).await;
    for _ in 0..3 {
        assert_eq!(stamp(&bench, "x").await.as_deref(), Some(ONCE));
    }
}

#[tokio::test]
async fn stateless_instance_is_shared_by_messages() {
    let bench = stamping(json!({ "stamp": "stamp:" }), Some(true)).await;
    assert!(bench.policies.status()[0].stateless);
    assert_eq!(stamp(&bench, "x").await.as_deref(), Some(ONCE));
    assert_eq!(stamp(&bench, "x").await.as_deref(), Some(TWICE));
}

/// A thousand questions bound the state that a module declared as stateless can accumulate.
#[tokio::test]
async fn instance_is_replaced_after_a_thousand_questions() {
    let bench = stamping(json!({ "stamp": "stamp:" }), Some(true)).await;
    let client = anna();
    for _ in 0..1000 {
        let mut transaction = bench.policies.transaction(SessionId::generate());
        transaction.sender(&client, &path("anna@example.org")).await;
    }
    assert_eq!(stamp(&bench, "x").await.as_deref(), Some(ONCE));
}

#[tokio::test]
async fn faulted_instance_is_never_reused() {
    let settings = json!({ "stamp": "stamp:", "mode": "panic", "stage": "message", "subject": "bad" });
    let bench = stamping(settings, Some(true)).await;
    assert_eq!(stamp(&bench, "good").await.as_deref(), Some(ONCE));
    assert_eq!(stamp(&bench, "bad").await, None);
    assert_eq!(stamp(&bench, "good").await.as_deref(), Some(ONCE));
    assert_eq!(bench.faults().len(), 1);
}

#[tokio::test]
async fn load_discards_idle_instances() {
    let bench = stamping(json!({ "stamp": "before:" }), Some(true)).await;
    assert!(stamp(&bench, "x").await.is_some());
    let after = load(None, Some(json!({ "stamp": "stamp:" })));
    bench.policies.load(after).await.expect("loaded");
    assert_eq!(stamp(&bench, "x").await.as_deref(), Some(ONCE));
}

#[tokio::test]
async fn stateless_instance_is_not_held_between_questions() {
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
async fn call_budget_starts_anew_for_each_message() {
    let mut bench = Bench::with(&[("default", builtin::DEFAULT, json!({}))]).await;
    bench.config.policies[0].limits.host_calls = 20;
    bench.restart().await;
    let before = all_answers(&bench, &anna()).await;
    for _ in 0..20 {
        assert_eq!(all_answers(&bench, &anna()).await, before);
    }
    assert_eq!(bench.faults().len(), 0);
}

/// Returns the answers to several questions of a client, as text.
async fn all_answers(bench: &Bench, client: &Client) -> Vec<String> {
    let mut answers = vec![format!(
        "{:?}",
        bench.policies.admit(SessionId::generate(), client).await
    )];
    for sender in [path("anna@example.org"), path("mallory@example.net"), ReversePath::Null] {
        let envelope = envelope(sender, &["bert@example.org"]);
        let mut transaction = bench.policies.transaction(SessionId::generate());
        answers.push(format!("{:?}", transaction.sender(client, &envelope.sender).await));
        for recipient in ["bert@example.org", "nobody@example.org", "somebody@example.net"] {
            let asked = transaction
                .recipient(client, &envelope.sender, &address(recipient))
                .await;
            answers.push(format!("{asked:?}"));
        }
        let message = transaction
            .message(MessageId::generate(), client, &envelope, text("x"))
            .await;
        answers.push(format!("{message:?}"));
    }
    answers
}

/// The built-in policy is stateless without a setting.
#[tokio::test]
async fn default_policy_keeps_no_state_between_messages() {
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
        fresh.push(all_answers(&bench, client).await);
    }
    bench.config.policies[0].stateless = None;
    bench.restart().await;
    // The order of clients does not matter.
    for round in 0..12 {
        let index = (round * 7 + round / 3) % clients.len();
        assert_eq!(
            all_answers(&bench, &clients[index]).await,
            fresh[index],
            "round {round}"
        );
    }
}
