//! What an operator, a clock or faults do about a stage: begin it, promote or cancel it, end it.

use std::sync::Arc;
use std::time::Instant;

use super::probation::Probation;
use crate::evaluate::chain::Chain;
use crate::evaluate::fault_budget::FaultBudget;
use crate::evaluate::staging::{Selection, StageEnd, StageRequest, Staged, StagedRecord, Staging};
use crate::manage::activation_history::{Cause, How};
use crate::manage::activation_store::{Activated, Ledger};
use crate::manage::candidate::{configured_code, fits};
use crate::manage::desired::{Desired, Ready, Source};
use crate::manage::manager::{Inner, find};
use crate::{Activation, LoadRequest};
use host_config::Problem;
use host_engine::generation::Generation;
use host_engine::sliding_window::Tally;
use host_events::Event;
use host_mail::Timestamp;

impl Inner {
    /// See [`crate::Policies::stage`].
    pub(crate) async fn stage(&self, request: StageRequest) -> Result<Staged, Vec<Problem>> {
        let mut ledger = self.ledger.lock().await;
        let chain = self.chain.load_full();
        if let Some(staging) = &chain.staging {
            return Err(one(format!(
                "generation {} is staged in module {} until {}; promote or cancel it first",
                staging.generation.number, staging.module, staging.until
            )));
        }
        let place = find(&chain, request.load.module.as_deref())?;
        let Some(module) = chain.modules.get(place) else {
            return Err(one("there is no such module".to_owned()));
        };
        let Ok(active) = &module.running else {
            return Err(one(format!(
                "module {} cannot run, so there is nothing to decide beside; load a policy instead",
                module.name
            )));
        };
        let by = request.load.by.clone();
        let why = request.reason.clone().unwrap_or_default();
        let cause = Cause::new(How::Promote, by.clone(), why);
        let ready = self
            .stage_ready(&chain, place, request.load, &cause, &mut ledger)
            .await?;
        let code = ready.to_keep();
        let generation = ready.generation;
        if generation.number == active.number {
            let text = format!("this is generation {}, which decides already", active.number);
            return Err(one(text));
        }
        let mut after = ledger.clone();
        after.staged = Some(StagedRecord {
            module: module.name.to_string(),
            activated: ready.activated,
        });
        self.keep(&after, code.into_iter().collect()).await.map_err(one)?;
        *ledger = after;
        let selection = Selection {
            share: request.share,
            clients: request.clients,
            salt: generation.number,
        };
        let staging = Arc::new(Staging {
            module: Arc::clone(&module.name),
            selection,
            fault_budget: FaultBudget::new(&chain.probation),
            ends: Instant::now() + request.lasts,
            until: Timestamp::now().after(request.lasts),
            reason: request.reason,
            generation,
        });
        let mut next = Chain::clone(&chain);
        next.staging = Some(Arc::clone(&staging));
        self.publish(next, StageEnd::Replaced, &by);
        self.stage_began(&staging, by);
        Ok(staging.told(active.number))
    }

    /// The candidate as a generation.
    async fn stage_ready(
        &self,
        chain: &Chain,
        place: usize,
        request: LoadRequest,
        cause: &Cause,
        ledger: &mut Ledger,
    ) -> Result<Ready, Vec<Problem>> {
        let Some(module) = chain.modules.get(place) else {
            return Err(one("there is no such module".to_owned()));
        };
        let was = ledger.modules.get(&*module.name).cloned();
        let desired = Desired {
            key: format!("policy[{place}]"),
            configured: &module.configured,
            code: configured_code(&module.configured).await,
            was: was.as_ref(),
            running: module.running.as_ref().ok().cloned(),
        };
        let attempt = desired.attempt_to_load(request);
        let prepared = async {
            if let Source::Given(artifact) = &attempt.code {
                fits(artifact.bytes.len(), module.configured.limits.component_size)
                    .map_err(|text| vec![Problem::new("file", text)])?;
            }
            self.build(&desired, &attempt, cause, ledger).await
        };
        prepared.await.inspect_err(|problems| {
            self.refused(&module.name, desired.digest(&attempt), &cause.by, problems);
        })
    }

    fn stage_began(&self, staging: &Staging, by: String) {
        self.core.events.emit(Event::PolicyStaged {
            policy: staging.module.to_string(),
            version: staging.generation.description.version.clone(),
            digest: staging.generation.candidate.code.digest.clone(),
            generation: staging.generation.number,
            share: staging.selection.share.to_string(),
            clients: staging.selection.clients.iter().map(ToString::to_string).collect(),
            until: staging.until.to_string(),
            by,
            reason: staging.reason.clone(),
        });
    }

