//! The sender's question as a function of the host: the cost of a hard-coded decision, which the servers of the other
//! protocols share.

use std::hint::black_box;

use criterion::Criterion;
use host_directory::Directory;
use host_mail::Mailbox;

use crate::scene::{Scene, each, runtime};

/// Returns true if `account` may use `sender`: the address must be local and belong to the account.
pub async fn may_send(directory: &dyn Directory, account: &str, sender: &str) -> bool {
    let Ok(sender) = sender.parse::<Mailbox>() else {
        return false;
    };
    let homed = directory.lookup(&sender).await.is_ok_and(|entries| !entries.is_empty());
    homed && directory.may_send_as(account, &sender).await.unwrap_or(false)
}

pub fn measure(criterion: &mut Criterion) {
    let scene = Scene::new();
    let runtime = runtime();
    let mut group = criterion.benchmark_group("the sender's question elsewhere");
    group.bench_function("a native function", |bencher| {
        each(bencher, &runtime, async || {
            let account = black_box("anna");
            assert!(may_send(&*scene.directory, account, black_box("anna@example.org")).await);
        });
    });
}
