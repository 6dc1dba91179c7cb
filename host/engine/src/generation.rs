//! A generation: a module's code with settings, limits and grants, verified to run.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use serde_json::{Map, Value};
use wasmtime::component::{Component, InstancePre, Linker};

use super::backtrace::SourceMap;
use super::core_dump::CoreDumps;
use super::exports::Exports;
use super::metrics::GenerationMetrics;
use crate::component::{Contract, Role, Shape, builtin, inspect};
use crate::instance_state::InstanceState;
use crate::runtime::Runtime;
use crate::validate::Description;
use host_config::{PolicyLimits, Problem};
use host_mail::Timestamp;

pub use crate::component::digest::digest;

/// Compiled and linked code, independent of settings.
pub struct Code {
    /// SHA-256 of the component, hexadecimal.
    pub digest: String,
    /// Roles, contract and imports.
    pub shape: Shape,
    /// Bytes of the component.
    pub bytes: Arc<[u8]>,
    pub(super) pre: InstancePre<InstanceState>,
    pub(super) exports: Exports,
    pub(super) source_map: SourceMap,
}

impl Code {
    /// Inspects, compiles and links a component. Errors are problems for an operator.
    pub async fn new(runtime: &Runtime, bytes: Arc<[u8]>) -> Result<Self, Vec<Problem>> {
        let one = |text: String| vec![Problem::new("file", text)];
        let component = Arc::clone(&bytes);
        let inspect = move || Ok((inspect(&component)?, digest(&component), SourceMap::of(component)));
        let inspected = tokio::task::spawn_blocking(inspect).await;
        let panicked = |error| Err(one(format!("it could not be looked at: {error}")));
        let (shape, digest, source_map) = inspected.unwrap_or_else(panicked)?;
        let component = runtime.compile(Arc::clone(&bytes), &digest).await.map_err(one)?;
        let link = || -> wasmtime::Result<Self> {
            Ok(Self {
                exports: Exports::find(&component, &shape)?,
                pre: runtime.linker().instantiate_pre(&component)?,
                digest,
                shape: shape.clone(),
                bytes: Arc::clone(&bytes),
                source_map,
            })
        };
        link().map_err(|error| one(link_error(shape.contract, &error)))
    }

    /// Links another component that has the same exports and the same digest, such as a snapshot.
    pub(super) fn linked(
        &self,
        component: &Component,
        bytes: Arc<[u8]>,
        linker: &Linker<InstanceState>,
    ) -> wasmtime::Result<Self> {
        Ok(Self {
            exports: Exports::find(component, &self.shape)?,
            pre: linker.instantiate_pre(component)?,
            digest: self.digest.clone(),
            shape: self.shape.clone(),
            source_map: SourceMap::of(Arc::clone(&bytes)),
            bytes,
        })
    }
}

/// Text for a component that does not link. The policy may use functions that a later patch release of the contract
/// added.
fn link_error(contract: Contract, error: &wasmtime::Error) -> String {
    if Contract::SERVED.contains(&contract) {
        return format!("does not fit the contract: {error:#}");
    }
    let newest = Contract::NEWEST;
    format!(
        "built for posthouse:policy@{contract}, and this host does not serve all of it: {error:#}; \
         upgrade this host, or rebuild the policy against posthouse:policy@{newest}"
    )
}

/// A candidate for a generation: code with settings, grants and limits.
#[derive(Clone)]
pub struct Candidate {
    /// Name in the chain.
    pub module: Arc<str>,
    /// Compiled code.
    pub code: Arc<Code>,
    /// Settings as the operator wrote them.
    pub settings: Map<String, Value>,
    /// Names of the interfaces that may be imported.
    pub grants: Vec<String>,
    /// Limits of each instance.
    pub limits: PolicyLimits,
    /// Origin of the code, such as a file's path.
    pub origin: String,
    /// The user or part of the host that requested the candidate.
    pub by: String,
    /// Destination of core dumps; not part of the identity, since no decision depends on core dumps.
    pub core_dumps: Arc<CoreDumps>,
}

