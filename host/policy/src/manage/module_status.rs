//! Status and health of the chain, for `posthouse policy status` and `posthouse status`. Read by the control socket
//! through the manager.

use std::collections::BTreeMap;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use crate::evaluate::chain::Module;
use crate::evaluate::trial::Staging;
use crate::manage::policy_set::{Draining, PolicySet};
use host_config::Share;
use host_engine::metrics::{GenerationMetrics, RECENT};
use host_events::{Condition, Health};
use host_mail::Timestamp;

/// The status of a module.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[allow(missing_docs)]
pub struct ModuleStatus {
    pub module: String,
    /// Name from the policy's description.
    pub name: String,
    pub version: String,
    /// Version of the contract that the component was built for.
    #[serde(default)]
    pub contract: String,
    pub digest: String,
    pub generation: u64,
    pub since: Timestamp,
    pub by: String,
    pub origin: String,
    /// `running` or the reason why the module cannot run.
    pub health: String,
    pub condition: Condition,
    pub stages: Vec<String>,
    /// Pre-initialisation: `yes`, `not yet`, or `no` with the reason.
    #[serde(default)]
    pub prepared: String,
    /// True if instances are shared between units of work.
    #[serde(default)]
    pub stateless: bool,
    pub calls: u64,
    pub faults: BTreeMap<String, u64>,
    #[serde(flatten)]
    pub load: Utilisation,
    /// The probation, for a short while after a load.
    pub probation: Option<ProbationStatus>,
    /// The staged candidate, which decides for some sessions.
    pub staged: Option<StagedStatus>,
    /// Replaced generations that still have work, oldest first.
    pub draining: Vec<Draining>,
    /// Reasons for which the module is degraded although it runs: untrusted code, a refused configuration, an automatic
    /// rollback.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub concerns: Vec<String>,
    /// Differences between what runs and what the configuration says.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub differs: Vec<String>,
}

/// The current work and the latencies of a generation.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Utilisation {
    /// Median latency of questions, in microseconds; none before the first question.
    pub p50_us: Option<u64>,
    /// 99th percentile of the latency, in microseconds.
    pub p99_us: Option<u64>,
    /// The slowest question, in microseconds.
    pub max_us: u64,
    /// Instances alive.
    pub instances: u64,
    /// Unfinished units of work (admissions, transactions and notifications) of the generation.
    pub units: u64,
    /// Questions of the last five minutes.
    pub recent_calls: u64,
    /// Faults of the last five minutes.
    pub recent_faults: u64,
}

/// The state of a probation.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[allow(missing_docs)]
pub struct ProbationStatus {
    pub until: Timestamp,
    /// The generation that a failed probation restores.
    pub previous: u64,
    /// Calls within the window of `[policy-engine.probation]`.
    pub calls: u64,
    /// Faults that count: the previous generation does not share them.
    pub faults: u64,
    /// Client networks and accounts with such faults.
    #[serde(default)]
    pub origins: u64,
    /// Number of such origins at which the previous generation is put back; 0 in documents of earlier releases.
    #[serde(default)]
    pub origins_limit: u64,
}

/// A staged candidate.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[allow(missing_docs)]
pub struct StagedStatus {
    pub name: String,
    pub version: String,
    pub digest: String,
    pub generation: u64,
    pub share: Share,
    pub clients: Vec<IpNet>,
    pub since: Timestamp,
    pub until: Timestamp,
    pub by: String,
    pub origin: String,
    pub reason: Option<String>,
    pub calls: u64,
    pub faults: BTreeMap<String, u64>,
    #[serde(flatten)]
    pub load: Utilisation,
}

/// Returns the state of each module, as [`crate::PolicyManager::status`] describes.
pub(crate) fn status(set: &PolicySet) -> Vec<ModuleStatus> {
    let chain = set.chain.load();
    let status = |module: &Module| {
        let staging = chain.staging.as_ref().filter(|staging| staging.module == module.name);
        let standing = set.standing(&module.name);
        let mut status = ModuleStatus {
            staged: staging.map(|staging| staged(staging)),
            draining: set.draining(&module.name),
            concerns: standing.reasons().cloned().collect(),
            differs: standing.differs,
            ..module.status()
        };
        if !status.concerns.is_empty() {
            status.condition = status.condition.max(Condition::Degraded);
        }
        let faulting = |staged: &StagedStatus| staged.load.recent_faults > 0;
        if status.staged.as_ref().is_some_and(faulting) {
            status.condition = status.condition.max(Condition::Degraded);
        }
        status
    };
    chain.modules.iter().map(status).collect()
}

/// Returns the health of the policies, as [`crate::PolicyManager::health`] describes.
pub(crate) fn health(set: &PolicySet) -> Health {
    let mut health = Health::default();
    for module in status(set) {
        for reason in module.reasons() {
            health.add(module.condition, reason);
        }
    }
    health
}

