//! Tests of remotes in and out of trouble.

use super::super::destination::Protocol;
use super::*;
use crate::circuit_breaker::FIRST_OPEN_PERIOD;

pub(super) fn remote(endpoint: &str) -> Remote {
    Remote::Server {
        protocol: Protocol::Smtp,
        endpoint: endpoint.parse().expect("an endpoint"),
    }
}

pub(super) fn gone() -> Reply {
    Reply::new(451, (4, 4, 1), "gone")
}

fn circuit_open() -> Option<Unavailable> {
    Some(Unavailable {
        reply: gone(),
        circuit_open: true,
    })
}

/// Acquires a permit of `a:25` that is free.
async fn first_permit(health: &RemoteHealth, limit: usize) -> ConnectionPermit {
    let permit = health.acquire(&remote("a:25"), limit, WaitBound::Remote).await;
    permit.unwrap_or_else(|why| panic!("{why:?}"))
}

#[tokio::test]
async fn failure_opens_the_circuit_of_that_remote_only() {
    let health = RemoteHealth::new();
    let mut permit = first_permit(&health, 2).await;
    assert_eq!(
        permit.record_failure(gone(), Duration::from_secs(3600)),
        FailureEffect::CircuitOpened
    );
    assert_eq!(
        permit.record_failure(gone(), Duration::from_secs(3600)),
        FailureEffect::Unchanged
    );
    assert_eq!(
        health.acquire(&remote("a:25"), 2, WaitBound::Remote).await.err(),
        circuit_open()
    );
    assert!(health.acquire(&remote("b:25"), 2, WaitBound::Remote).await.is_ok());
    assert!(permit.record_success().is_some());
    assert_eq!(permit.record_success(), None);
    assert!(health.acquire(&remote("a:25"), 2, WaitBound::Remote).await.is_ok());
}

#[tokio::test]
async fn waiting_delivery_gets_the_reply_of_the_failed_attempt() {
    let health = Arc::new(RemoteHealth::new());
    let mut permit = first_permit(&health, 1).await;
    let waiting = tokio::spawn({
        let health = health.clone();
        async move { health.acquire(&remote("a:25"), 1, WaitBound::Remote).await.err() }
    });
    tokio::task::yield_now().await;
    permit.record_failure(gone(), Duration::from_secs(3600));
    drop(permit);
    assert_eq!(waiting.await.expect("no panic"), circuit_open());
}

#[tokio::test]
async fn few_deliveries_wait_and_room_is_announced() {
    let health = Arc::new(RemoteHealth::new());
    let acquire = {
        let health = health.clone();
        move || {
            let health = health.clone();
            async move { health.acquire(&remote("a:25"), 1, WaitBound::Remote).await }
        }
    };
    let permit = acquire().await.unwrap_or_else(|why| panic!("{why:?}"));
    let waiting: Vec<_> = (0..WAITING_PER_CONNECTION).map(|_| tokio::spawn(acquire())).collect();
    while health.waiting.get() < WAITING_PER_CONNECTION {
        tokio::task::yield_now().await;
    }
    let refused = acquire().await.err().expect("no room");
    assert_eq!((refused.reply.code, refused.circuit_open), (451, false));
    drop(permit);
    for each in waiting {
        drop(each.await.expect("no panic"));
    }
    let (name, room) = health.next_room().await;
    assert_eq!((&*name, room), ("smtp:a:25", WAITING_PER_CONNECTION / 2));
}

#[tokio::test(start_paused = true)]
async fn stall_refuses_those_that_wait_until_the_stalled_delivery_ends() {
    let health = Arc::new(RemoteHealth::new());
    let permit = first_permit(&health, 1).await;
    let waiting = tokio::spawn({
        let health = health.clone();
        async move { health.acquire(&remote("a:25"), 1, WaitBound::Remote).await.err() }
    });
    while health.waiting.get() < 1 {
        tokio::task::yield_now().await;
    }
    let stalled = permit.stall_reporter();
    assert!(stalled.record_stall(gone(), RECENT_SUCCESS));
    assert_eq!(waiting.await.expect("no panic"), circuit_open());
    assert!(!stalled.record_stall(gone(), RECENT_SUCCESS), "known already");
    let forced = health.force(&remote("a:25"), 1);
    drop(forced);
    assert_eq!(
        health.acquire(&remote("a:25"), 1, WaitBound::Total).await.err(),
        circuit_open()
    );
    drop(permit);
    let probe = first_permit(&health, 1).await;
    assert!(probe.record_success().is_some());
}

#[tokio::test]
async fn troubles_in_a_row_open_the_circuit() {
    let health = RemoteHealth::new();
    let hour = Duration::from_secs(3600);
    let trouble = async |success: bool| {
        let mut permit = first_permit(&health, 1).await;
        if success {
            permit.record_success();
        }
        permit.record_trouble(gone(), hour)
    };
    for _ in 0..2 {
        for number in 1..TROUBLES {
            assert_eq!(trouble(number == 1).await, FailureEffect::Unchanged);
        }
    }
    assert_eq!(trouble(false).await, FailureEffect::CircuitOpened);
}

