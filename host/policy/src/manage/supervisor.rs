//! The supervisor: ends a trial whose fault budget is used up or whose time is over. Questions are answered meanwhile; the
//! evaluator only reports.

use std::sync::{Arc, Weak};
use std::time::Instant;

use tokio::sync::{Notify, mpsc};

use crate::evaluate::trial::Trial;
use crate::manage::policy_set::PolicySet;
use crate::manage::{probation, rollout};
use host_engine::sliding_window::Tally;

/// A trial that failed, and the faults that it failed by.
pub(crate) type FailedTrial = (Trial, Tally);

/// Starts the task. It ends with the set of policies, which it does not keep alive.
pub(crate) fn start(set: &Arc<PolicySet>, failed: mpsc::UnboundedReceiver<FailedTrial>) {
    tokio::spawn(run(Arc::downgrade(set), Arc::clone(&set.changed), failed));
}

async fn run(set: Weak<PolicySet>, changed: Arc<Notify>, mut failed: mpsc::UnboundedReceiver<FailedTrial>) {
    loop {
        let Some(next_end) = set.upgrade().map(|set| next_end(&set)) else {
            return;
        };
        let timer = async {
            match next_end {
                Some(at) => tokio::time::sleep_until(at.into()).await,
                None => std::future::pending().await,
            }
        };
        let trial = tokio::select! {
            trial = failed.recv() => match trial {
                Some(trial) => Some(trial),
                None => return,
            },
            () = changed.notified() => None,
            () = timer => None,
        };
        let Some(set) = set.upgrade() else { return };
        match trial {
            Some((Trial::Probation(trial), tally)) => probation::put_back(&set, &trial, tally).await,
            Some((Trial::Staging(trial), tally)) => rollout::stage_failed(&set, &trial, tally).await,
            None => {}
        }
        let now = Instant::now();
        probation::end_probations(&set, now).await;
        rollout::end_stage(&set, now).await;
    }
}

/// Returns the time of the next trial that is over.
fn next_end(set: &PolicySet) -> Option<Instant> {
    let chain = set.chain.load();
    let probations = chain.modules.iter().filter_map(|module| module.probation.as_ref());
    let ends = probations.map(|probation| probation.ends);
    ends.chain(chain.staging.as_ref().map(|staging| staging.ends)).min()
}
