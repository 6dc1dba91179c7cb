//! The policy engine: modules, generations, limits and faults.
//!
//! Everything outside asks questions in the words of [`host_mail`] and gets checked answers;
//! nobody outside sees a generated type or a trap. A fault has become Event 4037 and the answer
//! that the fault table names before a question returns.

mod decision_log;
mod evaluate;
mod harness;
mod manage;
mod record;
mod services;
mod shadow;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;

use std::path::PathBuf;
use std::sync::Arc;

use futures_util::future::BoxFuture;
use serde::Serialize;

use host_config::{Config, Problem};
use host_contract::{Decide, NdrFault, Transaction};
use host_directory::Directory;
use host_events::Events;
use host_mail::{Client, Content, Envelope, Mailbox, MessageId, ReversePath, SessionId};

pub use crate::evaluate::staging::{StageRequest, Staged};
pub use crate::harness::fault_injection::{Fuse, Rehearsal};
pub use crate::harness::{
    Cost, HarnessCode, HarnessSession, Inquiry, LoadedPolicy, Measurement, PolicyDescription, PolicyHarness, Purpose,
    Reaction,
};
pub use crate::manage::activate::{Activation, ModuleHistory, PastActivation};
pub use crate::manage::activation_history::{How, Past};
pub use crate::manage::changes::{Changes, Differs};
pub use crate::manage::dry_run::Checked;
pub use crate::manage::module_status::{
    Condition, Draining, Health, ModuleStatus, ProbationStatus, StagedStatus, Utilisation,
};
pub use crate::record::decision_diff::{Change, Comparison, Example, Stand};
pub use crate::record::offline_replay::Replay;
pub use crate::record::recorder::Recorder;
pub use crate::record::redact::Hash;
pub use crate::services::counter_store::{CounterPage, CounterStatus};
pub use crate::shadow::{ShadowReport, ShadowRequest};
pub use decision_log::{DecisionLog, Wanted};
pub use host_contract::{
    Admission, AdmissionTerms, Answered, Audience, Disposition, Edit, FailedRecipient, Failure, Notice, Origin, Plan,
    Reason, ReturnContent, Verdict,
};
pub use host_engine::compile::{COMMAND as COMPILE_COMMAND, Compiler, compile_as_child};
pub use host_engine::component::anatomy::{Anatomy, SETTINGS_SECTION, anatomy};
pub use host_engine::component::builtin;
pub use host_engine::component::encode::{EncodeError, component_of};
pub use host_engine::component::inspection::{Inspection, inspect_component};
pub use host_engine::host_call::{Answer, Call, Caller, DirectoryEntry, Finding, HostServices, NoAnswer};
pub use record::{Called, Completeness, Exchange, ExchangeOutcome, Given, RECORD_VERSION, Record};

pub use host_engine::CONTRACT_WIT;

pub use host_engine::start_error::StartError;

/// What to activate.
#[derive(Debug, Clone, Default)]
pub struct LoadRequest {
    /// Module of the chain; none is the only one, or an error if there are several.
    pub module: Option<String>,
    /// The component's bytes; none keeps the code.
    pub code: Option<Vec<u8>>,
    /// The text of the code's `.minisig` file, if there is one.
    pub signature: Option<String>,
    /// Where the bytes came from, for status.
    pub origin: String,
    /// New settings; none keeps them.
    pub settings: Option<serde_json::Map<String, serde_json::Value>>,
    /// Who asks, for the event.
    pub by: String,
    /// Even if it is held back because it was rolled back by itself.
    pub force: bool,
    /// Where core dumps go until the next load or reload; none is as configured.
    pub core_dumps: Option<std::path::PathBuf>,
    /// Why, in their own words; may be empty.
    pub reason: String,
    /// It comes from the watched folder.
    pub watched: bool,
}

/// What a module runs with.
#[derive(Debug, Clone, Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
#[allow(missing_docs)]
pub struct ModuleSetup {
    pub module: String,
    /// The component in base64.
    pub code: String,
    pub digest: String,
    pub generation: u64,
    pub settings: serde_json::Map<String, serde_json::Value>,
    pub grants: Vec<String>,
    pub limits: host_config::PolicyLimits,
}

/// The chain of modules. Cheap to clone.
#[derive(Clone)]
pub struct Policies {
    inner: Arc<crate::manage::manager::Inner>,
}

