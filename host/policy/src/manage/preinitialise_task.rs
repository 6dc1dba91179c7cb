//! A generation that stays gets instances that come up configured.

use std::sync::{Arc, Weak};
use std::time::Duration;

use crate::evaluate::chain::Chain;
use crate::evaluate::evaluator::Evaluator;
use host_contract::Origin;
use host_engine::generation::Generation;
use host_engine::preinitialise::with_settings;

/// Prepares what is in force now and is still in force after `rest`: it costs two compilations, and
/// what is soon replaced is not worth them.
pub(crate) fn prepare(evaluator: &Arc<Evaluator>, chain: &Chain, rest: Duration) {
    for generation in chain.generations() {
        if generation.preparation.begin() {
            tokio::spawn(after(rest, Arc::clone(evaluator), Arc::downgrade(&generation)));
        }
    }
}

async fn after(rest: Duration, evaluator: Arc<Evaluator>, generation: Weak<Generation>) {
    tokio::time::sleep(rest).await;
    let Some(generation) = generation.upgrade() else {
        return;
    };
    let runtime = tokio::runtime::Handle::current();
    // A thread of its own: taking a component apart and putting it together again is no work for
    // the threads that serve mail.
    let work = move || {
        let context = evaluator.quiet().context(Origin::default());
        let prepared = with_settings(&evaluator.runtime, &generation.candidate, &context);
        generation.preparation.end(runtime.block_on(prepared));
    };
    let thread = std::thread::Builder::new()
        .name("policy-prepare".to_owned())
        .spawn(work);
    if let Err(error) = thread {
        tracing::debug!(%error, "no thread to prepare a policy on");
    }
}
