//! Records: made while mail is served, replayed with the same result, and redacted.

use std::sync::Arc;

use serde_json::{Value, json};

use crate::testing::{Bench, Collected, address, anna, envelope, path, stranger};
use crate::{Comparison, Completeness, ExchangeOutcome, PolicyManager, Record, Replay};
use host_config::RecordMode;
use host_contract::{Admission, Decision, Disposition, FailedRecipient, Failure, Octets, Question};
use host_engine::component::builtin;
use host_mail::{Client, Envelope, Identity, InMemory, MessageId, Reply, ReversePath, SessionId, Timestamp};

/// Settings that require authentication, with a single exempt host.
fn settings() -> Value {
    json!({
        "accept": {
            "from": "authenticated",
            "hosts": [{ "network": "127.0.0.2/32", "exempt": ["authentication", "encryption"] }],
        },
        "homing": { "required": true, "match-account": true },
    })
}

async fn recording_bench() -> (Bench, Arc<Collected>) {
    let mut bench = Bench::with(&[("main", builtin::DEFAULT, settings())]).await;
    let collected = bench.record().await;
    (bench, collected)
}

fn client(address: &str, account: Option<&str>) -> Client {
    Client {
        address: address.parse().expect("an address"),
        identity: account.map(|account| Identity {
            account: account.to_owned(),
            mechanism: "PLAIN".to_owned(),
        }),
        ..stranger()
    }
}

/// Runs a connection with a transaction, and a notification if the message fails.
async fn session(policies: &PolicyManager, client: &Client, sender: ReversePath, recipients: &[&str], header: &str) {
    let session = SessionId::generate();
    let mut client = client.clone();
    if let Admission::Admit(terms) = policies.admit(session, &client).await.answer {
        client.exemptions = terms.exemptions;
    }
    let client = &client;
    let mut transaction = policies.transaction(session);
    transaction.sender(client, &sender).await;
    for recipient in recipients {
        transaction.recipient(client, &sender, &address(recipient)).await;
    }
    let (id, envelope) = (MessageId::generate(), envelope(sender, recipients));
    let content = Arc::new(InMemory(format!("{header}\r\nA body of some length.\r\n").into()));
    let asked = transaction.message(id, client, &envelope, content).await;
    drop(transaction);
    if let Disposition::Fail(class) = asked.answer {
        policies.plan(&failure(id, class, envelope)).await;
    }
}

fn failure(message: MessageId, class: String, envelope: Envelope) -> Failure {
    Failure {
        message,
        class,
        failed: vec![FailedRecipient {
            address: envelope.recipients[0].clone(),
            reply: Reply::new(550, (5, 7, 1), "not homed"),
            remote: None,
        }],
        envelope,
        identity: None,
        client_address: None,
        exemptions: Vec::new(),
        automatic: false,
        headers: vec![("From".to_owned(), "x@example.net".to_owned())],
    }
}

/// Runs sessions with every kind of outcome: accepted, refused, ambiguous, exempt, null reverse-path and a
/// notification.
async fn mixed_mail(policies: &PolicyManager) {
    let (anna, exempt) = (client("192.0.2.7", Some("anna")), client("127.0.0.2", None));
    let own = "From: <anna@example.org>\r\nSubject: h\u{f6}flich\r\n";
    for _ in 0..3 {
        session(policies, &anna, path("anna@example.org"), &["anna@example.org"], own).await;
        session(policies, &anna, path("boss@example.org"), &["anna@example.org"], own).await;
        session(
            policies,
            &anna,
            path("anna@example.org"),
            &["twin@example.org", "x@example.com"],
            own,
        )
        .await;
        session(
            policies,
            &anna,
            path("twin@example.org"),
            &["anna@example.org"],
            "From: <twin@example.org>\r\n",
        )
        .await;
        session(
            policies,
            &exempt,
            path("x@example.net"),
            &["anna@example.org"],
            "From: x@example.net\r\n",
        )
        .await;
        session(policies, &stranger(), ReversePath::Null, &["nobody@example.org"], "").await;
    }
}

