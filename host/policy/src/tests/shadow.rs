//! The shadow: sees the questions, changes nothing and ends when due.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::testing::{Bench, load, stranger};
use crate::{ShadowReport, ShadowRequest};
use host_engine::component::builtin;
use host_events::Event;
use host_mail::{ReversePath, SessionId};

const TIMEOUT: Duration = Duration::from_secs(30);

fn request(settings: Value) -> ShadowRequest {
    ShadowRequest {
        candidate: load(None, Some(settings)),
        share: 1.0,
        lasts: Duration::from_secs(600),
    }
}

async fn working_policy() -> Bench {
    Bench::with(&[("m", builtin::MISBEHAVING, json!({}))]).await
}

async fn until(bench: &Bench, condition: impl Fn(&ShadowReport) -> bool) -> ShadowReport {
    let deadline = Instant::now() + TIMEOUT;
    loop {
        let report = bench.policies.shadow_report().expect("a shadow");
        if condition(&report) {
            return report;
        }
        assert!(Instant::now() < deadline, "{report:#?}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

async fn mail(bench: &Bench, count: usize) {
    for _ in 0..count {
        let mut transaction = bench.policies.transaction(SessionId::generate());
        assert!(!transaction.sender(&stranger(), &ReversePath::Null).await.fault);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn faulting_candidate_changes_nothing_and_is_reported_once() {
    let bench = working_policy().await;
    let started = bench
        .policies
        .shadow(request(json!({ "mode": "panic", "stage": "sender" })))
        .await;
    assert_eq!(started.expect("a shadow").against, 1);
    mail(&bench, 5).await;
    let report = until(&bench, |report| report.comparison.compared == 5).await;
    assert_eq!(
        (report.comparison.faulted, report.comparison.different),
        (5, 5),
        "{report:#?}"
    );
    assert_eq!(report.comparison.changes[0].to.verdict, "fault panic");
    let ended = bench.policies.end_shadow("enough").expect("it ran");
    assert_eq!(ended.ended.as_deref(), Some("enough"));
    assert!(bench.policies.end_shadow("again").is_none());
    assert_eq!(
        bench
            .policies
            .shadow_report()
            .expect("what it found")
            .comparison
            .compared,
        5
    );
    assert_eq!(bench.captured.ids(), [5003, 5033, 5035, 5034]);
    assert!(bench.policies.status()[0].faults.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn slow_candidate_drops_samples() {
    let bench = working_policy().await;
    let slow = request(json!({ "mode": "loop", "stage": "sender" }));
    bench.policies.shadow(slow).await.expect("a shadow");
    mail(&bench, 600).await;
    let report = until(&bench, |report| report.dropped > 0 && report.comparison.compared > 0).await;
    assert!(report.comparison.faults.contains_key("cpu-timeout"), "{report:#?}");
    assert!(report.dropped + report.comparison.compared <= 600);
}

#[tokio::test(flavor = "multi_thread")]
async fn ends_when_another_generation_becomes_active() {
    let bench = working_policy().await;
    bench
        .policies
        .shadow(request(json!({ "mode": "panic" })))
        .await
        .expect("a shadow");
    mail(&bench, 1).await;
    until(&bench, |report| report.comparison.compared == 1).await;
    bench
        .policies
        .load(load(Some(builtin::Q178091), None))
        .await
        .expect("loaded");
    let report = until(&bench, |report| report.ended.is_some()).await;
    assert_eq!(report.ended.as_deref(), Some("the active generation has changed"));
    mail(&bench, 1).await;
    let report = bench.policies.shadow_report().expect("a report");
    assert_eq!((report.comparison.compared, report.dropped), (1, 0));
    assert!(matches!(
        bench.captured.events().last(),
        Some(Event::ShadowEnded { .. })
    ));
}

#[tokio::test(flavor = "multi_thread")]
async fn ends_when_its_time_is_over() {
    let bench = working_policy().await;
    let short = ShadowRequest {
        lasts: Duration::from_millis(1),
        ..request(json!({ "mode": "panic" }))
    };
    bench.policies.shadow(short).await.expect("a shadow");
    let report = until(&bench, |report| report.ended.is_some()).await;
    assert_eq!(report.ended.as_deref(), Some("its time is over"));
}

#[tokio::test(flavor = "multi_thread")]
async fn refuses_a_second_shadow_and_invalid_candidates() {
    let bench = working_policy().await;
    let refused = bench
        .policies
        .shadow(request(json!({ "mode": "dance" })))
        .await
        .expect_err("no such mode");
    assert_eq!(refused[0].key, "settings");
    assert!(bench.policies.shadow_report().is_none());
    bench
        .policies
        .shadow(request(json!({ "mode": "panic" })))
        .await
        .expect("a shadow");
    let refused = bench
        .policies
        .shadow(request(json!({ "mode": "panic" })))
        .await
        .expect_err("a second one");
    assert!(refused[0].text.contains("stop it first"), "{refused:?}");
    bench.policies.end_shadow("for another").expect("it ran");
    bench
        .policies
        .shadow(request(json!({ "mode": "panic" })))
        .await
        .expect("another");
}

#[tokio::test(flavor = "multi_thread")]
async fn share_selects_about_that_part_of_the_sessions() {
    let bench = working_policy().await;
    let half = ShadowRequest {
        share: 0.5,
        ..request(json!({ "mode": "panic", "stage": "ndr" }))
    };
    bench.policies.shadow(half).await.expect("a shadow");
    mail(&bench, 200).await;
    let seen = |report: &ShadowReport| report.comparison.compared + report.dropped;
    let report = until(&bench, |report| seen(report) > 50).await;
    assert!(seen(&report) < 150, "{report:#?}");
    assert_eq!(report.comparison.different, 0);
}
