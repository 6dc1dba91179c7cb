//! A case played to a policy by itself, with what each answer cost.

use std::sync::Arc;

use anyhow::Context;
use posthouse_cases::{Case, CaseFile, Log, Outcome, Play, Problem as Complaint};
use serde::Serialize;
use serde_json::{Map, Value};

use crate::cli::policy::case_conversion;
use crate::cli::policy::case_host::CaseHost;
use host_config::{PolicyModule, Problem};
use host_events::PolicyFault;
use host_mail::Timestamp;
use host_policy::{Cost, HarnessCode, Inquiry, LoadedPolicy, Measurement, PolicyHarness};

/// Code on an engine, to be loaded on any terms.
pub struct CasePlayer<'a> {
    pub lab: &'a PolicyHarness,
    pub code: HarnessCode,
    /// Bytes of the component.
    pub size: usize,
    /// Name, grants, limits.
    pub module: PolicyModule,
    /// In place of the cases' own.
    pub settings: Option<Map<String, Value>>,
}

/// A case that was played.
pub struct PlayedCase {
    /// As cases compare it.
    pub outcome: Outcome,
    /// Each question in order.
    pub steps: Vec<CaseStep>,
    /// What was asked, to ask it again.
    pub inquiries: Vec<Inquiry>,
    /// Problems that are not about settings: it could not be loaded.
    pub refused: Vec<Problem>,
}

/// One answer and its cost.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct CaseStep {
    /// `admit`, `sender`, `recipient`, `message` or `ndr`.
    pub stage: &'static str,
    /// What was asked about.
    pub subject: String,
    /// In the words of cases.
    pub decision: String,
    /// The rule that decided; none for `pass` and faults.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rule: Option<String>,
    /// What in it matched.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub entry: Option<String>,
    /// What the decision has beside its words.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub details: Vec<String>,
    /// Lines the policy logged, each with its level.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub log: Vec<String>,
    /// As Event 4037 has it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fault: Option<PolicyFault>,
    /// The question alone.
    pub cost: CaseCost,
    /// The fresh instance before it; none if it was put to one that was there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fresh: Option<CaseCost>,
}

/// See [`Cost`].
#[derive(Debug, Clone, Copy, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct CaseCost {
    pub microseconds: f64,
    pub fuel: u64,
    /// Bytes of linear memory at the end.
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
    /// What was given for all cases, else the case's own, else the configuration's.
    pub fn settings_of(&self, file: &CaseFile, case: &Case) -> Map<String, Value> {
        let of_case = file
            .settings_of(case)
            .as_object()
            .filter(|settings| !settings.is_empty());
        let settings = self.settings.as_ref().or(of_case);
        settings.unwrap_or(&self.module.settings).clone()
    }

    /// The policy with the settings of a case, or all problems.
    pub async fn load(&self, file: &CaseFile, case: &Case) -> Result<LoadedPolicy, Vec<Problem>> {
        let module = PolicyModule {
            settings: self.settings_of(file, case),
            ..self.module.clone()
        };
        self.lab.load(&self.code, self.size, &module).await
    }

    /// Asks everything that the case asks.
    ///
    /// # Errors
    /// Something in the case is no address.
    pub async fn play(&self, file: &CaseFile, case: &Case) -> anyhow::Result<PlayedCase> {
        let specimen = match self.load(file, case).await {
            Ok(specimen) => specimen,
            Err(problems) => return Ok(PlayedCase::refused(problems)),
        };
        let fixture = file.fixture(case);
        let now = Timestamp(fixture.now.saturating_mul(1000));
        let host = Arc::new(CaseHost::new(fixture));
        let mut admission = self.lab.sitting(&specimen, host.clone(), now);
        let mut transaction = self.lab.sitting(&specimen, host.clone(), now);
        let mut notice = self.lab.sitting(&specimen, host, now);
        let mut play = Play::new(case);
        let (mut steps, mut inquiries, mut log) = (Vec::new(), Vec::new(), Vec::new());
        while let Some(question) = play.question() {
            let inquiry = case_conversion::inquiry(&question).with_context(|| place(file, case))?;
            if !specimen.serves(&inquiry) {
                play.answer(None);
                continue;
            }
            // A unit of work has an instance of its own, as in the daemon.
            let sitting = match &inquiry {
                Inquiry::Admit { .. } => &mut admission,
                Inquiry::Plan(_) => &mut notice,
                _ => &mut transaction,
            };
            let reading = sitting.ask(&inquiry).await;
            let answer = case_conversion::answer(&reading);
            log.extend(reading.logged.iter().map(|(level, text)| Log {
                level: known_level(level),
                text: text.clone(),
            }));
            steps.push(step(&inquiry, case_conversion::subject(&question), &answer, reading));
            inquiries.push(inquiry);
            play.answer(Some(answer));
        }
        let mut outcome = play.outcome();
        outcome.log = log;
        Ok(PlayedCase {
            outcome,
            steps,
            inquiries,
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
            inquiries: Vec::new(),
            refused,
        }
    }
}

/// Where a case is, for messages.
pub fn place(file: &CaseFile, case: &Case) -> String {
    format!("{}:{}: case {:?}", file.name, case.line, case.name)
}

fn known_level(level: &str) -> &'static str {
    ["debug", "info", "warning"]
        .into_iter()
        .find(|known| *known == level)
        .unwrap_or("error")
}

fn step(inquiry: &Inquiry, subject: String, answer: &posthouse_cases::Answer, reading: Measurement) -> CaseStep {
    let rule = &answer.because.rule;
    CaseStep {
        stage: inquiry.stage(),
        subject,
        decision: answer.decision.to_string(),
        rule: (!rule.is_empty()).then(|| rule.clone()),
        entry: answer.because.entry.clone(),
        details: case_conversion::details(&answer.decision),
        log: reading
            .logged
            .iter()
            .map(|(level, text)| format!("{level}: {text}"))
            .collect(),
        fault: reading.fault,
        cost: reading.cost.into(),
        fresh: reading.fresh.map(CaseCost::from),
    }
}