    /// See [`crate::Policies::promote`].
    pub(crate) async fn promote(&self, by: &str, force: bool) -> Result<Activation, Vec<Problem>> {
        let mut ledger = self.ledger.lock().await;
        let chain = self.chain.load_full();
        let (Some(staging), Some(record)) = (&chain.staging, ledger.staged.clone()) else {
            return Err(nothing_staged());
        };
        let generation = &staging.generation;
        not_held_back(&ledger, generation, force)?;
        let place = find(&chain, Some(&staging.module))?;
        let was = ledger.modules.get(&*staging.module).cloned();
        let probation = Probation::after(&chain, place, generation, was.as_ref());
        let mut after = ledger.clone();
        after.staged = None;
        let promoted = Activated {
            by: by.to_owned(),
            since: Timestamp::now(),
            ..record.activated
        };
        after.activate(&staging.module, promoted, None, probation.as_deref());
        let mut next = Chain::clone(&chain);
        next.staging = None;
        let previous = next.modules.get_mut(place).and_then(|module| {
            module.probation = probation;
            std::mem::replace(&mut module.running, Ok(Arc::clone(generation))).ok()
        });
        self.keep(&after, Vec::new()).await.map_err(one)?;
        *ledger = after;
        self.publish(next, StageEnd::Promoted, by);
        self.announce(generation);
        Ok(Activation::of(generation, previous.as_deref()))
    }

    /// See [`crate::Policies::cancel`].
    pub(crate) async fn cancel(&self, by: &str) -> Result<Staged, Vec<Problem>> {
        let chain = self.chain.load_full();
        let staging = chain.staging.as_ref().ok_or_else(nothing_staged)?;
        if !self.unstage(staging, StageEnd::Cancelled, by).await {
            return Err(nothing_staged());
        }
        let active = chain.modules.iter().find(|module| module.name == staging.module);
        let active = active.and_then(|module| module.running.as_ref().ok());
        Ok(staging.told(active.map_or(0, |generation| generation.number)))
    }

    /// The candidate faulted too often.
    pub(crate) async fn stage_failed(&self, staging: &Arc<Staging>, tally: Tally) {
        self.unstage(staging, StageEnd::Failed(tally), "faults").await;
    }

    /// Ends the stage if its time is over.
    pub(crate) async fn end_stage(&self, now: Instant) {
        let chain = self.chain.load_full();
        if let Some(staging) = chain.staging.as_ref().filter(|staging| staging.ends <= now) {
            self.unstage(staging, StageEnd::TimeOver, "time").await;
        }
    }

    /// Whether this is what ended it.
    async fn unstage(&self, staging: &Arc<Staging>, end: StageEnd, by: &str) -> bool {
        let mut ledger = self.ledger.lock().await;
        let chain = self.chain.load_full();
        if !chain.staging.as_ref().is_some_and(|other| Arc::ptr_eq(other, staging)) {
            return false;
        }
        ledger.staged = None;
        // If the disk does not take it, the next start says once more that the stage has ended.
        let _ = self.keep(&ledger, Vec::new()).await;
        let mut next = Chain::clone(&chain);
        next.staging = None;
        self.publish(next, end, by);
        true
    }

    /// Says that a stage has ended.
    pub(crate) fn stage_ended(&self, staging: &Staging, end: StageEnd, by: &str) {
        let generation = &staging.generation;
        let (policy, digest) = (staging.module.to_string(), generation.candidate.code.digest.clone());
        self.core.events.emit(match end {
            StageEnd::Failed(tally) => Event::PolicyStageFailed {
                policy,
                generation: generation.number,
                digest,
                faults: tally.faults,
                calls: tally.calls,
            },
            end => Event::PolicyStageEnded {
                policy,
                generation: generation.number,
                digest,
                why: end.name().to_owned(),
                by: by.to_owned(),
            },
        });
    }

    /// At start: what was staged when the host stopped is so no more.
    pub(crate) fn forget_stage(&self, ledger: &mut Ledger) {
        if let Some(record) = ledger.staged.take() {
            self.core.events.emit(Event::PolicyStageEnded {
                policy: record.module,
                generation: record.activated.generation,
                digest: record.activated.code,
                why: StageEnd::Stopped.name().to_owned(),
                by: "start".to_owned(),
            });
        }
    }
}

/// What was rolled back by itself a short while ago is not made active.
pub(crate) fn not_held_back(ledger: &Ledger, generation: &Generation, force: bool) -> Result<(), Vec<Problem>> {
    match ledger.held_back.until(&generation.identity, Timestamp::now()) {
        Some(until) if !force => Err(one(format!(
            "this was rolled back because of its faults and is refused until {until}; --force makes it active now"
        ))),
        _ => Ok(()),
    }
}

fn nothing_staged() -> Vec<Problem> {
    one("nothing is staged".to_owned())
}

fn one(text: String) -> Vec<Problem> {
    vec![Problem::new("", text)]
}
