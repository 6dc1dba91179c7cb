//! The harness: a single policy on a separate engine, asked question by question, with the cost of each answer. For the
//! tools of authors (`try`, `check`, test cases, benchmarks); the daemon asks through [`crate::PolicyManager`].

pub(crate) mod fault_injection;

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::evaluate::evaluation::configured;
use crate::evaluate::evaluator::{Evaluator, FaultSite};
use crate::evaluate::prepared_question::{LiveQuestion, PreparedQuestion};
use crate::manage::candidate::{check_size, problem_of, validate};
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

/// The purpose of a harness.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// Log lines and faults are captured and fuel is counted, which makes durations longer.
    Observe,
    /// The engine runs as in the daemon, without counting and capturing.
    Time,
}

/// An engine for a single policy at a time.
pub struct PolicyHarness {
    evaluator: Evaluator,
    captured: Captured,
}

/// Compiled code, without settings.
#[derive(Clone)]
pub struct HarnessCode(Arc<Code>);

/// A loaded policy: code with settings, grants and limits.
pub struct LoadedPolicy {
    generation: Arc<Generation>,
}

/// The description of a policy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PolicyDescription {
    /// Name of the policy.
    pub name: String,
    /// Version of the policy.
    pub version: String,
    /// Name and summary of each rule that a decision may cite.
    pub rules: Vec<(String, String)>,
    /// Cost of the instantiation.
    pub instantiation: Cost,
}

/// The cost of an operation.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Cost {
    /// Duration on this machine.
    pub duration: Duration,
    /// Fuel, about the number of instructions; the same on every machine. None where fuel is not counted.
    pub fuel: Option<u64>,
    /// Linear memory of the instance afterwards, in bytes; linear memory never shrinks.
    pub memory: usize,
}

/// The outcome and the cost of a question.
#[derive(Debug, Clone)]
pub struct Measurement {
    /// The answer and the reason; none for `pass` and for a fault.
    pub opinion: Option<(Decision, Reason)>,
    /// The fault, in the form of Event 4037.
    pub fault: Option<PolicyFault>,
    /// Level and text of each line that the policy logged.
    pub logged: Vec<(String, String)>,
    /// Cost of the new instance, configuration included; none if an existing instance answered.
    pub fresh: Option<Cost>,
    /// Cost of the question alone.
    pub cost: Cost,
}

impl PolicyHarness {
    /// Makes a harness. Compiled code is cached in `cache`. `directory` answers the host's own lookups; a session has
    /// services for the policy's calls.
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

    /// Inspects, compiles and links a component.
    pub async fn compile(&self, bytes: &[u8]) -> Result<HarnessCode, Vec<Problem>> {
        let code = Code::new(&self.evaluator.runtime, bytes.into()).await?;
        Ok(HarnessCode(Arc::new(code)))
    }

    /// Returns the description of a policy, before anything is configured or granted.
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
        let instance = Instance::new(&self.evaluator.runtime, &candidate, context).await;
        let mut instance = instance.map_err(|failed| faulted("instantiate", failed))?;
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

    /// Checks a policy like a load: size, grants, types, `describe` and `configure`. `module` has the name, settings,
    /// grants and limits.
    pub async fn load(
        &self,
        code: &HarnessCode,
        size: usize,
        module: &PolicyModule,
    ) -> Result<LoadedPolicy, Vec<Problem>> {
        check_size(size, module.limits.component_size).map_err(|text| vec![Problem::new("file", text)])?;
        let candidate = candidate(code, module);
        let description = validate(&self.evaluator, &candidate, "policy").await?;
        Ok(LoadedPolicy {
            generation: Arc::new(Generation::new(0, Timestamp(0), candidate, description)),
        })
    }

    /// Begins a unit of work: the questions share an instance, the time and the host services.
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
    /// Returns the SHA-256 of the component, hexadecimal.
    pub fn digest(&self) -> &str {
        &self.0.digest
    }

    /// Returns the interfaces of the contract from which the component imports functions, which must be granted.
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

/// A session of questions, begun by [`PolicyHarness::session`].
pub struct HarnessSession<'a> {
    harness: &'a PolicyHarness,
    policy: &'a LoadedPolicy,
    context: CallContext,
    instance: Option<Instance>,
}

impl HarnessSession<'_> {
    /// Asks a question of the instance of this unit of work, which is made on demand. After a fault, the next question
    /// gets a new instance.
    pub async fn ask(&mut self, question: &LiveQuestion) -> Measurement {
        let seen = self.harness.captured.events().len();
        let mut measurement = self.measure(question).await;
        for event in self.harness.captured.events().drain(seen..) {
            if let Event::PolicyLog { level, text, .. } = event {
                measurement.logged.push((level, text));
            }
        }
        measurement
    }

    /// Makes the instance before the first question.
    ///
    /// # Errors
    /// The instance faulted.
    pub async fn begin(&mut self) -> Result<Cost, PolicyFault> {
        match self.new_instance().await {
            Ok((instance, cost)) => {
                self.instance = Some(instance);
                Ok(cost)
            }
            Err(failed) => Err(self.fault(&failed, "configure")),
        }
    }

    /// Drops the instance; the next question gets a new instance.
    pub fn release(&mut self) {
        self.instance = None;
    }

    async fn measure(&mut self, question: &LiveQuestion) -> Measurement {
        let mut measurement = Measurement {
            opinion: None,
            fault: None,
            logged: Vec::new(),
            fresh: None,
            cost: Cost::default(),
        };
        let mut instance = match self.instance.take() {
            Some(instance) => instance,
            None => match self.new_instance().await {
                Ok((instance, cost)) => {
                    measurement.fresh = Some(cost);
                    instance
                }
                Err(failed) => {
                    measurement.fault = Some(self.fault(&failed, "configure"));
                    return measurement;
                }
            },
        };
        instance.refuel(self.harness.evaluator.runtime.first_fuel());
        let since = Instant::now();
        let answer = ask_instance(&mut instance, question).await;
        measurement.cost = cost(&instance, since);
        match answer {
            Ok(opinion) => {
                measurement.opinion = opinion;
                self.instance = Some(instance);
            }
            Err(failed) => measurement.fault = Some(self.fault(&failed, question.stage())),
        }
        measurement
    }

    async fn new_instance(&self) -> Result<(Instance, Cost), CallFailed> {
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

    /// Returns a fault in the form of Event 4037. A pool without room for an instance is a defect of the host.
    fn fault(&self, failed: &CallFailed, stage: &str) -> PolicyFault {
        let no_room = Fault::of_host("no room for an instance");
        let fault = match failed {
            CallFailed::Fault(fault) => fault,
            CallFailed::Crowded => &no_room,
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

async fn ask_instance(
    instance: &mut Instance,
    question: &LiveQuestion,
) -> Result<Option<(Decision, Reason)>, CallFailed> {
    if question.message().is_some() {
        instance.about(MessageId::generate());
    }
    PreparedQuestion::new(question.clone()).ask(instance).await
}
