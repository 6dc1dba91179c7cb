//! A module by itself, on an engine of its own: asked question by question, with what each answer
//! cost. For authors; the daemon asks through [`crate::Policies`].

pub(crate) mod fault_injection;

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::evaluate::evaluation::configured;
use crate::evaluate::evaluator::{Evaluator, FaultSite};
use crate::evaluate::prepared_question::{LiveQuestion, PreparedQuestion};
use crate::manage::candidate::{fits, problem_of, validate};
use crate::record::offline_replay::NoHost;
use host_config::{PolicyEngine, PolicyModule, Problem};
use host_contract::{Decision, Origin, Reason};
use host_directory::Directory;
use host_engine::compile::Compiler;
use host_engine::core_dump::CoreDumps;
use host_engine::fault::{CallFailed, Fault};
use host_engine::fuel::PLENTY;
use host_engine::generation::{Candidate, Code, Generation};
use host_engine::host_call::HostServices;
use host_engine::instance::Instance;
use host_engine::instance_state::CallContext;
use host_engine::instance_state::Usage;
use host_engine::runtime::Runtime;
use host_engine::start_error::StartError;
use host_events::{Captured, Event, Events, PolicyFault};
use host_mail::{MessageId, SessionId, Timestamp};

/// What a lab is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// Log lines and faults are kept and fuel is counted; durations are longer for it.
    Observe,
    /// As the daemon runs it: nothing is counted and nothing is kept.
    Time,
}

/// An engine for one module at a time.
pub struct PolicyHarness {
    evaluator: Evaluator,
    captured: Captured,
}

/// Compiled code, whatever its settings.
#[derive(Clone)]
pub struct HarnessCode(Arc<Code>);

/// A module that loads: code with settings, grants and limits.
pub struct LoadedPolicy {
    generation: Arc<Generation>,
}

/// What a policy says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PolicyDescription {
    /// As it calls itself.
    pub name: String,
    /// Of itself.
    pub version: String,
    /// Name and summary of each rule that a decision may cite.
    pub rules: Vec<(String, String)>,
    /// What its instance took.
    pub instantiation: Cost,
}

/// What something took.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Cost {
    /// On this machine, now.
    pub duration: Duration,
    /// Instructions, about; the same on every machine. None where nothing is counted.
    pub fuel: Option<u64>,
    /// Bytes of linear memory the instance has afterwards; it never gives any back.
    pub memory: usize,
}

/// What came of a question.
#[derive(Debug, Clone)]
pub struct Measurement {
    /// The answer and its reason; none is `pass`, or a fault.
    pub opinion: Option<(Decision, Reason)>,
    /// Why there is no answer, as Event 4037 has it.
    pub fault: Option<PolicyFault>,
    /// Level and text of each line the policy logged.
    pub logged: Vec<(String, String)>,
    /// The fresh instance, configured; none if the question was put to one that was there.
    pub fresh: Option<Cost>,
    /// The question alone.
    pub cost: Cost,
}

impl PolicyHarness {
    /// Compiled code is kept in `cache`, if there is one. `directory` is what the host itself would
    /// look up in; policies ask the scene.
    pub fn new(purpose: Purpose, directory: Arc<dyn Directory>, cache: Option<&Path>) -> Result<Self, StartError> {
        let engine = PolicyEngine {
            instances: 4,
            ..PolicyEngine::default()
        };
        let (events, captured) = Events::capture();
        let (runtime, events) = match purpose {
            Purpose::Observe => (Runtime::metered(&engine, cache)?, events),
            Purpose::Time => (
                Runtime::new(&engine, cache, Compiler::Here, &events)?,
                Events::discard(),
            ),
        };
        Ok(Self {
            evaluator: Evaluator::unobserved(runtime, Arc::new(NoHost), directory, events),
            captured,
        })
    }

    /// Inspects, compiles and links.
    pub async fn compile(&self, bytes: &[u8]) -> Result<HarnessCode, Vec<Problem>> {
        let code = Code::new(&self.evaluator.runtime, bytes.into()).await?;
        Ok(HarnessCode(Arc::new(code)))
    }

    /// Who a policy says it is, before anything is configured or granted.
    pub async fn describe(&self, code: &HarnessCode, module: &PolicyModule) -> Result<PolicyDescription, Vec<Problem>> {
        let candidate = candidate(code, module);
        let context = self.evaluator.context(Origin::default());
        let faulted = |stage: &str, failed: CallFailed| {
            let problem = match failed {
                CallFailed::Fault(fault) => problem_of(&fault, stage),
                CallFailed::Crowded => Problem::new("file", "no room for an instance"),
            };
            vec![problem]
        };
        let since = Instant::now();
        let made = Instance::new(&self.evaluator.runtime, &candidate, context).await;
        let mut instance = made.map_err(|failed| faulted("instantiate", failed))?;
        let instantiation = cost(&instance, since);
        let description = instance
            .describe()
            .await
            .map_err(|failed| faulted("describe", failed))?;
        Ok(PolicyDescription {
            name: description.name,
            version: description.version,
            rules: description.rules,
            instantiation,
        })
    }

    /// Everything a load checks: size, grants, types, `describe`, `configure`. `module` has the name,
    /// settings, grants and limits; `key` is where grants are given, for problems.
    pub async fn load(
        &self,
        code: &HarnessCode,
        size: usize,
        module: &PolicyModule,
    ) -> Result<LoadedPolicy, Vec<Problem>> {
        fits(size, module.limits.component_size).map_err(|text| vec![Problem::new("file", text)])?;
        let candidate = candidate(code, module);
        let description = validate(&self.evaluator, &candidate, "policy").await?;
        Ok(LoadedPolicy {
            generation: Arc::new(Generation::new(0, Timestamp(0), candidate, description)),
        })
    }

