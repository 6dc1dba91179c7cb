//! Faults of real guests, and the answers of the host.

use std::sync::Arc;

use serde_json::json;

use crate::PolicyManager;
use crate::testing::{Bench, address, anna, envelope, module, path, stranger};
use host_config::AdmitFault;
use host_contract::{Admission, AdmissionTerms, Answered, Disposition, FailedRecipient, Failure, Verdict};
use host_engine::component::builtin;
use host_mail::{InMemory, MessageId, Reply, ReversePath, SessionId};

fn content() -> Arc<InMemory> {
    Arc::new(InMemory("Subject: hello\r\n\r\nHello.\r\n".into()))
}

/// Sessions run on any worker, so the futures of questions must be `Send`.
#[tokio::test(flavor = "multi_thread")]
async fn question_futures_are_send() {
    fn movable<F: Future + Send>(future: F) -> F {
        future
    }
    let bench = Bench::with(&[]).await;
    let client = stranger();
    movable(bench.policies.admit(SessionId::generate(), &client)).await;
    movable(bench.policies.plan(&failure(false))).await;
    movable(ask_message(&bench.policies)).await;
    let mut transaction = bench.policies.transaction(SessionId::generate());
    movable(transaction.sender(&client, &ReversePath::Null)).await;
}

async fn ask_message(policies: &PolicyManager) -> Answered<Disposition> {
    let mut transaction = policies.transaction(SessionId::generate());
    let envelope = envelope(path("a@example.net"), &["anna@example.org"]);
    let id = MessageId::generate();
    transaction.message(id, &stranger(), &envelope, content()).await
}