impl ModuleStatus {
    /// Returns the reasons for a condition that is not `running`.
    fn reasons(&self) -> Vec<String> {
        let minutes = RECENT.as_secs() / 60;
        let faulting = |what: String, load: &Utilisation| {
            (load.recent_faults > 0).then(|| {
                format!(
                    "policy {}: {what}{} faults in {} calls in the last {minutes} minutes",
                    self.module, load.recent_faults, load.recent_calls
                )
            })
        };
        if self.condition == Condition::Failed {
            return vec![format!("policy {}: {}", self.module, self.health)];
        }
        let what = match &self.probation {
            Some(probation) => format!(
                "generation {} on probation until {}: ",
                self.generation, probation.until
            ),
            None => String::new(),
        };
        let staged = self.staged.as_ref();
        let staged =
            staged.and_then(|staged| faulting(format!("staged generation {}: ", staged.generation), &staged.load));
        let concerns = self.concerns.iter();
        let concerns = concerns.map(|concern| format!("policy {}: {concern}", self.module));
        concerns.chain(faulting(what, &self.load)).chain(staged).collect()
    }
}

impl Module {
    fn status(&self) -> ModuleStatus {
        let module = self.name.to_string();
        let generation = match &self.running {
            Ok(generation) => generation,
            Err(why) => {
                return ModuleStatus {
                    module,
                    name: String::new(),
                    version: String::new(),
                    contract: String::new(),
                    digest: String::new(),
                    generation: 0,
                    since: Timestamp(0),
                    by: String::new(),
                    origin: String::new(),
                    health: why.clone(),
                    condition: Condition::Failed,
                    stages: Vec::new(),
                    prepared: String::new(),
                    stateless: false,
                    calls: 0,
                    faults: BTreeMap::new(),
                    load: Utilisation::default(),
                    probation: None,
                    staged: None,
                    draining: Vec::new(),
                    concerns: Vec::new(),
                    differs: Vec::new(),
                };
            }
        };
        let candidate = &generation.candidate;
        let roles = candidate.code.shape.roles.iter();
        let load = utilisation(&generation.counters);
        ModuleStatus {
            module,
            name: generation.description.name.clone(),
            version: generation.description.version.clone(),
            contract: candidate.code.shape.contract.to_string(),
            digest: candidate.code.digest.clone(),
            generation: generation.number,
            since: generation.since,
            by: candidate.by.clone(),
            origin: candidate.origin.clone(),
            health: "running".to_owned(),
            condition: match load.recent_faults {
                0 => Condition::Running,
                _ => Condition::Degraded,
            },
            stages: roles.map(|role| role.interface().to_owned()).collect(),
            prepared: match generation.preparation.result() {
                None => "not yet".to_owned(),
                Some(Ok(())) => "yes".to_owned(),
                Some(Err(why)) => format!("no: {why}"),
            },
            stateless: self.configured.is_stateless(generation.is_built_in),
            calls: generation.counters.calls(),
            faults: faults(&generation.counters),
            load,
            probation: self.probation.as_ref().map(|probation| {
                let tally = probation.fault_budget.tally();
                ProbationStatus {
                    until: probation.until,
                    previous: probation.previous.number,
                    calls: tally.tally.calls,
                    faults: tally.tally.faults,
                    origins: tally.origins,
                    origins_limit: probation.fault_budget.origins_limit(),
                }
            }),
            staged: None,
            draining: Vec::new(),
            concerns: Vec::new(),
            differs: Vec::new(),
        }
    }
}

fn staged(staging: &Staging) -> StagedStatus {
    let generation = &staging.generation;
    let candidate = &generation.candidate;
    StagedStatus {
        name: generation.description.name.clone(),
        version: generation.description.version.clone(),
        digest: candidate.code.digest.clone(),
        generation: generation.number,
        share: staging.selection.share,
        clients: staging.selection.clients.clone(),
        since: generation.since,
        until: staging.until,
        by: candidate.by.clone(),
        origin: candidate.origin.clone(),
        reason: staging.reason.clone(),
        calls: generation.counters.calls(),
        faults: faults(&generation.counters),
        load: utilisation(&generation.counters),
    }
}

fn faults(counters: &GenerationMetrics) -> BTreeMap<String, u64> {
    let faults = counters.faults();
    faults.map(|(class, count)| (class.name().to_owned(), count)).collect()
}

fn utilisation(counters: &GenerationMetrics) -> Utilisation {
    let recent = counters.recent();
    Utilisation {
        p50_us: counters.latency.within(500),
        p99_us: counters.latency.within(990),
        max_us: counters.latency.longest(),
        instances: counters.instances(),
        units: counters.in_hand().units,
        recent_calls: recent.calls,
        recent_faults: recent.faults,
    }
}