impl Policies {
    /// Makes the engine and the chain of `config.policies`. Activations are durable in
    /// `config.data`: a module comes up with what an operator loaded last, or with its last good
    /// generation when the configured one fails (5003, 5004, 5005). A module that cannot run at
    /// all (5019) does not stop the host from starting: `admit` refuses with 421.
    pub async fn start(
        config: &Config,
        directory: Arc<dyn Directory>,
        events: Events,
        compiler: Compiler,
    ) -> Result<Self, StartError> {
        Self::open(config, directory, events, compiler).await
    }

    /// As [`Self::start`] with nothing durable read or written: for `try` and `check`. Problems of
    /// any module are errors here.
    pub async fn ephemeral(
        config: &Config,
        directory: Arc<dyn Directory>,
        events: Events,
    ) -> Result<Self, Vec<Problem>> {
        Self::open_ephemeral(config, directory, events).await
    }

    /// Asked once per connection.
    pub async fn admit(&self, session: SessionId, client: &Client) -> Answered<Admission> {
        crate::evaluate::ask::admit(self, session, client).await
    }

    /// The questions of one mail transaction, of one client and one reverse-path. Pins the chain as it stands now;
    /// instances are made when they are needed.
    pub fn transaction(&self, session: SessionId) -> PolicyTransaction {
        PolicyTransaction::new(self, session)
    }

    /// Who is told about a failure. None when the policy faulted: the caller follows the fault
    /// table and logs 4120. None without a fault when no module plans notices: the host's standard
    /// report is the plan.
    pub async fn plan(&self, failure: &Failure) -> Answered<Option<Plan>> {
        crate::evaluate::ask::plan(self, failure).await
    }

    /// Checks new code or settings for one module and, if nothing is wrong, makes them a new
    /// generation for all work that starts from now on.
    /// Goes through even if the caller does not wait for it.
    pub async fn load(&self, request: LoadRequest) -> Result<Activation, Vec<Problem>> {
        let inner = Arc::clone(&self.inner);
        finish(tokio::spawn(async move { inner.load(request).await })).await
    }

    /// Makes the code and settings of an earlier generation a new one: those of generation `to`, or
    /// without it those that were active before the present ones. Grants and limits are the
    /// configuration's. Event 5024.
    pub async fn roll_back(
        &self,
        module: Option<String>,
        to: Option<u64>,
        by: &str,
        reason: &str,
    ) -> Result<Activation, Vec<Problem>> {
        let inner = Arc::clone(&self.inner);
        let cause = crate::manage::activation_history::Cause::new(How::Rollback, by, reason);
        finish(tokio::spawn(async move {
            inner.roll_back(module.as_deref(), to, cause).await
        }))
        .await
    }

    /// What was active, of one module or of all.
    pub async fn history(&self, module: Option<&str>) -> Result<Vec<ModuleHistory>, Vec<Problem>> {
        self.inner.history(module).await
    }

    /// Everything [`Self::load`] does except activating anything; nothing is logged.
    pub async fn check(&self, request: LoadRequest) -> Result<Checked, Vec<Problem>> {
        self.inner.dry_run(request).await
    }

    /// As [`Self::check`], without a running host: settings that are not given are the configured ones.
    pub async fn check_offline(
        config: &Config,
        directory: Arc<dyn Directory>,
        request: LoadRequest,
    ) -> Result<Checked, Vec<Problem>> {
        crate::manage::manager::Inner::dry_run_offline(config, directory, request).await
    }

    /// Loads what is moved into a folder, until `stop` turns true. A folder that is not there is
    /// Event 5041, and waited for.
    pub async fn watch(self, folder: PathBuf, stop: tokio::sync::watch::Receiver<bool>) {
        crate::manage::watch_folder::run(self, folder, stop).await;
    }

    /// Applies the policy part of a configuration that was read again. What fails stays as it was.
    /// Returns what changed, and the problems (already logged as 5004).
    pub async fn reconfigure(&self, config: &Config) -> (Vec<String>, Vec<Problem>) {
        self.inner
            .reconfigure(config, &crate::manage::activation_history::Cause::own(How::Reload))
            .await
    }

    /// From now on records of decisions go to `recorder`, of modules whose configuration says so. Once only: a second
    /// recorder is not taken.
    pub fn record_to(&self, recorder: Arc<dyn Recorder>) {
        // Whoever came first stays.
        let _ = self.inner.core.takers.log.set(recorder);
    }

    /// What a module runs with, for somebody who wants to try another the same way.
    pub fn setup(&self, module: Option<&str>) -> Result<ModuleSetup, Vec<Problem>> {
        self.inner.setup(module)
    }

