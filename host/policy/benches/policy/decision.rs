//! The engine in the configuration of the daemon: fresh instances, warm instances, faults, several threads.

use std::hint::black_box;
use std::thread;
use std::time::{Duration, Instant};

use std::sync::Arc;

use criterion::{Criterion, Throughput};
use host_mail::{Mailbox, MessageId, SessionId};
use host_policy::PolicyManager;

use crate::scene::{Scene, address, carried, each, runtime};

/// Setting of an operator's policy by default, and of the default policy on request.
const STRICT: &str = "stateless = false";
const STATELESS: &str = "stateless = true";

pub fn measure(criterion: &mut Criterion) {
    let scene = Scene::new();
    default_policy(criterion, &scene);
    threads(criterion, &scene);
    faults(criterion, &scene);
}

fn default_policy(criterion: &mut Criterion, scene: &Scene) {
    let runtime = runtime();
    let (strict, stateless) = (scene.policies(STRICT), scene.policies(STATELESS));
    let mut group = criterion.benchmark_group("default policy");
    for (name, policies) in [("admit, fresh instance", &strict), ("admit, stateless", &stateless)] {
        group.bench_function(name, |bencher| {
            each(bencher, &runtime, async || admit(policies, scene).await);
        });
    }
    for (name, policies) in [
        ("sender, fresh instance", &strict),
        (
            "sender, fresh instance, settings taken in",
            &scene.prepared(&runtime, STRICT),
        ),
        ("sender, stateless", &stateless),
    ] {
        group.bench_function(name, |bencher| {
            each(bencher, &runtime, async || sender(policies, scene).await);
        });
    }
    let mut transaction = strict.transaction(SessionId::generate());
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
    for (name, policies) in [
        ("all four questions about a mail, fresh instance", &strict),
        ("all four questions about a mail, stateless", &stateless),
    ] {
        group.bench_function(name, |bencher| {
            each(bencher, &runtime, async || all_questions(policies, scene).await);
        });
    }
}

async fn admit(policies: &PolicyManager, scene: &Scene) {
    let asked = policies.admit(SessionId::generate(), &scene.client).await;
    assert!(!black_box(asked).fault);
}

async fn sender(policies: &PolicyManager, scene: &Scene) {
    let mut transaction = policies.transaction(SessionId::generate());
    let asked = transaction.sender(&scene.client, &scene.sender).await;
    assert!(!black_box(asked).fault);
}

async fn all_questions(policies: &PolicyManager, scene: &Scene) {
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

/// Measures several threads: the time that all threads together need for a question each. Perfect scaling halves the
/// time with two threads.
fn threads(criterion: &mut Criterion, scene: &Scene) {
    let (strict, stateless) = (scene.policies(STRICT), scene.policies(STATELESS));
    let (fresh_for_admit, shared_for_admit) = (scene.policies(STRICT), scene.policies(STATELESS));
    by_threads(criterion, "admit, fresh instance", async || {
        admit(&fresh_for_admit, scene).await
    });
    by_threads(criterion, "admit, stateless", async || {
        admit(&shared_for_admit, scene).await
    });
    by_threads(criterion, "sender, fresh instance", async || {
        sender(&strict, scene).await
    });
    by_threads(criterion, "sender, stateless", async || sender(&stateless, scene).await);
    by_threads(criterion, "all four questions, fresh instance", async || {
        all_questions(&strict, scene).await
    });
    by_threads(criterion, "all four questions, stateless", async || {
        all_questions(&stateless, scene).await
    });
    if let Some(policies) = panicking(scene) {
        let trap = address(TRAP);
        by_threads(criterion, "a guest that panics", async || {
            recipient(&policies, scene, &trap, true).await
        });
    }
}

fn by_threads(criterion: &mut Criterion, name: &str, step: impl AsyncFn() + Sync) {
    let mut group = criterion.benchmark_group(format!("{name}, by threads"));
    group.throughput(Throughput::Elements(1));
    for threads in [1, 2, 4] {
        group.bench_function(threads.to_string(), |bencher| {
            bencher.iter_custom(|times| {
                let times = times.max(threads);
                let elapsed = together(threads, || {
                    runtime().block_on(async {
                        for _ in 0..times / threads {
                            step().await;
                        }
                    });
                });
                // Scaled to `times`, which may not be divisible by the number of threads.
                elapsed.mul_f64(times as f64 / (times / threads * threads) as f64)
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

/// The recipient at which the guest panics.
const TRAP: &str = "trap@example.org";

fn panicking(scene: &Scene) -> Option<Arc<PolicyManager>> {
    let policy = carried("misbehaving")?;
    Some(scene.policies(&format!(
        "file = {policy:?}\nsettings = {{ mode = \"panic\", stage = \"recipient\", recipient = {TRAP:?} }}"
    )))
}

async fn recipient(policies: &PolicyManager, scene: &Scene, recipient: &Mailbox, faults: bool) {
    let mut transaction = policies.transaction(SessionId::generate());
    let asked = transaction.recipient(&scene.client, &scene.sender, recipient).await;
    assert_eq!(asked.because.rule == "policy-fault", faults, "{}", asked.because);
}

/// Measures a guest that panics: the fault, and the transaction after the fault.
fn faults(criterion: &mut Criterion, scene: &Scene) {
    let Some(policies) = panicking(scene) else { return };
    let runtime = runtime();
    let (trap, fine) = (address(TRAP), address("otto@example.org"));
    let mut group = criterion.benchmark_group("faults");
    group.bench_function("no fault", |bencher| {
        each(bencher, &runtime, async || {
            recipient(&policies, scene, &fine, false).await
        });
    });
    group.bench_function("a guest that panics", |bencher| {
        each(bencher, &runtime, async || {
            recipient(&policies, scene, &trap, true).await
        });
    });
    group.bench_function("a guest that panics, and the next transaction", |bencher| {
        each(bencher, &runtime, async || {
            recipient(&policies, scene, &trap, true).await;
            recipient(&policies, scene, &fine, false).await;
        });
    });
}