#[tokio::test(start_paused = true)]
async fn failure_of_an_earlier_attempt_leaves_the_probe_in_progress() {
    let health = RemoteHealth::new();
    let acquire = async || health.acquire(&remote("a:25"), 5, WaitBound::Remote).await;
    let all = [acquire().await, acquire().await];
    let [mut first, mut second] = all.map(|permit| permit.unwrap_or_else(|why| panic!("{why:?}")));
    let hour = Duration::from_secs(3600);
    first.record_failure(gone(), hour);
    drop(first);
    tokio::time::advance(FIRST_OPEN_PERIOD).await;
    let _probe = acquire().await.unwrap_or_else(|why| panic!("{why:?}"));
    second.record_failure(gone(), hour);
    drop(second);
    tokio::time::advance(FIRST_OPEN_PERIOD).await;
    assert_eq!(acquire().await.err(), circuit_open(), "the probe is in progress");
}

#[tokio::test(start_paused = true)]
async fn permit_of_an_ended_probe_does_not_end_the_next_probe() {
    let health = RemoteHealth::new();
    let acquire = async || health.acquire(&remote("a:25"), 5, WaitBound::Remote).await;
    let mut permit = acquire().await.unwrap_or_else(|why| panic!("{why:?}"));
    let hour = Duration::from_secs(3600);
    permit.record_failure(gone(), hour);
    drop(permit);
    tokio::time::advance(FIRST_OPEN_PERIOD).await;
    let mut ended = acquire().await.unwrap_or_else(|why| panic!("{why:?}"));
    ended.record_failure(gone(), hour);
    tokio::time::advance(FIRST_OPEN_PERIOD * 2).await;
    let _probe = acquire().await.unwrap_or_else(|why| panic!("{why:?}"));
    drop(ended);
    assert_eq!(acquire().await.err(), circuit_open(), "the next probe is in progress");
}

#[tokio::test]
async fn unfinished_probe_is_left_to_the_next_delivery() {
    let health = RemoteHealth::new();
    let acquire = async || health.acquire(&remote("a:25"), 5, WaitBound::Remote).await;
    let mut permit = acquire().await.unwrap_or_else(|why| panic!("{why:?}"));
    // The open period is half of this and ends at once.
    permit.record_failure(gone(), Duration::from_nanos(2));
    drop(permit);
    let probe = acquire().await.unwrap_or_else(|why| panic!("{why:?}"));
    assert_eq!(acquire().await.err(), circuit_open(), "a probe is in progress");
    drop(probe);
    let probe = acquire().await.unwrap_or_else(|why| panic!("{why:?}"));
    assert!(probe.record_success().is_some());
    let all = [acquire().await, acquire().await];
    assert!(all.iter().all(Result::is_ok), "the circuit is closed again");
}

#[tokio::test]
async fn refused_connection_reduces_the_limit_and_keeps_the_circuit_closed() {
    let health = RemoteHealth::new();
    let acquire = async || health.acquire(&remote("a:25"), 5, WaitBound::Remote).await;
    let all = [acquire().await, acquire().await];
    let [mut old, mut new] = all.map(|permit| permit.unwrap_or_else(|why| panic!("{why:?}")));
    old.record_success();
    let hour = Duration::from_secs(3600);
    assert_eq!(
        new.record_failure(gone(), hour),
        FailureEffect::LimitReduced { limit: 2, first: true }
    );
    assert!(new.is_consumed());
    assert_eq!(new.record_failure(gone(), hour), FailureEffect::Unchanged);
    let mut third = acquire().await.unwrap_or_else(|why| panic!("{why:?}"));
    assert_eq!(
        third.record_failure(gone(), hour),
        FailureEffect::LimitReduced { limit: 1, first: false }
    );
    assert_eq!(
        old.record_failure(gone(), hour),
        FailureEffect::Unchanged,
        "the last connection is kept"
    );
    drop(old);
    assert!(acquire().await.is_ok());
}

#[tokio::test]
async fn open_period_is_zero_if_retries_have_no_wait() {
    let health = RemoteHealth::new();
    let mut permit = first_permit(&health, 2).await;
    permit.record_failure(gone(), Duration::ZERO);
    drop(permit);
    assert!(health.acquire(&remote("a:25"), 2, WaitBound::Remote).await.is_ok());
}

#[tokio::test]
async fn changed_limit_keeps_the_circuit_state() {
    let health = RemoteHealth::new();
    let mut permit = first_permit(&health, 2).await;
    permit.record_failure(gone(), Duration::from_secs(3600));
    assert_eq!(
        health.acquire(&remote("a:25"), 5, WaitBound::Remote).await.err(),
        circuit_open()
    );
    assert_eq!(health.by_name()["smtp:a:25"].0, CircuitState::Open);
    assert!(permit.record_success().is_some());
    let acquire = async || health.acquire(&remote("a:25"), 3, WaitBound::Remote).await;
    let all = [acquire().await, acquire().await];
    assert!(all.iter().all(Result::is_ok));
    assert_eq!(health.by_name()["smtp:a:25"].0, CircuitState::Closed);
}

#[tokio::test]
async fn prune_removes_unused_healthy_remotes() {
    let health = RemoteHealth::new();
    let used = health.acquire(&remote("a:25"), 2, WaitBound::Remote).await.ok();
    drop(health.acquire(&remote("b:25"), 2, WaitBound::Remote).await.ok());
    let mut failed = health
        .acquire(&remote("c:25"), 2, WaitBound::Remote)
        .await
        .unwrap_or_else(|why| panic!("{why:?}"));
    failed.record_failure(gone(), Duration::from_secs(3600));
    drop(failed);
    health.prune();
    let mut left: Vec<String> = health.remotes.lock().keys().map(ToString::to_string).collect();
    left.sort();
    assert_eq!(left, ["smtp:a:25", "smtp:c:25"]);
    drop(used);
}
