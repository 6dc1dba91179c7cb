//! The shadow's worker: a thread that replays queued samples with the candidate, compares the decisions and ends the
//! shadow when due. Started by the shadow.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::Ordering;
use std::sync::mpsc::RecvTimeoutError;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use rustix::time::{ClockId, clock_gettime};
use tokio::runtime::Handle;

use crate::manage::policy_set::PolicySet;
use crate::record::recorder::RecordHub;
use crate::record::replayer::{Played, play};
use crate::record::{ExchangeOutcome, Record};
use crate::shadow::cpu_budget::CpuBudget;
use crate::shadow::run_state::ShadowRun;
use crate::shadow::shadow_queue::{Intake, Queue, Sample};
use host_engine::host_call::{Answer, Call, Caller, HostServices, NoAnswer};
use host_events::Event;
use host_mail::Timestamp;

/// Interval between checks for the end of the shadow.
const POLL_INTERVAL: Duration = Duration::from_millis(250);
/// The lowest priority; on Linux of this thread alone.
const NICE: i32 = 19;

/// Starts the thread. The thread holds the set of policies weakly, so that the host can stop.
pub(crate) fn start(set: &Arc<PolicySet>, records: &Arc<RecordHub>, run: &Arc<ShadowRun>) -> std::io::Result<Intake> {
    let (intake, queue) = Intake::new(run);
    let worker = ShadowWorker {
        set: Arc::downgrade(set),
        records: Arc::clone(records),
        run: Arc::clone(run),
        queue,
        live: Arc::new(MainRuntimeServices {
            live: Arc::clone(&set.evaluator.services),
            runtime: Handle::current(),
        }),
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    std::thread::Builder::new()
        .name("policy-shadow".to_owned())
        .spawn(move || worker.run(&runtime))?;
    Ok(intake)
}

/// The worker and the receiving end of the queue.
struct ShadowWorker {
    set: Weak<PolicySet>,
    records: Arc<RecordHub>,
    run: Arc<ShadowRun>,
    queue: Queue,
    live: Arc<dyn HostServices>,
}

impl ShadowWorker {
    fn run(self, runtime: &tokio::runtime::Runtime) {
        // If the system refuses the priority, the bounded queue and the processor budget still hold.
        let _ = rustix::process::setpriority_process(None, NICE);
        let mut budget = CpuBudget::new(self.run.cpu, Instant::now());
        loop {
            let pause = budget.pause(Instant::now());
            let received = if pause.is_zero() {
                self.queue.next(POLL_INTERVAL)
            } else {
                std::thread::sleep(pause.min(POLL_INTERVAL));
                Err(RecvTimeoutError::Timeout)
            };
            let Some(set) = self.set.upgrade() else { return };
            if self.run.stop.load(Ordering::Relaxed) {
                return;
            }
            if Timestamp::now() >= self.run.until {
                return self.end(&set, "its time is over");
            }
            if !still_active(&set, &self.run) {
                return self.end(&set, "the active generation has changed");
            }
            match received {
                Ok(sample) => {
                    let before = processor_time();
                    let compare = AssertUnwindSafe(|| runtime.block_on(self.compare(&set, sample)));
                    if catch_unwind(compare).is_err() {
                        return self.end(&set, "a defect of the host");
                    }
                    drop(set);
                    budget.spend(processor_time().saturating_sub(before), Instant::now());
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
        }
    }

    fn end(&self, set: &PolicySet, reason: &str) {
        self.run.end(&self.records, &set.evaluator.events, reason);
    }

    async fn compare(&self, set: &PolicySet, sample: Sample) {
        let Sample { record, message, .. } = sample;
        if !record.can_be_replayed() {
            return self.run.state().comparison.skip(&record);
        }
        let (generation, live) = (&self.run.generation, Some(Arc::clone(&self.live)));
        match play(&set.evaluator, generation, &record, message, live).await {
            Ok(played) => {
                let mut state = self.run.state();
                let known = state.comparison.faults.clone();
                state.comparison.add(&record, &played);
                drop(state);
                for played in &played {
                    self.report_fault(set, &record, played, &known);
                }
            }
            Err(_crowded) => {
                self.run.dropped.fetch_add(1, Ordering::Relaxed);
            }
        }
    }

    /// Emits the first fault of each class (5035); later faults are counted only.
    fn report_fault(&self, set: &PolicySet, record: &Record, played: &Played, known: &BTreeMap<String, u64>) {
        let ExchangeOutcome::Fault {
            class,
            code,
            function,
            location,
        } = &played.outcome
        else {
            return;
        };
        if known.contains_key(class) {
            return;
        }
        set.evaluator.events.emit(Event::ShadowFault {
            policy: record.module.clone(),
            digest: self.run.generation.candidate.code.digest.clone(),
            class: class.clone(),
            code: code.clone(),
            function: function.clone(),
            location: location.clone(),
            session: record.session.map(|id| id.to_string()),
            message: record.message.map(|id| id.to_string()),
        });
    }
}

/// True while the active generation is the generation that the candidate is compared with.
fn still_active(set: &PolicySet, run: &ShadowRun) -> bool {
    let chain = set.chain.load();
    let name = &run.generation.candidate.module;
    let module = chain.modules.iter().find(|module| module.name == *name);
    let running = module.and_then(|module| module.running.as_ref().ok());
    running.is_some_and(|generation| generation.number == run.against)
}

/// Returns the processor time of this thread so far.
fn processor_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::try_from(time).unwrap_or_default()
}

/// The live services, called on the runtime of the host: resources kept by the services, such as a connection to a name
/// server, must not depend on the shadow's thread.
struct MainRuntimeServices {
    live: Arc<dyn HostServices>,
    runtime: Handle,
}

impl HostServices for MainRuntimeServices {
    fn answer<'a>(&'a self, caller: Caller<'a>, call: &'a Call) -> BoxFuture<'a, Result<Answer, NoAnswer>> {
        let (live, call) = (Arc::clone(&self.live), call.clone());
        let (module, message) = (caller.module.to_owned(), caller.message.cloned());
        let answering = self.runtime.spawn(async move {
            let caller = Caller {
                module: &module,
                message: message.as_ref(),
            };
            live.answer(caller, &call).await
        });
        async move {
            let answered = answering.await;
            answered.unwrap_or_else(|error| Err(NoAnswer::Unavailable(error.to_string())))
        }
        .boxed()
    }
}
