//! Replay: recorded decisions, put to a candidate offline.

use std::sync::Arc;

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;

use crate::evaluate::evaluation::Core;
use crate::manage::candidate::{configured_code, fits, validate};
use crate::record::Record;
use crate::record::decision_diff::Comparison;
use crate::record::replayer::play;
use host_config::{PolicyEngine, PolicyModule, Problem};
use host_directory::{Directory, Entry, LookupError};
use host_engine::compile::Compiler;
use host_engine::core_dump::CoreDumps;
use host_engine::generation::{Candidate, Code, Generation};
use host_engine::host_call::{Answer, Call, Caller, HostServices, NoAnswer};
use host_engine::runtime::Runtime;
use host_events::Events;
use host_mail::{Mailbox, Timestamp};

/// A candidate with an engine of its own, and how it compares.
pub struct Replay {
    core: Core,
    generation: Generation,
    comparison: Comparison,
}

impl Replay {
    /// Checks and compiles what `module` is to run; without `code` it is what is configured.
    pub async fn new(module: &PolicyModule, code: Option<Vec<u8>>) -> Result<Self, Vec<Problem>> {
        let engine = PolicyEngine {
            instances: 1,
            ..PolicyEngine::default()
        };
        let runtime = Runtime::new(&engine, None, Compiler::Here, &Events::discard())
            .map_err(|error| vec![Problem::new("policy-engine", error.to_string())])?;
        let core = Core::answering(runtime, Arc::new(Nobody), Arc::new(Nobody), Events::discard());
        let bytes: Arc<[u8]> = match code {
            Some(bytes) => bytes.into(),
            None => configured_code(module).await?.artifact.bytes,
        };
        fits(bytes.len(), module.limits.component_size).map_err(|text| vec![Problem::new("file", text)])?;
        let candidate = Candidate {
            module: module.name.as_str().into(),
            code: Arc::new(Code::new(&core.runtime, bytes).await?),
            settings: module.settings.clone(),
            grants: module.grants.clone(),
            limits: module.limits.clone(),
            core_dumps: Arc::new(CoreDumps::new(None)),
            origin: String::new(),
            by: String::new(),
        };
        let description = validate(&core, &candidate, "policy").await?;
        Ok(Self {
            generation: Generation::new(0, Timestamp::now(), candidate, description),
            core,
            comparison: Comparison::default(),
        })
    }

    /// SHA-256 of the candidate's code, hexadecimal.
    pub fn digest(&self) -> &str {
        &self.generation.candidate.code.digest
    }

    /// Asks what was asked then and compares the answers. Nothing live is asked or changed.
    pub async fn play(&mut self, record: &Record) {
        if !record.can_be_replayed() || record.module != *self.generation.candidate.module {
            return self.comparison.skip(record);
        }
        match play(&self.core, &self.generation, record, None, None).await {
            Ok(played) => self.comparison.add(record, &played),
            Err(_crowded) => self.comparison.skip(record),
        }
    }

    /// A line that is no record, or one of a newer Posthouse.
    pub fn skip(&mut self) {
        self.comparison.skip_one();
    }

    /// What came of it.
    pub fn comparison(self) -> Comparison {
        self.comparison
    }
}

/// A host that is not there: what a record has not, nobody knows.
pub(crate) struct Nobody;

fn nobody<'a, T: Send + 'a>() -> BoxFuture<'a, Result<T, LookupError>> {
    async { Err(LookupError::Unavailable("not recorded".to_owned())) }.boxed()
}

impl HostServices for Nobody {
    fn answer<'a>(&'a self, _: Caller<'a>, _: &'a Call) -> BoxFuture<'a, Result<Answer, NoAnswer>> {
        async { Err(NoAnswer::Unavailable("not recorded".to_owned())) }.boxed()
    }
}

impl Directory for Nobody {
    fn lookup<'a>(&'a self, _: &'a Mailbox) -> BoxFuture<'a, Result<Vec<Entry>, LookupError>> {
        nobody()
    }

    fn may_send_as<'a>(&'a self, _: &'a str, _: &'a Mailbox) -> BoxFuture<'a, Result<bool, LookupError>> {
        nobody()
    }

    fn is_local_domain<'a>(&'a self, _: &'a str) -> BoxFuture<'a, Result<bool, LookupError>> {
        nobody()
    }

    fn is_member<'a>(&'a self, _: &'a Mailbox, _: &'a Mailbox) -> BoxFuture<'a, Result<bool, LookupError>> {
        nobody()
    }

    fn authenticate<'a>(&'a self, _: &'a str, _: &'a str) -> BoxFuture<'a, Result<Option<String>, LookupError>> {
        nobody()
    }
}
