//! The policy manager, the entry point of this crate. Owns the set of policies, the recorder's hub and the shadow; used
//! by the daemon, the control socket and the tools of authors.

use std::path::PathBuf;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use futures_util::future::BoxFuture;
use tokio::sync::mpsc;

use crate::evaluate::evaluator::Evaluator;
use crate::evaluate::host_questions::{self, on_ndr_fault};
use crate::evaluate::policy_transaction::PolicyTransaction;
use crate::manage::activate::{self, Activation, ModuleHistory};
use crate::manage::activation_history::{Cause, How};
use crate::manage::activation_store::{ActivationStore, Ledger};
use crate::manage::bring_up::bring_up;
use crate::manage::dry_run::{Checked, dry_run};
use crate::manage::module_status::{self, ModuleStatus};
use crate::manage::observers::HostObserver;
use crate::manage::policy_set::{PolicySet, find_module, make_chain, make_module};
use crate::manage::reconfigure::{PolicyReload, reconfigure};
use crate::manage::request::{LoadRequest, ModuleSetup};
use crate::manage::rollout::{self, StageRequest, Staged};
use crate::manage::{supervisor, watch_folder};
use crate::record::recorder::{RecordHub, Recorder};
use crate::services::counter_store::CounterPage;
use crate::services::live_services::LiveServices;
use crate::shadow::run_state::ShadowReport;
use crate::shadow::{Shadow, ShadowRequest};
use host_config::{Config, Problem};
use host_contract::{Admission, Answered, Decide, Failure, NdrFault, Plan, Transaction};
use host_directory::Directory;
use host_engine::compile::{CompileProgress, Compiler};
use host_engine::runtime::Runtime;
use host_engine::start_error::StartError;
use host_events::{Events, Health};
use host_mail::{Client, SessionId};

/// The policies of a host. Answers the questions of mail, and loads, stages, shadows and rolls back policies.
pub struct PolicyManager {
    set: Arc<PolicySet>,
    records: Arc<RecordHub>,
    shadow: Arc<Shadow>,
    /// The live services; `None` where the evaluator answers host calls otherwise.
    services: Option<Arc<LiveServices>>,
    /// Instances that may be in use at once, fixed at the start.
    instances: u32,
}

impl PolicyManager {
    /// Starts the engine and the chain of `config.policies`. Activations are durable in `config.data`: a module starts
    /// with the last load of an operator, or with the last good generation if the configured generation fails (5003,
    /// 5004, 5005). A module that cannot run at all (5019) does not stop the host: `admit` refuses with 421.
    ///
    /// # Errors
    /// The engine cannot be made, or the folder of activations cannot be read.
    pub async fn start(
        config: &Config,
        directory: Arc<dyn Directory>,
        events: Events,
        compiler: Compiler,
    ) -> Result<Arc<Self>, StartError> {
        let folder = config.data.join("policies");
        let wrong = |error: std::io::Error| StartError(format!("{}: {error}", folder.display()));
        let store = ActivationStore::open(&folder).map_err(wrong)?;
        let (ledger, damage) = store.ledger().map_err(wrong)?;
        let runtime = Runtime::new(&config.policy_engine, Some(&folder.join("cache")), compiler, &events)?;
        let services = LiveServices::new(config, Arc::clone(&directory), Some(&folder), events.clone());
        let services = Arc::new(services);
        let records = Arc::<RecordHub>::default();
        let (failed, failures) = mpsc::unbounded_channel();
        let evaluator = Evaluator {
            observer: Arc::new(HostObserver {
                records: Arc::clone(&records),
                failed,
            }),
            ..Evaluator::unobserved(runtime, services.clone(), directory, events)
        };
        let set = Arc::new(PolicySet::new(config, evaluator, Some(store), ledger));
        if let Some(problem) = damage {
            set.emit_store_failed(problem);
        }
        bring_up(&set, config).await;
        supervisor::start(&set, failures);
        Ok(Arc::new(Self::assemble(config, set, records, Some(services))))
    }

