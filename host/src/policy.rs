//! The policy engine: modules, generations, limits and faults.
//!
//! Everything outside asks questions in the words of [`crate::mail`] and gets checked answers;
//! nobody outside sees a generated type or a trap. A fault has become Event 4037 and the answer
//! that the fault table names before a question returns.

mod activation;
mod anatomy;
mod ask;
mod backtrace;
mod bindings;
pub mod builtin;
mod call;
mod chain;
mod check;
mod component;
mod convert;
mod decision;
mod encode;
mod engine;
mod fault;
mod generation;
mod imports;
mod instance;
mod lab;
mod limits;
mod live;
mod meter;
mod operate;
mod qualify;
mod rehearsal;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
mod wasi;
mod wish;
mod work;

use std::sync::Arc;

use serde::Serialize;

use crate::config::{Config, Problem};
use crate::directory::Directory;
use crate::event::Events;
use crate::mail::{Client, Content, Envelope, Mailbox, MessageId, ReversePath, SessionId, Timestamp};

pub use anatomy::{Anatomy, SETTINGS_SECTION, anatomy};
pub use call::{Answer, Answers, Asker, Call, Finding, Meaning, NoAnswer};
pub use decision::{
    Admission, Asked, Audience, Because, Disposition, Edit, FailedRecipient, Failure, Notice, Origin, Plan,
    ReturnContent, Terms, Verdict,
};
pub use encode::{EncodeError, component_of};
pub use lab::{Cost, Inquiry, Introduction, Lab, LabCode, Purpose, Reaction, Reading, Sitting, Specimen};
pub use rehearsal::{Fuse, Rehearsal};

/// The contract this host serves, as authors get it.
pub const CONTRACT_WIT: &str = include_str!("../../wit/policy.wit");

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

/// How a module does.
#[derive(Debug, Clone, Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
#[allow(missing_docs)]
pub struct ModuleStatus {
    pub module: String,
    /// As the policy calls itself.
    pub name: String,
    pub version: String,
    pub digest: String,
    pub generation: u64,
    pub since: Timestamp,
    pub by: String,
    pub origin: String,
    /// `running` or the reason it cannot run.
    pub health: String,
    pub stages: Vec<String>,
    pub calls: u64,
    pub faults: std::collections::BTreeMap<String, u64>,
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

    /// How each module does, in the chain's order.
    pub fn status(&self) -> Vec<ModuleStatus> {
        self.inner
            .chain
            .load()
            .modules
            .iter()
            .map(chain::Module::status)
            .collect()
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
