//! Plays a case to a policy without a daemon, and measures the cost of each answer.

use std::sync::Arc;

use anyhow::Context;
use posthouse_cases::{Case, CaseFile, Log, Outcome, Play, Problem as Complaint};
use serde::Serialize;
use serde_json::{Map, Value};

use crate::cli::policy::case_conversion;
use crate::cli::policy::case_host::CaseHost;
use host_config::{PolicyModule, Problem};
use host_contract::Question;
use host_events::PolicyFault;
use host_mail::Timestamp;
use host_policy::{Cost, HarnessCode, LiveQuestion, LoadedPolicy, Measurement, PolicyHarness};

/// Compiled code that is loaded with the settings of each case.
pub struct CasePlayer<'a> {
    pub harness: &'a PolicyHarness,
    pub code: HarnessCode,
    /// Size of the component in bytes.
    pub size: usize,
    /// Name, grants, limits and default settings.
    pub module: PolicyModule,
    /// Settings that replace those of every case.
    pub settings: Option<Map<String, Value>>,
}

/// Result of a played case.
pub struct PlayedCase {
    /// Outcome, for comparison with the case's expectations.
    pub outcome: Outcome,
    /// Questions with answers, in order.
    pub steps: Vec<CaseStep>,
    /// Questions in order, for repetition.
    pub questions_asked: Vec<LiveQuestion>,
    /// Problems other than settings, for which the policy could not be loaded.
    pub refused: Vec<Problem>,
}

/// An answer with its cost.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct CaseStep {
    /// `admit`, `sender`, `recipient`, `message` or `ndr`.
    pub stage: &'static str,
    /// Client, address, message or failure of the question.
    pub subject: String,
    /// Decision in the words of case files.
    pub decision: String,
    /// Rule that decided; `None` for `pass` and faults.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rule: Option<String>,
    /// Entry of the rule that matched.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub entry: Option<String>,
    /// Details of the decision, such as terms, edits and remarks.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub details: Vec<String>,
    /// Lines that the policy logged, each with the level.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub log: Vec<String>,
    /// Fault, with the fields of Event 4037.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fault: Option<PolicyFault>,
    /// Cost of the question without instantiation.
    pub cost: CaseCost,
    /// Cost of a fresh instance; `None` if an existing instance answered.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fresh: Option<CaseCost>,
}

/// A [`Cost`] in units for output.
#[derive(Debug, Clone, Copy, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct CaseCost {
    pub microseconds: f64,
    pub fuel: u64,
    /// Linear memory in bytes at the end.
    pub memory: usize,
}

impl From<Cost> for CaseCost {
    fn from(cost: Cost) -> Self {
        Self {
            microseconds: cost.duration.as_secs_f64() * 1e6,
            fuel: cost.fuel.unwrap_or_default(),
            memory: cost.memory,
        }
    }
}

impl CasePlayer<'_> {
    /// Settings of a case: those given for all cases, else the case's own, else those of the module.
    pub fn settings_of(&self, file: &CaseFile, case: &Case) -> Map<String, Value> {
        let of_case = file
            .settings_of(case)
            .as_object()
            .filter(|settings| !settings.is_empty());
        let settings = self.settings.as_ref().or(of_case);
        settings.unwrap_or(&self.module.settings).clone()
    }

    /// Loads the policy with the settings of a case.
    ///
    /// # Errors
    /// All problems of the load.
    pub async fn load(&self, file: &CaseFile, case: &Case) -> Result<LoadedPolicy, Vec<Problem>> {
        let module = PolicyModule {
            settings: self.settings_of(file, case),
            ..self.module.clone()
        };
        self.harness.load(&self.code, self.size, &module).await
    }

    /// Asks all questions of the case.
    ///
    /// # Errors
    /// The case has an invalid address.
    pub async fn play(&self, file: &CaseFile, case: &Case) -> anyhow::Result<PlayedCase> {
        let policy = match self.load(file, case).await {
            Ok(policy) => policy,
            Err(problems) => return Ok(PlayedCase::refused(problems)),
        };
        let fixture = file.fixture(case);
        let now = Timestamp(fixture.now.saturating_mul(1000));
        let host = Arc::new(CaseHost::new(fixture));
        let mut admission = self.harness.session(&policy, host.clone(), now);
        let mut transaction = self.harness.session(&policy, host.clone(), now);
        let mut notice = self.harness.session(&policy, host, now);
        let mut play = Play::new(case);
        let (mut steps, mut questions_asked, mut log) = (Vec::new(), Vec::new(), Vec::new());
        while let Some(question) = play.question() {
            let inquiry = case_conversion::question(&question).with_context(|| place(file, case))?;
            if !policy.serves(&inquiry) {
                play.answer(None);
                continue;
            }
            // Admission, transaction and notice each have an instance of their own, as in the daemon.
            let session = match &inquiry {
                Question::Admit { .. } => &mut admission,
                Question::Plan { .. } => &mut notice,
                _ => &mut transaction,
            };
            let measurement = session.ask(&inquiry).await;
            let answer = case_conversion::answer(&measurement);
            log.extend(measurement.logged.iter().map(|(level, text)| Log {
                level: known_level(level),
                text: text.clone(),
            }));
            steps.push(step(
                &inquiry,
                case_conversion::subject(&question),
                &answer,
                measurement,
            ));
            questions_asked.push(inquiry);
            play.answer(Some(answer));
        }
        let mut outcome = play.outcome();
        outcome.log = log;
        Ok(PlayedCase {
            outcome,
            steps,
            questions_asked,
            refused: Vec::new(),
        })
    }
}

impl PlayedCase {
    fn refused(problems: Vec<Problem>) -> Self {
        let (of_settings, refused): (Vec<_>, Vec<_>) = problems
            .into_iter()
            .partition(|problem| problem.key.starts_with("settings"));
        let complaint = |problem: Problem| Complaint {
            key: problem
                .key
                .trim_start_matches("settings")
                .trim_start_matches('.')
                .to_owned(),
            text: problem.text,
        };
        Self {
            outcome: Outcome {
                problems: of_settings.into_iter().map(complaint).collect(),
                ..Outcome::default()
            },
            steps: Vec::new(),
            questions_asked: Vec::new(),
            refused,
        }
    }
}

/// File, line and name of a case, for messages.
pub fn place(file: &CaseFile, case: &Case) -> String {
    format!("{}:{}: case {:?}", file.name, case.line, case.name)
}

fn known_level(level: &str) -> &'static str {
    ["debug", "info", "warning"]
        .into_iter()
        .find(|known| *known == level)
        .unwrap_or("error")
}

fn step(
    question: &LiveQuestion,
    subject: String,
    answer: &posthouse_cases::Answer,
    measurement: Measurement,
) -> CaseStep {
    let rule = &answer.because.rule;
    CaseStep {
        stage: question.stage(),
        subject,
        decision: answer.decision.to_string(),
        rule: (!rule.is_empty()).then(|| rule.clone()),
        entry: answer.because.entry.clone(),
        details: case_conversion::details(&answer.decision),
        log: measurement
            .logged
            .iter()
            .map(|(level, text)| format!("{level}: {text}"))
            .collect(),
        fault: measurement.fault,
        cost: measurement.cost.into(),
        fresh: measurement.fresh.map(CaseCost::from),
    }
}
