//! A generation: one module's code with its settings, limits and grants, proven to run.

use std::sync::Arc;

use serde_json::{Map, Value};
use sha2::{Digest, Sha256};
use wasmtime::component::InstancePre;

use super::bindings::exports::posthouse::policy::{exemption, homing, lifecycle, ndr};
use super::check::Description;
use super::component::{Role, Shape, inspect};
use super::engine::Runtime;
use super::imports::Host;
use super::metrics::Counters;
use crate::config::{PolicyLimits, Problem};
use crate::mail::Timestamp;

/// Compiled code, whatever its settings.
pub(super) struct Code {
    /// SHA-256 of the component, hexadecimal.
    pub(super) digest: String,
    pub(super) shape: Shape,
    pub(super) pre: InstancePre<Host>,
    pub(super) lifecycle: Option<lifecycle::GuestIndices>,
    pub(super) exemption: Option<exemption::GuestIndices>,
    pub(super) homing: Option<homing::GuestIndices>,
    pub(super) ndr: Option<ndr::GuestIndices>,
}

impl Code {
    /// Inspects, compiles and links.
    pub(super) async fn new(runtime: &Runtime, bytes: Arc<[u8]>) -> Result<Self, Vec<Problem>> {
        let shape = inspect(&bytes)?;
        let one = |text: String| vec![Problem::new("file", text)];
        let digest = digest(&bytes);
        let component = runtime.compile(bytes).await.map_err(one)?;
        let link = || -> wasmtime::Result<Self> {
            let pre = runtime.linker().instantiate_pre(&component)?;
            let has = |role| shape.roles.contains(&role);
            Ok(Self {
                digest,
                lifecycle: Some(lifecycle::GuestIndices::new(&pre)?),
                exemption: has(Role::Exemption)
                    .then(|| exemption::GuestIndices::new(&pre))
                    .transpose()?,
                homing: has(Role::Homing).then(|| homing::GuestIndices::new(&pre)).transpose()?,
                ndr: has(Role::Ndr).then(|| ndr::GuestIndices::new(&pre)).transpose()?,
                pre,
                shape: shape.clone(),
            })
        };
        link().map_err(|error| one(format!("does not fit the contract: {error:#}")))
    }
}

/// What is to become a generation.
#[derive(Clone)]
pub(super) struct Candidate {
    /// Name in the chain.
    pub(super) module: Arc<str>,
    pub(super) code: Arc<Code>,
    pub(super) settings: Map<String, Value>,
    pub(super) grants: Vec<String>,
    pub(super) limits: PolicyLimits,
    /// Where the code came from.
    pub(super) origin: String,
    /// Who wants it.
    pub(super) by: String,
}

impl Candidate {
    /// Digest of everything a decision can depend on.
    pub(super) fn identity(&self) -> String {
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
pub(super) struct Generation {
    pub(super) number: u64,
    /// See [`Candidate::identity`].
    pub(super) identity: String,
    pub(super) candidate: Candidate,
    /// The settings as `configure` gets them.
    pub(super) settings: String,
    pub(super) description: Description,
    pub(super) since: Timestamp,
    pub(super) counters: Counters,
}

impl Generation {
    pub(super) fn new(number: u64, since: Timestamp, candidate: Candidate, description: Description) -> Self {
        Self {
            number,
            identity: candidate.identity(),
            settings: settings_text(&candidate.settings),
            candidate,
            description,
            since,
            counters: Counters::default(),
        }
    }

    pub(super) fn serves(&self, role: Role) -> bool {
        self.candidate.code.shape.roles.contains(&role)
    }
}

/// Settings as JSON text.
pub(super) fn settings_text(settings: &Map<String, Value>) -> String {
    Value::Object(settings.clone()).to_string()
}

/// SHA-256, hexadecimal.
pub(super) fn digest(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}
