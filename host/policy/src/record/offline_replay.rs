//! Offline replay: puts recorded questions to a candidate without a running host. Used by the `policy replay` command;
//! the harness shares [`NoHost`].

use std::sync::Arc;

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;

use crate::evaluate::evaluator::Evaluator;
use crate::manage::candidate::{check_size, configured_code, validate};
use crate::record::Record;
use crate::record::decision_diff::Comparison;
use crate::record::replayer::play;
use host_config::{PolicyEngine, PolicyModule, Problem};
use host_directory::{Directory, Entry, Login, LookupError};
use host_engine::compile::Compiler;
use host_engine::core_dump::CoreDumps;
use host_engine::generation::{Candidate, Code, Generation};
use host_engine::host_call::{Answer, Call, Caller, HostServices, NoAnswer};
use host_engine::runtime::Runtime;
use host_events::Events;
use host_mail::{Mailbox, Timestamp};

/// A candidate on a separate engine, and the comparison so far.
pub struct Replay {
    evaluator: Evaluator,
    generation: Generation,
    comparison: Comparison,
}

impl Replay {
    /// Checks and compiles the candidate of `module`; without `code`, the configured code is used.
    pub async fn new(module: &PolicyModule, code: Option<Vec<u8>>) -> Result<Self, Vec<Problem>> {
        let engine = PolicyEngine {
            instances: 1,
            ..PolicyEngine::default()
        };
        let runtime = Runtime::new(&engine, None, Compiler::Here, &Events::discard())
            .map_err(|error| vec![Problem::new("policy-engine", error.to_string())])?;
        let evaluator = Evaluator::unobserved(runtime, Arc::new(NoHost), Arc::new(NoHost), Events::discard());
        let bytes: Arc<[u8]> = match code {
            Some(bytes) => bytes.into(),
            None => configured_code(module).await?.artifact.bytes,
        };
        check_size(bytes.len(), module.limits.component_size).map_err(|text| vec![Problem::new("file", text)])?;
        let candidate = Candidate {
            module: module.name.as_str().into(),
            code: Arc::new(Code::new(&evaluator.runtime, bytes).await?),
            settings: module.settings.clone(),
            grants: module.grants.clone(),
            limits: module.limits.clone(),
            core_dumps: Arc::new(CoreDumps::new(None)),
            origin: String::new(),
            by: String::new(),
        };
        let description = validate(&evaluator, &candidate, "policy").await?;
        Ok(Self {
            generation: Generation::new(0, Timestamp::now(), candidate, description),
            evaluator,
            comparison: Comparison::default(),
        })
    }

    /// SHA-256 of the candidate's code, hexadecimal.
    pub fn digest(&self) -> &str {
        &self.generation.candidate.code.digest
    }

    /// Puts the questions of a record to the candidate and compares the answers. No live service is asked or changed.
    pub async fn play(&mut self, record: &Record) {
        if !record.can_be_replayed() || record.module != *self.generation.candidate.module {
            return self.comparison.skip(record);
        }
        match play(&self.evaluator, &self.generation, record, None, None).await {
            Ok(played) => self.comparison.add(record, &played),
            Err(_crowded) => self.comparison.skip(record),
        }
    }

    /// Counts a line that is no record, or a record of a newer version.
    pub fn skip(&mut self) {
        self.comparison.skip_one();
    }

    /// Returns the comparison.
    pub fn comparison(self) -> Comparison {
        self.comparison
    }
}

/// Host services and a directory without answers: calls that are not in the record are unavailable.
pub(crate) struct NoHost;

fn not_recorded<'a, T: Send + 'a>() -> BoxFuture<'a, Result<T, LookupError>> {
    async { Err(LookupError::Unavailable("not recorded".to_owned())) }.boxed()
}

impl HostServices for NoHost {
    fn answer<'a>(&'a self, _: Caller<'a>, _: &'a Call) -> BoxFuture<'a, Result<Answer, NoAnswer>> {
        async { Err(NoAnswer::Unavailable("not recorded".to_owned())) }.boxed()
    }
}

impl Directory for NoHost {
    fn lookup<'a>(&'a self, _: &'a Mailbox) -> BoxFuture<'a, Result<Vec<Entry>, LookupError>> {
        not_recorded()
    }

    fn may_send_as<'a>(&'a self, _: &'a str, _: &'a Mailbox) -> BoxFuture<'a, Result<bool, LookupError>> {
        not_recorded()
    }

    fn is_local_domain<'a>(&'a self, _: &'a str) -> BoxFuture<'a, Result<bool, LookupError>> {
        not_recorded()
    }

    fn is_member<'a>(&'a self, _: &'a Mailbox, _: &'a Mailbox) -> BoxFuture<'a, Result<bool, LookupError>> {
        not_recorded()
    }

    fn authenticate<'a>(&'a self, _: Login<'a>) -> BoxFuture<'a, Result<Option<String>, LookupError>> {
        not_recorded()
    }
}
