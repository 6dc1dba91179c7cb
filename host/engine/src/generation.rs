//! A generation: one module's code with its settings, limits and grants, proven to run.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use serde_json::{Map, Value};
use sha2::{Digest, Sha256};
use wasmtime::component::{Component, InstancePre, Linker};

use super::backtrace::SourceMap;
use super::core_dump::CoreDumps;
use super::exports::Exports;
use super::metrics::GenerationMetrics;
use crate::admission_cache::Admissions;
use crate::component::{Contract, Role, Shape, builtin, inspect};
use crate::instance_state::InstanceState;
use crate::runtime::Runtime;
use crate::validate::Description;
use host_config::{PolicyLimits, Problem};
use host_mail::Timestamp;

/// Compiled code, whatever its settings.
pub struct Code {
    /// SHA-256 of the component, hexadecimal.
    pub digest: String,
    /// Roles, contract and imports.
    pub shape: Shape,
    /// The component as it was loaded.
    pub bytes: Arc<[u8]>,
    pub(super) pre: InstancePre<InstanceState>,
    pub(super) exports: Exports,
    pub(super) places: SourceMap,
}

impl Code {
    /// Inspects, compiles and links.
    pub async fn new(runtime: &Runtime, bytes: Arc<[u8]>) -> Result<Self, Vec<Problem>> {
        let one = |text: String| vec![Problem::new("file", text)];
        let looking = Arc::clone(&bytes);
        let look = move || Ok((inspect(&looking)?, digest(&looking), SourceMap::of(looking)));
        let looked = tokio::task::spawn_blocking(look).await;
        let not_looked = |error| Err(one(format!("it could not be looked at: {error}")));
        let (shape, digest, places) = looked.unwrap_or_else(not_looked)?;
        let component = runtime.compile(Arc::clone(&bytes), &digest).await.map_err(one)?;
        let link = || -> wasmtime::Result<Self> {
            Ok(Self {
                exports: Exports::find(&component, &shape)?,
                pre: runtime.linker().instantiate_pre(&component)?,
                digest,
                shape: shape.clone(),
                bytes: Arc::clone(&bytes),
                places,
            })
        };
        link().map_err(|error| one(misfit(shape.contract, &error)))
    }

    /// The same policy in the form of another component.
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
            places: SourceMap::of(Arc::clone(&bytes)),
            bytes,
        })
    }
}

/// A policy may use what a later patch release of its contract added.
fn misfit(contract: Contract, error: &wasmtime::Error) -> String {
    if Contract::SERVED.contains(&contract) {
        return format!("does not fit the contract: {error:#}");
    }
    let newest = Contract::NEWEST;
    format!(
        "built for posthouse:policy@{contract}, and this host does not serve all of it: {error:#}; \
         upgrade this host, or rebuild the policy against posthouse:policy@{newest}"
    )
}

/// What is to become a generation.
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
    /// Where the code came from.
    pub origin: String,
    /// Who wants it.
    pub by: String,
    /// No decision depends on it.
    pub core_dumps: Arc<CoreDumps>,
}

impl Candidate {
    /// Digest of everything a decision can depend on.
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

/// A candidate that runs, with its number. Immutable but for its counters.
pub struct Generation {
    /// Number in the module's history, from 1.
    pub number: u64,
    /// See [`Candidate::identity`].
    pub identity: String,
    /// Its code is the default policy that the host carries, wherever it was loaded from.
    pub is_built_in: bool,
    /// What the generation was made of.
    pub candidate: Candidate,
    /// The settings as `configure` gets them.
    pub settings: String,
    /// What `describe` returned.
    pub description: Description,
    /// Time of activation.
    pub since: Timestamp,
    /// Calls, faults and latency.
    pub counters: GenerationMetrics,
    /// Admissions that need not be asked again.
    pub admissions: Admissions,
    /// The code with the settings taken in, as soon as there is any.
    pub preparation: Preparation,
}

impl Generation {
    /// Makes a generation of a candidate that was shown to run.
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
            admissions: Admissions::default(),
            preparation: Preparation::default(),
        }
    }

    /// What instances are made of if they need not be configured any more.
    pub fn prepared(&self) -> Option<&Arc<Code>> {
        self.preparation.outcome.get()?.as_ref().ok()
    }

    /// True if the component exports the interface of `role`.
    pub fn serves(&self, role: Role) -> bool {
        self.candidate.code.shape.roles.contains(&role)
    }
}

/// Whether instances need not read their settings any more.
#[derive(Default)]
pub struct Preparation {
    begun: AtomicBool,
    outcome: OnceLock<Result<Arc<Code>, String>>,
}

impl Preparation {
    /// Whether the caller is the first.
    pub fn begin(&self) -> bool {
        !self.begun.swap(true, Ordering::Relaxed)
    }

    /// From now on instances come up configured, or it is known why they cannot.
    pub fn end(&self, outcome: Result<Code, String>) {
        // Whoever began is the only one who ends.
        let _ = self.outcome.set(outcome.map(Arc::new));
    }

    /// In words; none as long as it is not decided.
    pub fn result(&self) -> Option<Result<(), &str>> {
        let outcome = self.outcome.get()?;
        Some(outcome.as_ref().map(|_| ()).map_err(String::as_str))
    }
}

/// Settings as JSON text.
pub fn settings_text(settings: &Map<String, Value>) -> String {
    Value::Object(settings.clone()).to_string()
}

/// SHA-256, hexadecimal.
pub fn digest(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}