pub(super) fn failure(client_exempt: bool) -> Failure {
    Failure {
        message: MessageId::generate(),
        class: "not-homed".to_owned(),
        envelope: envelope(path("a@example.net"), &["b@example.com"]),
        failed: vec![FailedRecipient {
            address: address("b@example.com"),
            reply: Reply::new(550, (5, 7, 1), "not homed"),
            remote: None,
        }],
        identity: None,
        client_address: Some("127.0.0.2".parse().expect("an address")),
        exemptions: if client_exempt {
            vec!["authentication".to_owned()]
        } else {
            vec![]
        },
        automatic: false,
        headers: vec![("Subject".to_owned(), "hello".to_owned())],
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn faults_are_classified_and_defer() {
    for (mode, class) in [
        ("panic", "panic"),
        ("loop", "cpu-timeout"),
        ("eat-memory", "memory"),
        ("recurse", "stack"),
        ("lie-reply", "invalid-answer"),
    ] {
        let bench = Bench::misbehaving(mode, "recipient").await;
        let mut transaction = bench.policies.transaction(SessionId::generate());
        let sender = path("a@example.net");
        let accepted = transaction.sender(&stranger(), &sender).await;
        assert_eq!((accepted.answer, accepted.fault), (Verdict::Accept, false), "{mode}");
        let asked = transaction
            .recipient(&stranger(), &sender, &address("anna@example.org"))
            .await;
        assert!(asked.fault, "{mode}");
        assert_eq!(asked.because.to_string(), "host/policy-fault");
        let Verdict::Defer(reply) = asked.answer else {
            panic!("{mode}: {:?}", asked.answer);
        };
        assert_eq!(
            (reply.code, reply.status.map(|s| s.to_string()).as_deref()),
            (451, Some("4.3.0"))
        );
        let fault = bench.fault();
        assert_eq!(
            (fault.class.as_str(), fault.stage.as_str()),
            (class, "recipient"),
            "{fault:?}"
        );
        assert_eq!((fault.policy.as_str(), fault.generation), ("mischief", 1));
        assert_eq!(fault.instead, "the transaction was deferred with 451");
        assert!(fault.session.is_some() && fault.digest.len() == 64);
        let status = &bench.policies.status()[0];
        assert_eq!((status.faults.get(class), status.calls), (Some(&1), 2));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn panic_fault_names_function_line_and_stderr() {
    let bench = Bench::misbehaving("panic", "sender").await;
    let mut transaction = bench.policies.transaction(SessionId::generate());
    let asked = transaction.sender(&stranger(), &ReversePath::Null).await;
    assert!(asked.fault);
    let fault = bench.fault();
    let location = fault.location.expect("line tables are kept");
    assert!(
        location.starts_with("misbehaving/src/") && location.contains(".rs:"),
        "{location}"
    );
    let function = fault.function.expect("names are kept");
    assert!(function.contains("act"), "{function} at {location}");
    assert!(fault.stderr.contains("told to panic at Sender"), "{}", fault.stderr);
}

#[tokio::test(flavor = "multi_thread")]
async fn fault_ends_its_own_transaction_only() {
    let bench = Bench::misbehaving("panic", "sender").await;
    let mut transaction = bench.policies.transaction(SessionId::generate());
    for _ in 0..2 {
        assert!(transaction.sender(&stranger(), &ReversePath::Null).await.fault);
    }
    let rcpt = transaction
        .recipient(&stranger(), &ReversePath::Null, &address("anna@example.org"))
        .await;
    assert!(rcpt.fault && matches!(rcpt.answer, Verdict::Defer(_)));
    assert_eq!(bench.faults().len(), 1, "nothing was asked after the fault");
    let mut next = bench.policies.transaction(SessionId::generate());
    let rcpt = next
        .recipient(&stranger(), &ReversePath::Null, &address("anna@example.org"))
        .await;
    assert_eq!((rcpt.answer, rcpt.fault), (Verdict::Accept, false));
}

#[tokio::test(flavor = "multi_thread")]
async fn forged_address_is_an_invalid_answer() {
    let bench = Bench::misbehaving("forge-address", "message").await;
    let asked = ask_message(&bench.policies).await;
    assert!(matches!(asked.answer, Disposition::Defer(_)) && asked.fault);
    let fault = bench.fault();
    assert_eq!(
        (fault.class.as_str(), fault.stage.as_str()),
        ("invalid-answer", "message")
    );
    assert!(fault.message.is_some() && fault.code.contains("address"), "{fault:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn admit_fault_grants_no_exemption_or_defers() {
    let bench = Bench::misbehaving("panic", "admit").await;
    let asked = bench.policies.admit(SessionId::generate(), &stranger()).await;
    assert_eq!(
        (asked.answer, asked.fault),
        (Admission::Admit(AdmissionTerms::default()), true)
    );
    assert_eq!(bench.fault().instead, "the client is exempt from nothing");

    let mut bench = Bench::misbehaving("panic", "admit").await;
    bench.config.faults.admit = AdmitFault::Defer;
    bench.restart().await;
    let asked = bench.policies.admit(SessionId::generate(), &stranger()).await;
    let Admission::Refuse(reply) = asked.answer else {
        panic!("{:?}", asked.answer);
    };
    assert_eq!(reply.code, 421);
    assert_eq!(bench.fault().instead, "the client was told 421");
}

#[tokio::test(flavor = "multi_thread")]
async fn no_module_grants_exemptions_after_a_fault() {
    let mischief = json!({ "mode": "panic", "stage": "admit" });
    let exempt = stranger_at("127.0.0.2");
    let bench = Bench::with(&[("old", builtin::Q178091, json!({}))]).await;
    let asked = bench.policies.admit(SessionId::generate(), &exempt).await;
    let Admission::Admit(terms) = asked.answer else {
        panic!("admitted")
    };
    assert_eq!(*terms.exemptions, ["authentication"]);

    let bench = Bench::with(&[
        ("mischief", builtin::MISBEHAVING, mischief),
        ("old", builtin::Q178091, json!({})),
    ])
    .await;
    let asked = bench.policies.admit(SessionId::generate(), &exempt).await;
    assert_eq!(
        (asked.answer, asked.fault),
        (Admission::Admit(AdmissionTerms::default()), true)
    );
    let asked = bench.policies.admit(SessionId::generate(), &stranger()).await;
    let Admission::Admit(terms) = asked.answer else {
        panic!("admitted")
    };
    assert_eq!(terms.authentication, Some(true), "what another module demands holds");
}

fn stranger_at(address: &str) -> host_mail::Client {
    host_mail::Client {
        address: address.parse().expect("an address"),
        ..stranger()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn q178091_faults_at_ndr_without_an_identity() {
    let bench = Bench::with(&[("old", builtin::Q178091, json!({}))]).await;
    let asked = bench.policies.plan(&failure(true)).await;
    assert_eq!((asked.answer, asked.fault), (None, true));
    let fault = bench.fault();
    assert_eq!((fault.class.as_str(), fault.stage.as_str()), ("panic", "ndr"));
    assert_eq!(fault.instead, "the host's standard report");

    assert!(fault.function.expect("names are kept").contains("plan"));
    assert!(fault.location.expect("line tables are kept").contains("q178091/src/"));
    assert!(fault.stderr.contains("Option::unwrap()"), "{}", fault.stderr);
    let mut homed = failure(false);
    homed.identity = anna().identity;
    assert!(!bench.policies.plan(&homed).await.fault);
}

#[tokio::test(flavor = "multi_thread")]
async fn homing_fault_of_one_module_defers_the_transaction() {
    let mischief = json!({ "mode": "panic", "stage": "sender" });
    let bench = Bench::with(&[
        ("mischief", builtin::MISBEHAVING, mischief),
        ("old", builtin::Q178091, json!({})),
    ])
    .await;
    let mut transaction = bench.policies.transaction(SessionId::generate());
    let asked = transaction.sender(&anna(), &path("anna@example.org")).await;
    assert!(asked.fault && matches!(asked.answer, Verdict::Defer(_)));
}

#[tokio::test(flavor = "multi_thread")]
async fn empty_chain_accepts_with_reason_no_policy() {
    let bench = Bench::with(&[]).await;
    let asked = bench.policies.admit(SessionId::generate(), &stranger()).await;
    assert_eq!(asked.answer, Admission::Admit(AdmissionTerms::default()));
    assert_eq!(
        (asked.because.to_string().as_str(), asked.fault),
        ("host/no-policy", false)
    );
    assert_eq!(ask_message(&bench.policies).await.answer, Disposition::Accept(vec![]));
    let plan = bench.policies.plan(&failure(false)).await;
    assert_eq!((plan.answer, plan.fault), (None, false));
}

#[tokio::test(flavor = "multi_thread")]
async fn module_that_cannot_run_refuses_clients_with_421() {
    let bench = Bench::with(&[("broken", b"not a policy", json!({}))]).await;
    assert_eq!(bench.captured.ids(), [5004, 5019]);
    let asked = bench.policies.admit(SessionId::generate(), &stranger()).await;
    let Admission::Refuse(reply) = asked.answer else {
        panic!("admitted")
    };
    assert_eq!((reply.code, asked.fault), (421, true));
    assert!(matches!(
        ask_message(&bench.policies).await.answer,
        Disposition::Defer(_)
    ));
    assert!(bench.policies.plan(&failure(false)).await.fault);
    let status = &bench.policies.status()[0];
    assert!(status.health.contains("not WebAssembly"), "{}", status.health);
}

#[tokio::test(flavor = "multi_thread")]
async fn full_pool_is_overload_and_no_fault() {
    let bench = Bench::misbehaving("", "").await;
    assert_eq!(bench.captured.ids(), [5004, 5019], "no such mode");

    let bench = Bench::with(&[("mischief", builtin::MISBEHAVING, json!({}))]).await;
    let mut held = Vec::new();
    for _ in 0..bench.config.policy_engine.instances {
        let mut transaction = bench.policies.transaction(SessionId::generate());
        assert!(!transaction.sender(&stranger(), &ReversePath::Null).await.fault);
        held.push(transaction);
    }
    let mut crowded = bench.policies.transaction(SessionId::generate());
    let asked = crowded.sender(&stranger(), &ReversePath::Null).await;
    let Verdict::Defer(reply) = asked.answer else {
        panic!("{:?}", asked.answer)
    };
    assert_eq!(
        (reply.code, asked.because.to_string().as_str()),
        (451, "host/policy-overload")
    );
    assert!(bench.captured.ids().contains(&5021));
    assert!(bench.policies.status()[0].faults.is_empty());
    held.pop();
    let asked = crowded.sender(&stranger(), &ReversePath::Null).await;
    assert_eq!((asked.answer, asked.fault), (Verdict::Accept, false));
}

#[tokio::test(flavor = "multi_thread")]
async fn reload_adds_the_built_in_policy() {
    let bench = Bench::with(&[]).await;
    let mut config = bench.config.clone();
    config.policies = vec![module("default", None, json!({}))];
    let (changed, problems) = bench.policies.reload(&config).await;
    assert_eq!(problems, []);
    assert_eq!(changed, ["policy default: generation 1"]);
    assert_eq!(bench.policies.status()[0].origin, "built-in");
}

#[tokio::test(flavor = "multi_thread")]
async fn waiting_transactions_release_their_instances() {
    let bench = Bench::with(&[("mischief", builtin::MISBEHAVING, json!({}))]).await;
    let mut waiting = Vec::new();
    for _ in 0..bench.config.policy_engine.instances {
        let mut transaction = bench.policies.transaction(SessionId::generate());
        assert!(!transaction.sender(&stranger(), &ReversePath::Null).await.fault);
        let (reply_sent, client_waits) = tokio::sync::oneshot::channel::<()>();
        let waiter = tokio::spawn(async move {
            let transaction: &mut dyn host_contract::Transaction = &mut transaction;
            transaction.release_while(client_waits).await.expect("sent");
            transaction.sender(&stranger(), &ReversePath::Null).await
        });
        waiting.push((reply_sent, waiter));
    }
    let mut others = Vec::new();
    for _ in 0..bench.config.policy_engine.instances {
        let mut other = bench.policies.transaction(SessionId::generate());
        let asked = other.sender(&stranger(), &ReversePath::Null).await;
        assert_eq!((asked.answer, asked.fault), (Verdict::Accept, false));
        others.push(other);
    }
    drop(others);
    for (reply_sent, waiter) in waiting {
        reply_sent.send(()).expect("it waits");
        let asked = waiter.await.expect("no panic");
        assert_eq!(
            (asked.answer, asked.fault),
            (Verdict::Accept, false),
            "asked again, of a fresh one"
        );
    }
    assert!(!bench.captured.ids().contains(&5021));
}