    /// Starts the same with nothing durable read or written, for `try` and `check`.
    ///
    /// # Errors
    /// Every problem of a module.
    pub async fn ephemeral(
        config: &Config,
        directory: Arc<dyn Directory>,
        events: Events,
    ) -> Result<Arc<Self>, Vec<Problem>> {
        let runtime = Runtime::new(&config.policy_engine, None, Compiler::Here, &events)
            .map_err(|error| vec![Problem::new("policy-engine", error.to_string())])?;
        let services = LiveServices::new(config, Arc::clone(&directory), None, events.clone());
        let evaluator = Evaluator::unobserved(runtime, Arc::new(services), directory, events);
        Self::with_evaluator(config, evaluator).await
    }

    /// Makes a manager whose modules are asked by `evaluator`, with nothing durable.
    pub(crate) async fn with_evaluator(config: &Config, evaluator: Evaluator) -> Result<Arc<Self>, Vec<Problem>> {
        let set = Arc::new(PolicySet::new(config, evaluator, None, Ledger::default()));
        let done = reconfigure(&set, config, &Cause::automatic(How::Start), false).await;
        if !done.problems.is_empty() {
            return Err(done.problems);
        }
        Ok(Arc::new(Self::assemble(config, set, Arc::default(), None)))
    }

    fn assemble(
        config: &Config,
        set: Arc<PolicySet>,
        records: Arc<RecordHub>,
        services: Option<Arc<LiveServices>>,
    ) -> Self {
        Self {
            set,
            shadow: Arc::new(Shadow::new(Arc::clone(&records))),
            records,
            services,
            instances: config.policy_engine.instances,
        }
    }

    /// Returns the set of policies, for tests of internals.
    #[cfg(test)]
    pub(crate) fn set(&self) -> &PolicySet {
        &self.set
    }

    /// Returns the engine.
    pub(crate) fn runtime(&self) -> &Runtime {
        &self.set.evaluator.runtime
    }

    /// Decides about a new connection.
    pub async fn admit(&self, session: SessionId, client: &Client) -> Answered<Admission> {
        host_questions::admit(&self.set.evaluator, self.set.chain.load_full(), session, client).await
    }

    /// Begins a mail transaction on the current chain.
    pub fn transaction(&self, session: SessionId) -> PolicyTransaction {
        PolicyTransaction::new(&self.set.evaluator, self.set.chain.load_full(), session)
    }

    /// Plans the notices about a failure; see [`Decide::plan`].
    pub async fn plan(&self, failure: &Failure) -> Answered<Option<Plan>> {
        host_questions::plan(&self.set.evaluator, self.set.chain.load_full(), failure).await
    }

    /// Checks new code or settings for a module and, if there is no problem, activates a new generation for all work
    /// that starts from now on. Cancel safe: the load continues without the caller.
    ///
    /// # Errors
    /// Every problem found; the chain is unchanged then.
    pub async fn load(&self, request: LoadRequest) -> Result<Activation, Vec<Problem>> {
        let set = Arc::clone(&self.set);
        join(tokio::spawn(async move { activate::load(&set, request).await })).await
    }

    /// Activates the code and settings of an earlier generation as a new generation: of generation `to`, or of the last
    /// different activation. Grants and limits are the configuration's of today. Event 5024. Cancel safe like
    /// [`Self::load`].
    ///
    /// # Errors
    /// There is no such generation, the code is no longer stored, or the configuration no longer allows the code. The
    /// chain is unchanged then.
    pub async fn roll_back(
        &self,
        module: Option<String>,
        to: Option<u64>,
        by: &str,
        reason: &str,
    ) -> Result<Activation, Vec<Problem>> {
        let set = Arc::clone(&self.set);
        let cause = Cause::new(How::Rollback, by, reason);
        join(tokio::spawn(async move {
            activate::roll_back(&set, module.as_deref(), to, cause).await
        }))
        .await
    }

