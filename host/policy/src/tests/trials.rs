//! Trials: what a generation on probation or on a stage may do, and what ends the trial.

use std::time::Duration;

use serde_json::{Value, json};

use crate::testing::{Bench, load, object, stranger};
use crate::{Condition, PolicyManager, StageRequest};
use host_config::{AdmitFault, Share};
use host_contract::Admission;
use host_engine::component::builtin;
use host_events::Event;
use host_mail::{ReversePath, SessionId};

async fn working_policy() -> Bench {
    Bench::with(&[("m", builtin::MISBEHAVING, json!({}))]).await
}

fn panics(stage: &str) -> Value {
    json!({ "mode": "panic", "stage": stage })
}

fn stage(settings: Value, lasts: Duration) -> StageRequest {
    StageRequest {
        load: load(None, Some(settings)),
        share: Share::ALL,
        clients: Vec::new(),
        lasts,
        reason: None,
    }
}

async fn sender_faults(policies: &PolicyManager) -> bool {
    faults_from(policies, 0).await
}

/// Asks about a sender as a client of another network than those with other numbers.
async fn faults_from(policies: &PolicyManager, network: u8) -> bool {
    let mut transaction = policies.transaction(SessionId::generate());
    let client = host_mail::Client {
        address: [127, 0, network, 1].into(),
        ..stranger()
    };
    transaction.sender(&client, &ReversePath::Null).await.fault
}

