//! The supervisor: a task that ends a trial when the fault budget is used up or the time is over. Started by the
//! manager; evaluations only report and continue meanwhile.

use std::sync::{Arc, Weak};
use std::time::Instant;

use tokio::sync::{Notify, mpsc};

use crate::evaluate::fault_budget::TrialTally;
use crate::evaluate::trial::Trial;
use crate::manage::policy_set::PolicySet;
use crate::manage::{probation, rollout};

/// A failed trial and the tally of faults.
pub(crate) type FailedTrial = (Trial, TrialTally);

/// Starts the task. The task holds the set of policies weakly and ends with the set.
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
            Some((Trial::Probation(trial), tally)) => probation::roll_back_failed(&set, &trial, tally).await,
            Some((Trial::Staging(trial), tally)) => rollout::end_failed_stage(&set, &trial, tally).await,
            None => {}
        }
        let now = Instant::now();
        probation::end_expired_probations(&set, now).await;
        rollout::end_expired_stage(&set, now).await;
    }
}

/// Returns the end of the trial that expires next.
fn next_end(set: &PolicySet) -> Option<Instant> {
    let chain = set.chain.load();
    let probations = chain.modules.iter().filter_map(|module| module.probation.as_ref());
    let ends = probations.map(|probation| probation.ends);
    ends.chain(chain.staging.as_ref().map(|staging| staging.ends)).min()
}
