//! Pre-initialisation of generations in the background: new instances then start configured. Started by the set of
//! policies for each published chain.

use std::sync::{Arc, Weak};
use std::time::Duration;

use crate::evaluate::chain::Chain;
use crate::evaluate::evaluator::Evaluator;
use host_contract::Origin;
use host_engine::generation::Generation;
use host_engine::preinitialise::with_settings;

/// Pre-initialises each generation of `chain` that is still in use after `delay`. Pre-initialisation costs two
/// compilations, which do not pay for a generation that is soon replaced.
pub(crate) fn preinitialise(evaluator: &Arc<Evaluator>, chain: &Chain, delay: Duration) {
    for generation in chain.generations() {
        if generation.preparation.begin() {
            tokio::spawn(preinitialise_later(
                delay,
                Arc::clone(evaluator),
                Arc::downgrade(&generation),
            ));
        }
    }
}

async fn preinitialise_later(delay: Duration, evaluator: Arc<Evaluator>, generation: Weak<Generation>) {
    tokio::time::sleep(delay).await;
    let Some(generation) = generation.upgrade() else {
        return;
    };
    let runtime = tokio::runtime::Handle::current();
    // A separate thread: the rewriting of a component would block the threads that serve mail.
    let task = move || {
        let context = evaluator.quiet().context(Origin::default());
        let prepared = with_settings(&evaluator.runtime, &generation.candidate, &context);
        generation.preparation.end(runtime.block_on(prepared));
    };
    let thread = std::thread::Builder::new()
        .name("policy-prepare".to_owned())
        .spawn(task);
    if let Err(error) = thread {
        tracing::debug!(%error, "no thread to prepare a policy on");
    }
}