async fn replay(bench: &Bench, settings: Option<Value>, records: &[Record]) -> Comparison {
    let mut module = bench.config.policies[0].clone();
    if let Some(Value::Object(settings)) = settings {
        module.settings = settings;
    }
    let mut replay = Replay::new(&module, None).await.expect("a candidate");
    for record in records {
        // Records are serialised, as in an export.
        let text = serde_json::to_string(record).expect("JSON");
        replay.play(&serde_json::from_str(&text).expect("a record")).await;
    }
    replay.comparison()
}

#[tokio::test(flavor = "multi_thread")]
async fn replay_of_the_active_policy_differs_nowhere() {
    let (bench, collected) = recording_bench().await;
    mixed_mail(&bench.policies).await;
    let records = collected.records();
    let questions: usize = records.iter().map(|record| record.exchanges.len()).sum();
    let found = replay(&bench, None, &records).await;
    assert!(!found.differs(), "{found:#?}");
    assert_eq!(
        (found.compared, found.unrecorded, found.skipped),
        (questions as u64, 0, 0)
    );
    let stages = ["admit", "sender", "recipient", "message", "ndr"];
    for stage in stages {
        let asked = |record: &Record| {
            record
                .exchanges
                .iter()
                .any(|exchange| exchange.question.stage() == stage)
        };
        assert!(records.iter().any(asked), "nothing of {stage}");
    }
    let decided = |verdict: &str| {
        let outcomes = records
            .iter()
            .flat_map(|record| &record.exchanges)
            .map(|exchange| &exchange.outcome);
        outcomes
            .filter(|outcome| crate::Stand::of(outcome).verdict.starts_with(verdict))
            .count()
    };
    for verdict in ["accept", "reject", "fail", "admit", "tell"] {
        assert!(decided(verdict) > 0, "nothing was {verdict}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn replay_with_other_settings_counts_every_change() {
    let (bench, collected) = recording_bench().await;
    mixed_mail(&bench.policies).await;
    let records = collected.records();
    let found = replay(&bench, Some(json!({ "accept": { "from": "anyone" } })), &records).await;
    assert!(found.differs(), "{found:#?}");
    assert_eq!(found.compared, found.same + found.different);
    let counted: u64 = found.changes.iter().map(|change| change.count).sum();
    assert_eq!(counted, found.different);
    assert!(found.changes.is_sorted_by(|one, next| one.count >= next.count));
    assert!(
        found
            .changes
            .iter()
            .all(|change| !change.examples.is_empty() && change.examples.len() <= 3)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn fault_is_recorded_with_location_and_ends_the_replay() {
    let settings = json!({ "mode": "panic", "stage": "recipient" });
    let mut bench = Bench::with(&[("m", builtin::MISBEHAVING, settings)]).await;
    let collected = bench.record().await;
    session(&bench.policies, &anna(), ReversePath::Null, &["anna@example.org"], "").await;
    let records = collected.records();
    let [_, transaction] = &records[..] else {
        panic!("{records:#?}")
    };
    let outcomes: Vec<_> = transaction.exchanges.iter().map(|exchange| &exchange.outcome).collect();
    let [
        ExchangeOutcome::Pass | ExchangeOutcome::Decided { .. },
        ExchangeOutcome::Fault { class, location, .. },
    ] = outcomes[..]
    else {
        panic!("{outcomes:#?}");
    };
    assert_eq!(class, "panic");
    assert!(
        location
            .as_ref()
            .is_some_and(|location| location.contains("mischief.rs:")),
        "{location:?}"
    );
    assert!(!replay(&bench, None, &records).await.differs());

    let earlier = json!({ "mode": "panic", "stage": "sender" });
    let found = replay(&bench, Some(earlier), &records).await;
    assert_eq!((found.faulted, found.different, found.skipped), (1, 1, 1), "{found:#?}");
    assert_eq!(found.faults.get("panic"), Some(&1));
}

#[tokio::test(flavor = "multi_thread")]
async fn records_nothing_of_a_module_with_recording_off() {
    let mut bench = Bench::with(&[("main", builtin::DEFAULT, settings())]).await;
    let collected = bench.record().await;
    bench.config.policies[0].record = RecordMode::Off;
    bench.policies.reload(&bench.config).await;
    mixed_mail(&bench.policies).await;
    assert!(collected.records().is_empty());
    bench.config.policies[0].record = RecordMode::On;
    bench.policies.reload(&bench.config).await;
    bench.policies.admit(SessionId::generate(), &stranger()).await;
    assert_eq!(collected.records().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn record_keeps_the_configured_bytes_of_a_body() {
    let (mut bench, collected) = recording_bench().await;
    let kept = |collected: &Collected| {
        let records = collected.records();
        let questions = records
            .iter()
            .flat_map(|record| &record.exchanges)
            .map(|exchange| exchange.question.clone());
        let last = questions.filter_map(|question| match question {
            Question::Message { message, .. } => Some(message),
            _ => None,
        });
        last.last().expect("a message")
    };
    let header = "From: <anna@example.org>\r\n";
    session(
        &bench.policies,
        &anna(),
        path("anna@example.org"),
        &["anna@example.org"],
        header,
    )
    .await;
    assert_eq!(kept(&collected).body, Octets("\r\n".into()), "the empty line");
    bench.config.decisions.body = 6;
    bench.policies.reload(&bench.config).await;
    session(
        &bench.policies,
        &anna(),
        path("anna@example.org"),
        &["anna@example.org"],
        header,
    )
    .await;
    let message = kept(&collected);
    assert_eq!(
        (message.header, message.body),
        (Octets(header.into()), Octets("\r\nA body".into()))
    );
    assert_eq!(message.size, (header.len() + 26) as u64);
}

#[tokio::test(flavor = "multi_thread")]
async fn redacted_record_has_no_personal_data_and_is_not_replayed() {
    let (bench, collected) = recording_bench().await;
    mixed_mail(&bench.policies).await;
    let secrets = [
        "anna",
        "boss@",
        "twin@",
        "x@example",
        "nobody@",
        "192.0.2.7",
        "höflich",
        "there.example.net",
    ];
    let full = serde_json::to_string(&collected.records()).expect("JSON");
    assert!(secrets.iter().all(|secret| full.contains(secret)));
    let hash = |text: &str| host_engine::generation::digest(text.as_bytes())[..16].to_owned();
    let redacted: Vec<Record> = collected
        .records()
        .into_iter()
        .map(|record| record.redact(&hash))
        .collect();
    let text = serde_json::to_string(&redacted).expect("JSON");
    for secret in secrets {
        assert!(!text.contains(secret), "{secret} in {text}");
    }
    assert!(
        text.contains("@example.org") && text.contains("192.0.2.0"),
        "domains and networks stay"
    );
    assert!(redacted.iter().all(|record| record.kept == Completeness::Hashed));
    let found = replay(&bench, None, &redacted).await;
    assert_eq!((found.compared, found.differs()), (0, false));
    assert!(found.skipped > 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn record_covers_one_unit_of_work_of_one_module() {
    let (bench, collected) = recording_bench().await;
    let session_id = SessionId::generate();
    let before = Timestamp::now();
    let (client, sender) = (client("192.0.2.7", Some("anna")), path("anna@example.org"));
    let mut transaction = bench.policies.transaction(session_id);
    transaction.sender(&client, &sender).await;
    transaction
        .recipient(&client, &sender, &address("anna@example.org"))
        .await;
    assert!(collected.records().is_empty(), "not before its end");
    drop(transaction);
    let records = collected.records();
    let [record] = &records[..] else { panic!("{records:#?}") };
    assert_eq!(
        (record.session, record.message, record.module.as_str()),
        (Some(session_id), None, "main")
    );
    assert!(record.time >= before && record.id.time() == record.time);
    let fresh: Vec<bool> = record.exchanges.iter().map(|exchange| exchange.fresh).collect();
    assert_eq!(fresh, [true, false]);
    assert!(
        record.exchanges.iter().any(|exchange| !exchange.calls.is_empty()),
        "{record:#?}"
    );
    let ExchangeOutcome::Decided {
        answer: Decision::Verdict(_),
        because,
    } = &record.exchanges[0].outcome
    else {
        panic!("{record:#?}");
    };
    assert_eq!(because.policy, "main");
}