    /// Returns the activations of one module or of all.
    ///
    /// # Errors
    /// There is no such module.
    pub async fn history(&self, module: Option<&str>) -> Result<Vec<ModuleHistory>, Vec<Problem>> {
        activate::history(&self.set, module).await
    }

    /// Checks like [`Self::load`] without an activation and without events.
    ///
    /// # Errors
    /// Every problem found.
    pub async fn check(&self, request: LoadRequest) -> Result<Checked, Vec<Problem>> {
        dry_run(&self.set, request).await
    }

    /// Checks without a running host. Settings that are not given are the configured settings.
    ///
    /// # Errors
    /// Every problem found.
    pub async fn check_offline(
        config: &Config,
        directory: Arc<dyn Directory>,
        request: LoadRequest,
    ) -> Result<Checked, Vec<Problem>> {
        let events = Events::discard();
        let runtime = Runtime::new(&config.policy_engine, None, Compiler::Here, &events)
            .map_err(|error| vec![Problem::new("policy-engine", error.to_string())])?;
        let services = LiveServices::new(config, Arc::clone(&directory), None, events.clone());
        let evaluator = Evaluator::unobserved(runtime, Arc::new(services), directory, events);
        let set = PolicySet::new(config, evaluator, None, Ledger::default());
        let modules = config.policies.iter();
        let modules = modules.map(|configured| make_module(configured, Err("this is a check".to_owned())));
        set.chain.store(Arc::new(make_chain(config, modules.collect())));
        dry_run(&set, request).await
    }

    /// Loads components that are moved into a folder, until `stop` turns true. A folder that does not exist is Event
    /// 5041, and opening is retried.
    pub async fn watch(self: Arc<Self>, folder: PathBuf, stop: tokio::sync::watch::Receiver<bool>) {
        watch_folder::run(Arc::clone(&self.set), folder, stop).await;
    }

    /// Applies the policy part of a reloaded configuration, as a whole or not at all. Only the signers apply in any
    /// case: a generation whose code is not signed by one of them goes on and is a problem, or with `require_now` is
    /// replaced by trusted code.
    pub async fn reconfigure(&self, config: &Config, require_now: bool) -> PolicyReload {
        let cause = Cause::automatic(How::Reload);
        let mut done = reconfigure(&self.set, config, &cause, require_now).await;
        self.shadow.end_untrusted(&self.set).await;
        if done.is_applied {
            if let Some(services) = &self.services {
                services.configure(config);
            }
            if config.policy_engine.instances != self.instances {
                let text = format!("{} until the host is started again", self.instances);
                done.problems.push(Problem::new("policy-engine.instances", text));
            }
        }
        done
    }

    /// Reloads as [`Self::reconfigure`] does, for tests.
    #[cfg(test)]
    pub(crate) async fn reload(&self, config: &Config) -> (Vec<String>, Vec<Problem>) {
        let done = self.reconfigure(config, false).await;
        (done.changed, done.problems)
    }

    /// Sends the records of modules with recording to `recorder` from now on. Only the first recorder is used.
    pub fn record_to(&self, recorder: Arc<dyn Recorder>) {
        let _ = self.records.log.set(recorder);
    }

    /// Returns code, settings, grants and limits of a module, for trying another policy under the same conditions.
    ///
    /// # Errors
    /// There is no such module, or the module cannot run.
    pub fn setup(&self, name: Option<&str>) -> Result<ModuleSetup, Vec<Problem>> {
        let chain = self.set.chain.load();
        let position = find_module(&chain, name)?;
        let module = chain.modules.get(position);
        let Some(Ok(generation)) = module.map(|module| module.running.as_ref()) else {
            return Err(vec![Problem::new("module", "it cannot run")]);
        };
        let candidate = &generation.candidate;
        Ok(ModuleSetup {
            module: candidate.module.to_string(),
            code: STANDARD.encode(&candidate.code.bytes),
            digest: candidate.code.digest.clone(),
            generation: generation.number,
            settings: candidate.settings.clone(),
            grants: candidate.grants.clone(),
            limits: candidate.limits.clone(),
        })
    }

