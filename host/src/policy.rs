//! The policy engine: modules, generations, limits and faults.
//!
//! Everything outside asks questions in the words of [`crate::mail`] and gets checked answers;
//! nobody outside sees a generated type or a trap. A fault has become Event 4037 and the answer
//! that the fault table names before a question returns.

mod activation;
mod ask;
mod backoff;
mod backtrace;
mod bindings;
pub mod builtin;
mod call;
mod chain;
mod check;
mod component;
mod convert;
mod decision;
mod engine;
mod fault;
mod generation;
mod histogram;
mod imports;
mod instance;
mod lane;
mod limits;
mod live;
mod metrics;
mod operate;
mod patience;
mod probation;
mod qualify;
mod stage;
mod staging;
mod status;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
mod warden;
mod wasi;
mod window;
mod wish;
mod work;

use std::sync::Arc;

use serde::Serialize;

use crate::config::{Config, NdrFault, Problem};
use crate::directory::Directory;
use crate::event::Events;
use crate::mail::{Client, Content, Envelope, Mailbox, MessageId, ReversePath, SessionId};

pub use decision::{
    Admission, Asked, Audience, Because, Disposition, Edit, FailedRecipient, Failure, Notice, Origin, Plan,
    ReturnContent, Terms, Verdict,
};
pub use staging::{StageRequest, Staged};
pub use status::{Condition, Draining, Health, Load, ModuleStatus, ProbationStatus, StagedStatus};

/// Why the engine itself could not be made; a bad policy is not among the reasons.
#[derive(Debug, thiserror::Error)]
#[error("policy engine: {0}")]
pub struct StartError(pub String);

/// What to activate.
#[derive(Debug, Clone)]
pub struct LoadRequest {
    /// Module of the chain; none is the only one, or an error if there are several.
    pub module: Option<String>,
    /// The component's bytes; none keeps the code.
    pub code: Option<Vec<u8>>,
    /// Where the bytes came from, for status.
    pub origin: String,
    /// New settings; none keeps them.
    pub settings: Option<serde_json::Map<String, serde_json::Value>>,
    /// Who asks, for the event.
    pub by: String,
    /// Even if it is held back because it was rolled back by itself.
    pub force: bool,
}

/// What a load did.
#[derive(Debug, Clone, Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
#[allow(missing_docs)]
pub struct Activation {
    pub module: String,
    pub version: String,
    pub digest: String,
    pub generation: u64,
    pub previous: Option<u64>,
}

/// The chain of modules. Cheap to clone.
#[derive(Clone)]
pub struct Policies {
    inner: Arc<operate::Inner>,
}

impl Policies {
    /// Makes the engine and the chain of `config.policies`. Activations are durable in
    /// `config.data`: a module comes up with what an operator loaded last, or with its last good
    /// generation when the configured one fails (5003, 5004, 5005). A module that cannot run at
    /// all (5019) does not stop the host from starting: `admit` refuses with 421.
    pub async fn start(config: &Config, directory: Arc<dyn Directory>, events: Events) -> Result<Self, StartError> {
        Self::open(config, directory, events).await
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
    pub async fn admit(&self, session: SessionId, client: &Client) -> Asked<Admission> {
        ask::admit(self, session, client).await
    }

    /// The questions of one mail transaction. Pins the chain as it stands now; instances are made
    /// when they are needed.
    pub fn transaction(&self, session: SessionId) -> PolicyTransaction {
        PolicyTransaction::new(self, session)
    }

    /// Who is told about a failure. None when the policy faulted: the caller follows the fault
    /// table and logs 4120. None without a fault when no module plans notices: the host's standard
    /// report is the plan.
    pub async fn plan(&self, failure: &Failure) -> Asked<Option<Plan>> {
        ask::plan(self, failure).await
    }

    /// Checks new code or settings for one module and, if nothing is wrong, makes them a new
    /// generation for all work that starts from now on.
    pub async fn load(&self, request: LoadRequest) -> Result<Activation, Vec<Problem>> {
        self.inner.load(request).await
    }

    /// Applies the policy part of a configuration that was read again. What fails stays as it was.
    /// Returns what changed, and the problems (already logged as 5004).
    pub async fn reconfigure(&self, config: &Config) -> (Vec<String>, Vec<Problem>) {
        self.inner.reconfigure(config, "reload").await
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

    /// What is done when a plan faulted: the fault table of the module that plans.
    pub fn on_ndr_fault(&self) -> NdrFault {
        let chain = self.inner.chain.load();
        let plans = |module: &chain::Module| {
            let running = module.running.as_ref();
            running.is_ok_and(|generation| generation.serves(component::Role::Ndr))
        };
        chain.on_ndr_fault(chain.modules.iter().position(plans).unwrap_or(usize::MAX))
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

/// The questions of one mail transaction. Instances live as long as this does, unless it waits and they are wanted.
pub struct PolicyTransaction {
    work: work::Work,
    /// A module faulted: the transaction cannot be decided any more.
    ended: Option<work::Unanswered>,
}

impl PolicyTransaction {
    /// Waits for `until`, such as the client's next line. The transaction's instances go to other
    /// work that wants them meanwhile; the next question then has fresh ones.
    pub async fn meanwhile<T>(&mut self, until: impl Future<Output = T>) -> T {
        self.work.meanwhile(until).await
    }

    /// MAIL FROM.
    pub async fn sender(&mut self, client: &Client, sender: &ReversePath) -> Asked<Verdict> {
        self.ask_sender(client, sender).await
    }

    /// RCPT TO.
    pub async fn recipient(&mut self, client: &Client, sender: &ReversePath, recipient: &Mailbox) -> Asked<Verdict> {
        self.ask_recipient(client, sender, recipient).await
    }

    /// After the final dot. Edits are checked; applying them is the caller's.
    pub async fn message(
        &mut self,
        id: MessageId,
        client: &Client,
        envelope: &Envelope,
        content: Arc<dyn Content>,
    ) -> Asked<Disposition> {
        self.ask_message(id, client, envelope, content).await
    }
}