impl Candidate {
    /// Digest of everything that a decision can depend on: code, settings, grants and limits.
    pub fn identity(&self) -> String {
        let limits = &self.limits;
        let parts = serde_json::json!({
            "code": self.code.digest,
            "settings": self.settings,
            "grants": self.grants,
            "limits": [
                limits.cpu.as_nanos().to_string(),
                limits.wall.as_nanos().to_string(),
                limits.memory.to_string(),
                limits.component_size.to_string(),
                limits.host_calls.to_string(),
            ],
        });
        digest(parts.to_string().as_bytes())
    }
}

/// A verified candidate with a number. Immutable except for counters and pre-initialisation.
pub struct Generation {
    /// Number in the module's history, from 1.
    pub number: u64,
    /// Identity of the candidate that became this generation, [`Candidate::identity`].
    pub identity: String,
    /// True if the code is the built-in default policy, even if loaded from a file.
    pub is_built_in: bool,
    /// The candidate that became this generation.
    pub candidate: Candidate,
    /// Settings as JSON text, the argument of `configure`.
    pub settings: String,
    /// The checked result of `describe`.
    pub description: Description,
    /// Time of activation.
    pub since: Timestamp,
    /// Calls, faults and latency.
    pub counters: GenerationMetrics,
    /// Pre-initialised code, as soon as available.
    pub preparation: Preparation,
}

impl Generation {
    /// Makes a generation of a candidate that was verified to run.
    pub fn new(number: u64, since: Timestamp, candidate: Candidate, description: Description) -> Self {
        Self {
            number,
            identity: candidate.identity(),
            is_built_in: *candidate.code.bytes == *builtin::DEFAULT,
            settings: settings_text(&candidate.settings),
            candidate,
            description,
            since,
            counters: GenerationMetrics::default(),
            preparation: Preparation::default(),
        }
    }

    /// Returns the pre-initialised code, whose instances need no `configure`; `None` if not available.
    pub fn prepared(&self) -> Option<&Arc<Code>> {
        self.preparation.outcome.get()?.as_ref().ok()
    }

    /// True if the component exports the interface of `role`.
    pub fn serves(&self, role: Role) -> bool {
        self.candidate.code.shape.roles.contains(&role)
    }
}

/// Progress of pre-initialisation.
#[derive(Default)]
pub struct Preparation {
    begun: AtomicBool,
    outcome: OnceLock<Result<Arc<Code>, String>>,
}

impl Preparation {
    /// Claims the work; true for the first caller only.
    pub fn begin(&self) -> bool {
        !self.begun.swap(true, Ordering::Relaxed)
    }

    /// Stores the result: code whose instances come up configured, or the reason why there is none.
    pub fn end(&self, outcome: Result<Code, String>) {
        // Set once, since only one caller of `begin` gets true.
        let _ = self.outcome.set(outcome.map(Arc::new));
    }

    /// Returns the result with the reason of a failure; `None` until [`Self::end`].
    pub fn result(&self) -> Option<Result<(), &str>> {
        let outcome = self.outcome.get()?;
        Some(outcome.as_ref().map(|_| ()).map_err(String::as_str))
    }
}

/// Returns settings as JSON text.
pub fn settings_text(settings: &Map<String, Value>) -> String {
    Value::Object(settings.clone()).to_string()
}

/// A guard that counts an instance of a generation as live.
pub struct InUse(Arc<Generation>);

impl InUse {
    /// Counts an instance of `generation` as live until the guard is dropped.
    pub fn new(generation: &Arc<Generation>) -> Self {
        generation.counters.begin_instance();
        Self(Arc::clone(generation))
    }
}

impl Drop for InUse {
    fn drop(&mut self) {
        self.0.counters.end_instance();
    }
}