    /// Returns the first `limit` counters of a module whose keys are after `after`.
    ///
    /// # Errors
    /// There is no such module.
    pub fn counters(
        &self,
        module: Option<&str>,
        after: Option<&str>,
        limit: usize,
    ) -> Result<CounterPage, Vec<Problem>> {
        let chain = self.set.chain.load();
        let position = find_module(&chain, module)?;
        let name = chain.modules.get(position).map_or("", |module| &*module.name);
        let services = self.services.as_ref();
        Ok(services.map_or_else(CounterPage::default, |services| services.counters(name, after, limit)))
    }

    /// Makes the counters durable. Call once no more questions come.
    pub async fn close(&self) {
        if let Some(services) = &self.services {
            services.close().await;
        }
    }

    /// Stages a candidate: a canary that decides for a share of the sessions or for some clients, until promoted,
    /// cancelled or expired. Each session and each notification keeps the chosen generation to the end.
    ///
    /// # Errors
    /// Every problem found, or another candidate is staged.
    pub async fn stage(&self, request: StageRequest) -> Result<Staged, Vec<Problem>> {
        rollout::stage(&self.set, request).await
    }

    /// Makes the staged candidate the active generation.
    ///
    /// # Errors
    /// No candidate is staged, or the candidate was rolled back a short while ago and `force` is not set.
    pub async fn promote(&self, by: &str, force: bool) -> Result<Activation, Vec<Problem>> {
        rollout::promote(&self.set, by, force).await
    }

    /// Ends the stage without a promotion.
    ///
    /// # Errors
    /// No candidate is staged.
    pub async fn cancel(&self, by: &str) -> Result<Staged, Vec<Problem>> {
        rollout::cancel(&self.set, by).await
    }

    /// Starts a shadow: a candidate is asked the questions of a module without effect on mail (5033). Only a single
    /// shadow runs at a time.
    ///
    /// # Errors
    /// Every problem found, or another shadow runs.
    pub async fn shadow(&self, request: ShadowRequest) -> Result<ShadowReport, Vec<Problem>> {
        self.shadow.start(&self.set, request).await
    }

    /// Returns the report of the running shadow, or of the last shadow.
    pub fn shadow_report(&self) -> Option<ShadowReport> {
        self.shadow.report()
    }

    /// Ends the shadow and returns the final report; `None` if no shadow runs.
    pub fn end_shadow(&self, reason: &str) -> Option<ShadowReport> {
        self.shadow.end(&self.set.evaluator.events, reason)
    }

    /// Returns the progress of a compilation in a child process; `None` if there is none.
    pub fn compiling(&self) -> Option<CompileProgress> {
        self.runtime().compiling()
    }

    /// Returns the state of each module, in the chain's order.
    pub fn status(&self) -> Vec<ModuleStatus> {
        module_status::status(&self.set)
    }

    /// Returns the health of the chain as a whole.
    pub fn health(&self) -> Health {
        module_status::health(&self.set)
    }
}

/// Awaits a task. A panic of the task is returned as a problem.
async fn join<T>(task: tokio::task::JoinHandle<Result<T, Vec<Problem>>>) -> Result<T, Vec<Problem>> {
    task.await
        .unwrap_or_else(|error| Err(vec![Problem::new("", format!("a defect of the host: {error}"))]))
}

impl Decide for PolicyManager {
    fn admit<'a>(&'a self, session: SessionId, client: &'a Client) -> BoxFuture<'a, Answered<Admission>> {
        Box::pin(self.admit(session, client))
    }

    fn transaction(&self, session: SessionId) -> Box<dyn Transaction> {
        Box::new(self.transaction(session))
    }

    fn plan<'a>(&'a self, failure: &'a Failure) -> BoxFuture<'a, Answered<Option<Plan>>> {
        Box::pin(self.plan(failure))
    }

    fn on_ndr_fault(&self) -> NdrFault {
        on_ndr_fault(&self.set.chain.load())
    }
}