/// Waits until the supervisor has emitted an event.
async fn wait_for_event(bench: &Bench, id: u32) -> Event {
    for _ in 0..1000 {
        if let Some(event) = bench.captured.events().into_iter().find(|event| event.entry().id == id) {
            return event;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("no {id} among {:?}", bench.captured.ids());
}

#[tokio::test(flavor = "multi_thread")]
async fn failed_probation_rolls_back_and_refuses_the_candidate() {
    let mut bench = working_policy().await;
    let bad = load(None, Some(panics("sender")));
    bench.policies.load(bad.clone()).await.expect("loaded");
    for network in 0..5 {
        assert!(faults_from(&bench.policies, network).await);
    }
    let Event::PolicyRolledBack { was, to, how, .. } = wait_for_event(&bench, 5024).await else {
        panic!("rolled back");
    };
    assert_eq!((was, to, how.as_str()), (Some(2), 1, "probation"));
    assert!(!sender_faults(&bench.policies).await);
    let problems = bench.policies.load(bad.clone()).await.expect_err("held back");
    assert!(problems[0].text.contains("--force"), "{problems:?}");
    bench.restart().await;
    assert!(!sender_faults(&bench.policies).await);
    assert_eq!(bench.policies.status()[0].generation, 1);
    bench
        .policies
        .load(bad.clone())
        .await
        .expect_err("held back after a restart, too");
    let forced = crate::LoadRequest { force: true, ..bad };
    bench.policies.load(forced).await.expect("by force");
}

#[tokio::test(flavor = "multi_thread")]
async fn failed_reload_is_rolled_back_until_the_configuration_changes() {
    let mut bench = working_policy().await;
    bench.config.policies[0].settings = object(panics("sender"));
    bench.policies.reload(&bench.config).await;
    assert!(bench.policies.status()[0].probation.is_some());
    for network in 0..5 {
        assert!(faults_from(&bench.policies, network).await);
    }
    let Event::PolicyRolledBack { was, to, .. } = wait_for_event(&bench, 5024).await else {
        panic!("rolled back");
    };
    assert_eq!((was, to), (Some(2), 1));
    assert!(!sender_faults(&bench.policies).await);
    bench.policies.reload(&bench.config).await;
    assert!(
        !sender_faults(&bench.policies).await,
        "the configuration says nothing new"
    );
    bench.restart().await;
    assert!(!sender_faults(&bench.policies).await);
    bench.config.policies[0].settings = object(json!({ "stamp": "new" }));
    let (changed, problems) = bench.policies.reload(&bench.config).await;
    assert!(
        changed[0].contains("instead of 1") && problems.is_empty(),
        "{changed:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn reload_with_other_limits_begins_no_probation() {
    let mut bench = working_policy().await;
    bench.config.policies[0].settings = object(panics("sender"));
    bench.config.policies[0].limits.host_calls = 10;
    bench.policies.reload(&bench.config).await;
    assert!(bench.policies.status()[0].probation.is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn passed_probation_ends() {
    let mut bench = working_policy().await;
    bench.config.policy_engine.probation.lasts = Duration::from_millis(50);
    bench.restart().await;
    bench
        .policies
        .load(load(None, Some(panics("sender"))))
        .await
        .expect("loaded");
    assert!(bench.policies.status()[0].probation.is_some());
    wait_for_event(&bench, 5028).await;
    assert!(bench.policies.status()[0].probation.is_none());
    for _ in 0..6 {
        assert!(sender_faults(&bench.policies).await);
    }
    assert!(sender_faults(&bench.policies).await, "nobody rolls it back any more");
    let health = bench.policies.health();
    assert_eq!(health.condition, Condition::Degraded);
    assert!(health.reasons[0].contains("7 faults in 7 calls"), "{health:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn generation_active_at_start_is_not_on_probation() {
    let bench = Bench::with(&[("m", builtin::MISBEHAVING, panics("sender"))]).await;
    for _ in 0..8 {
        assert!(sender_faults(&bench.policies).await);
    }
    let status = &bench.policies.status()[0];
    assert!(status.probation.is_none() && status.faults["panic"] == 8);
}

#[tokio::test(flavor = "multi_thread")]
async fn proven_generation_answers_admit_after_a_fault_on_probation() {
    let mut bench = working_policy().await;
    bench.config.faults.admit = AdmitFault::Defer;
    bench.restart().await;
    bench
        .policies
        .load(load(None, Some(panics("admit"))))
        .await
        .expect("loaded");
    let asked = bench.policies.admit(SessionId::generate(), &stranger()).await;
    assert!(matches!(asked.answer, Admission::Admit(_)) && !asked.fault, "{asked:?}");
    assert_eq!(bench.fault().instead, "the generation before it was asked");
}

#[tokio::test(flavor = "multi_thread")]
async fn transaction_keeps_the_staged_generation_to_its_end() {
    let bench = working_policy().await;
    let before = bench.policies.transaction(SessionId::generate());
    let staged = bench
        .policies
        .stage(stage(panics("recipient"), Duration::from_secs(60)))
        .await
        .expect("staged");
    assert_eq!((staged.generation, staged.active), (2, 1));
    let second = bench.policies.stage(stage(json!({}), Duration::from_secs(60))).await;
    assert!(
        second.expect_err("one at a time")[0]
            .text
            .contains("is staged in module m")
    );
    let mut within = bench.policies.transaction(SessionId::generate());
    assert!(!within.sender(&stranger(), &ReversePath::Null).await.fault);
    let mut before = before;
    assert!(!before.sender(&stranger(), &ReversePath::Null).await.fault);
    bench.policies.cancel("a tester").await.expect("cancelled");
    let draining = &bench.policies.status()[0].draining;
    assert_eq!((draining.len(), draining[0].generation, draining[0].units), (1, 2, 1));
    let anna = crate::testing::address("anna@example.org");
    assert!(within.recipient(&stranger(), &ReversePath::Null, &anna).await.fault);
    assert!(!before.recipient(&stranger(), &ReversePath::Null, &anna).await.fault);
    drop((within, before));
    let status = bench.policies.status().remove(0);
    assert!(status.draining.is_empty());
    assert_eq!((status.load.units, status.load.instances), (0, 0));
    assert_eq!(bench.captured.ids(), [5003, 5045, 5046, 4037]);
}

#[tokio::test(flavor = "multi_thread")]
async fn stage_survives_an_unchanged_reload_and_ends_in_time() {
    let bench = working_policy().await;
    let request = stage(json!({ "stamp": "x" }), Duration::from_secs(1));
    bench.policies.stage(request).await.expect("staged");
    bench.policies.reload(&bench.config).await;
    assert!(bench.policies.status()[0].staged.is_some());
    wait_for_event(&bench, 5046).await;
    assert!(bench.policies.status()[0].staged.is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn promoted_generation_survives_a_restart() {
    let mut bench = working_policy().await;
    let request = stage(panics("sender"), Duration::from_secs(60));
    bench.policies.stage(request).await.expect("staged");
    let active = bench.policies.promote("a tester", false).await.expect("promoted");
    assert_eq!((active.generation, active.previous), (2, Some(1)));
    bench.restart().await;
    assert_eq!(bench.captured.ids(), [5003]);
    assert_eq!(bench.policies.status()[0].generation, 2);
    assert!(sender_faults(&bench.policies).await);
}