    /// One unit of work: its questions share an instance, the time and the answers of the host.
    pub fn session<'a>(
        &'a self,
        policy: &'a LoadedPolicy,
        answers: Arc<dyn HostServices>,
        now: Timestamp,
    ) -> HarnessSession<'a> {
        let origin = Origin {
            session: Some(SessionId::generate()),
            message: None,
        };
        HarnessSession {
            harness: self,
            policy,
            context: CallContext {
                answers,
                now,
                ..self.evaluator.context(origin)
            },
            instance: None,
        }
    }
}

fn candidate(code: &HarnessCode, module: &PolicyModule) -> Candidate {
    Candidate {
        module: module.name.as_str().into(),
        code: Arc::clone(&code.0),
        settings: module.settings.clone(),
        grants: module.grants.clone(),
        limits: module.limits.clone(),
        origin: String::new(),
        by: String::new(),
        core_dumps: Arc::new(CoreDumps::new(None)),
    }
}

impl HarnessCode {
    /// SHA-256 of the component, hexadecimal.
    pub fn digest(&self) -> &str {
        &self.0.digest
    }

    /// Interfaces of the contract from which it imports functions: those that must be granted.
    pub fn uses(&self) -> impl Iterator<Item = &str> {
        self.0.shape.uses.iter().map(String::as_str)
    }
}

impl LoadedPolicy {
    /// True if the policy can be asked at this question's stage.
    pub fn serves(&self, question: &LiveQuestion) -> bool {
        self.generation
            .serves(crate::evaluate::prepared_question::role(question))
    }
}

/// See [`PolicyHarness::session`].
pub struct HarnessSession<'a> {
    harness: &'a PolicyHarness,
    policy: &'a LoadedPolicy,
    context: CallContext,
    instance: Option<Instance>,
}

impl HarnessSession<'_> {
    /// Puts a question to the instance of this unit of work, which is made if there is none. After a
    /// fault the next question has a fresh one.
    pub async fn ask(&mut self, question: &LiveQuestion) -> Measurement {
        let heard = self.harness.captured.events().len();
        let mut reading = self.put(question).await;
        for event in self.harness.captured.events().drain(heard..) {
            if let Event::PolicyLog { level, text, .. } = event {
                reading.logged.push((level, text));
            }
        }
        reading
    }

    /// Makes the instance before it is asked anything.
    ///
    /// # Errors
    /// It faulted.
    pub async fn begin(&mut self) -> Result<Cost, PolicyFault> {
        match self.fresh().await {
            Ok((instance, cost)) => {
                self.instance = Some(instance);
                Ok(cost)
            }
            Err(failed) => Err(self.fault(&failed, "configure")),
        }
    }

    /// The instance is dropped; the next question has a fresh one.
    pub fn release(&mut self) {
        self.instance = None;
    }

    async fn put(&mut self, question: &LiveQuestion) -> Measurement {
        let mut reading = Measurement {
            opinion: None,
            fault: None,
            logged: Vec::new(),
            fresh: None,
            cost: Cost::default(),
        };
        let mut instance = match self.instance.take() {
            Some(instance) => instance,
            None => match self.fresh().await {
                Ok((instance, cost)) => {
                    reading.fresh = Some(cost);
                    instance
                }
                Err(failed) => {
                    reading.fault = Some(self.fault(&failed, "configure"));
                    return reading;
                }
            },
        };
        instance.refuel(self.harness.evaluator.runtime.first_fuel());
        let since = Instant::now();
        let answer = put(&mut instance, question).await;
        reading.cost = cost(&instance, since);
        match answer {
            Ok(opinion) => {
                reading.opinion = opinion;
                self.instance = Some(instance);
            }
            Err(failed) => reading.fault = Some(self.fault(&failed, question.stage())),
        }
        reading
    }

    async fn fresh(&self) -> Result<(Instance, Cost), CallFailed> {
        let since = Instant::now();
        let generation = &self.policy.generation;
        let instance = configured(
            &self.harness.evaluator,
            generation,
            self.context.clone(),
            Usage::default(),
        )
        .await?;
        let cost = cost(&instance, since);
        Ok((instance, cost))
    }

    /// As Event 4037 has it. A pool that is too small for one instance is a defect of the host.
    fn fault(&self, failed: &CallFailed, stage: &str) -> PolicyFault {
        let crowded = Fault::of_host("no room for an instance");
        let fault = match failed {
            CallFailed::Fault(fault) => fault,
            CallFailed::Crowded => &crowded,
        };
        FaultSite {
            candidate: &self.policy.generation.candidate,
            generation: 0,
            stage,
            origin: self.context.origin,
            instead: "",
        }
        .describe(fault)
    }
}

fn cost(instance: &Instance, since: Instant) -> Cost {
    Cost {
        duration: since.elapsed(),
        fuel: instance.fuel().map(|left| PLENTY - left),
        memory: instance.memory(),
    }
}

async fn put(instance: &mut Instance, question: &LiveQuestion) -> Result<Option<(Decision, Reason)>, CallFailed> {
    if question.message().is_some() {
        instance.about(MessageId::generate());
    }
    PreparedQuestion::new(question.clone()).ask(instance).await
}
