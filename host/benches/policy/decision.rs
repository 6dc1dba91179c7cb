//! The engine as the daemon has it: fresh instances, warm ones, faults, several threads.

use std::hint::black_box;
use std::thread;
use std::time::{Duration, Instant};

use criterion::{Criterion, Throughput};
use posthouse::mail::{MessageId, SessionId};
use posthouse::policy::Policies;

use crate::scene::{Scene, address, carried, each, runtime};

pub fn measure(criterion: &mut Criterion) {
    let scene = Scene::new();
    let policies = scene.policies("");
    default_policy(criterion, &scene, &policies);
    threads(criterion, &scene, &policies);
    faults(criterion, &scene);
}

fn default_policy(criterion: &mut Criterion, scene: &Scene, policies: &Policies) {
    let runtime = runtime();
    let mut group = criterion.benchmark_group("default policy");
    group.bench_function("admit, fresh instance", |bencher| {
        each(bencher, &runtime, async || {
            let asked = policies.admit(SessionId::generate(), &scene.client).await;
            assert!(!black_box(asked).fault);
        });
    });
    group.bench_function("sender, fresh instance", |bencher| {
        each(bencher, &runtime, async || sender(policies, scene).await);
    });
    let prepared = scene.prepared(&runtime, "");
    group.bench_function("sender, fresh instance, settings taken in", |bencher| {
        each(bencher, &runtime, async || sender(&prepared, scene).await);
    });
    let mut transaction = policies.transaction(SessionId::generate());
    group.bench_function("sender, warm", |bencher| {
        each(bencher, &runtime, async || {
            let asked = transaction.sender(&scene.client, &scene.sender).await;
            assert!(!black_box(asked).fault);
        });
    });
    group.bench_function("recipient, warm", |bencher| {
        each(bencher, &runtime, async || {
            let asked = transaction.recipient(&scene.client, &scene.sender, &scene.recipient);
            assert!(!black_box(asked.await).fault);
        });
    });
    group.bench_function("message of 4 KiB, warm", |bencher| {
        each(bencher, &runtime, async || {
            let message = scene.message.clone();
            let asked = transaction.message(MessageId::generate(), &scene.client, &scene.envelope, message);
            assert!(!black_box(asked.await).fault);
        });
    });
    group.bench_function("all four questions about a mail", |bencher| {
        each(bencher, &runtime, async || everything(policies, scene).await);
    });
}

async fn sender(policies: &Policies, scene: &Scene) {
    let mut transaction = policies.transaction(SessionId::generate());
    let asked = transaction.sender(&scene.client, &scene.sender).await;
    assert!(!black_box(asked).fault);
}

async fn everything(policies: &Policies, scene: &Scene) {
    let session = SessionId::generate();
    assert!(!policies.admit(session, &scene.client).await.fault);
    let mut transaction = policies.transaction(session);
    assert!(!transaction.sender(&scene.client, &scene.sender).await.fault);
    let asked = transaction.recipient(&scene.client, &scene.sender, &scene.recipient);
    assert!(!asked.await.fault);
    let message = scene.message.clone();
    let asked = transaction.message(MessageId::generate(), &scene.client, &scene.envelope, message);
    assert!(!black_box(asked.await).fault);
}

/// The time that all threads together need for one decision: half as much on two as on one would be perfect.
fn threads(criterion: &mut Criterion, scene: &Scene, policies: &Policies) {
    let mut group = criterion.benchmark_group("sender, fresh instance, by threads");
    group.throughput(Throughput::Elements(1));
    for threads in [1, 2, 4] {
        group.bench_function(threads.to_string(), |bencher| {
            bencher.iter_custom(|times| {
                let times = times.max(threads);
                let took = together(threads, || {
                    runtime().block_on(async {
                        for _ in 0..times / threads {
                            sender(policies, scene).await;
                        }
                    });
                });
                // As if all of `times` had been done, where they could not be divided.
                took.mul_f64(times as f64 / (times / threads * threads) as f64)
            });
        });
    }
}

fn together(threads: u64, work: impl Fn() + Sync) -> Duration {
    let began = Instant::now();
    thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(&work);
        }
    });
    began.elapsed()
}

/// A guest that panics: what the fault costs, and the next transaction after it.
fn faults(criterion: &mut Criterion, scene: &Scene) {
    let Some(policy) = carried("misbehaving") else { return };
    let policies = scene.policies(&format!(
        "file = {policy:?}\nsettings = {{ mode = \"panic\", stage = \"recipient\", recipient = \"trap@example.org\" }}"
    ));
    let runtime = runtime();
    let recipient = async |recipient, faults| {
        let mut transaction = policies.transaction(SessionId::generate());
        let asked = transaction.recipient(&scene.client, &scene.sender, recipient).await;
        assert_eq!(asked.because.rule == "policy-fault", faults, "{}", asked.because);
    };
    let (trap, fine) = (address("trap@example.org"), address("otto@example.org"));
    let mut group = criterion.benchmark_group("faults");
    group.bench_function("no fault", |bencher| {
        each(bencher, &runtime, async || recipient(&fine, false).await);
    });
    group.bench_function("a guest that panics", |bencher| {
        each(bencher, &runtime, async || recipient(&trap, true).await);
    });
    group.bench_function("a guest that panics, and the next transaction", |bencher| {
        each(bencher, &runtime, async || {
            recipient(&trap, true).await;
            recipient(&fine, false).await;
        });
    });
}