    /// Counters that the host keeps for a module: of those whose keys are after `after` the first `limit`.
    pub fn counters(
        &self,
        module: Option<&str>,
        after: Option<&str>,
        limit: usize,
    ) -> Result<CounterPage, Vec<Problem>> {
        let chain = self.inner.chain.load();
        let place = crate::manage::manager::find(&chain, module)?;
        let name = chain.modules.get(place).map_or("", |module| &*module.name);
        let live = self.inner.core.live.as_ref();
        Ok(live.map_or_else(CounterPage::default, |live| live.counters(name, after, limit)))
    }

    /// Makes durable what is not yet: to be called when no more questions come.
    pub async fn close(&self) {
        if let Some(live) = &self.inner.core.live {
            live.close().await;
        }
    }

    /// As [`Self::load`], but the candidate decides for a share of the sessions or for some clients
    /// only, until it is promoted or cancelled or its time is over. Each session, and each
    /// notification, has one of the two from its first question to its last.
    pub async fn stage(&self, request: StageRequest) -> Result<Staged, Vec<Problem>> {
        self.inner.stage(request).await
    }

    /// The staged candidate becomes the active generation.
    pub async fn promote(&self, by: &str, force: bool) -> Result<Activation, Vec<Problem>> {
        self.inner.promote(by, force).await
    }

    /// The staged candidate decides nothing any more.
    pub async fn cancel(&self, by: &str) -> Result<Staged, Vec<Problem>> {
        self.inner.cancel(by).await
    }

    /// How each module does, in the chain's order.
    pub fn status(&self) -> Vec<ModuleStatus> {
        self.inner.status()
    }

    /// How the chain as a whole does.
    pub fn health(&self) -> Health {
        self.inner.health()
    }
}

/// The outcome of a task; its end by a panic is a problem like any other.
async fn finish<T>(task: tokio::task::JoinHandle<Result<T, Vec<Problem>>>) -> Result<T, Vec<Problem>> {
    task.await
        .unwrap_or_else(|error| Err(vec![Problem::new("", format!("a defect of the host: {error}"))]))
}

/// The questions of one mail transaction. Instances live as long as this does, unless it waits and they are wanted.
pub struct PolicyTransaction {
    work: crate::evaluate::evaluation::Evaluation,
    /// A module faulted: the transaction cannot be decided any more.
    ended: Option<crate::evaluate::evaluation::Unanswered>,
    /// The client and the reverse-path in the contract's words, from the first question on.
    parties: Option<host_engine::to_wit::Parties>,
}

impl Decide for Policies {
    fn admit<'a>(&'a self, session: SessionId, client: &'a Client) -> BoxFuture<'a, Answered<Admission>> {
        Box::pin(self.admit(session, client))
    }

    fn transaction(&self, session: SessionId) -> Box<dyn Transaction> {
        Box::new(self.transaction(session))
    }

    fn plan<'a>(&'a self, failure: &'a Failure) -> BoxFuture<'a, Answered<Option<Plan>>> {
        Box::pin(self.plan(failure))
    }

    /// The fault table's entry of the module that plans.
    fn on_ndr_fault(&self) -> NdrFault {
        let chain = self.inner.chain.load();
        let plans = |module: &crate::evaluate::chain::Module| {
            let running = module.running.as_ref();
            running.is_ok_and(|generation| generation.serves(host_engine::component::Role::Ndr))
        };
        chain.on_ndr_fault(chain.modules.iter().position(plans).unwrap_or(usize::MAX))
    }
}

impl Transaction for PolicyTransaction {
    fn sender<'a>(&'a mut self, client: &'a Client, sender: &'a ReversePath) -> BoxFuture<'a, Answered<Verdict>> {
        Box::pin(self.sender(client, sender))
    }

    fn recipient<'a>(
        &'a mut self,
        client: &'a Client,
        sender: &'a ReversePath,
        recipient: &'a Mailbox,
    ) -> BoxFuture<'a, Answered<Verdict>> {
        Box::pin(self.recipient(client, sender, recipient))
    }

    fn message<'a>(
        &'a mut self,
        id: MessageId,
        client: &'a Client,
        envelope: &'a Envelope,
        content: Arc<dyn Content>,
    ) -> BoxFuture<'a, Answered<Disposition>> {
        Box::pin(self.message(id, client, envelope, content))
    }

    fn revoked(&mut self) -> BoxFuture<'_, ()> {
        Box::pin(self.work.revoked())
    }

    fn release(&mut self) {
        self.work.release();
    }
}
