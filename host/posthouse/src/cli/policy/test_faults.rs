//! `posthouse policy test-faults`.

mod fault_effects;

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::bail;
use clap::Args;
use posthouse_cases::{Case, CaseFile};
use serde::Serialize;

use crate::cli::output::{self, line};
use crate::cli::policy::case_host::CaseHost;
use crate::cli::policy::play_case::CasePlayer;
use crate::cli::policy::policy_args::{PolicyArgs, cache_folder, case_files, load_error};
use crate::cli::policy::test_faults::fault_effects::EffectProbe;
use host_config::{Config, PolicyModule};
use host_events::{Event, EventRecord, Events, Format, PolicyFault, escape};
use host_mail::Timestamp;
use host_policy::{FaultInjection, Fuse, LiveQuestion, PolicyHarness, Purpose};

/// Built-in questions for every role, asked without `--case`.
const QUESTIONS: &str = include_str!("faults/questions.toml");

#[derive(Debug, Args)]
pub struct TestFaultsArgs {
    #[command(flatten)]
    policy: PolicyArgs,
    /// Case file or folder for the first question of each stage; without it built-in questions
    #[arg(long = "case", value_name = "CASES")]
    cases: Vec<PathBuf>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Effect of a fault at a stage; printed as JSON with `--json`.
#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
struct StageEffect {
    /// Stage: `describe`, `configure` or the stage of a question.
    stage: &'static str,
    /// Fuel after which the policy was stopped.
    stopped_after: u64,
    /// Fuel of the undisturbed question.
    of: u64,
    /// Effects on the client, the sender or the operator.
    meets: Vec<String>,
    /// Fault, with the fields of Event 4037.
    fault: Option<PolicyFault>,
    /// Emitted events as log lines.
    events: Vec<String>,
}

/// The first question of a stage, with its case and fuel.
struct StageQuestion<'a> {
    file: &'a CaseFile,
    case: &'a Case,
    inquiry: LiveQuestion,
    fuel: u64,
}

pub async fn run(options: TestFaultsArgs) -> anyhow::Result<ExitCode> {
    let code = options.policy.code()?;
    let files = match &options.cases[..] {
        [] => vec![(PathBuf::new(), CaseFile::parse(QUESTIONS, "made-up questions")?)],
        cases => case_files(cases)?,
    };
    let harness = PolicyHarness::new(
        Purpose::Observe,
        Arc::new(CaseHost::default()),
        cache_folder().as_deref(),
    )?;
    let compiled = harness.compile(&code).await;
    let player = CasePlayer {
        harness: &harness,
        code: compiled.map_err(|problems| load_error(&options.policy.file, problems))?,
        size: code.len(),
        module: options.policy.module()?,
        settings: options.policy.settings()?,
    };
    let questions = first_of_each_stage(&options, &player, &files).await?;
    let bench = FaultBench::new(&options, &player, &code)?;
    let mut effects = Vec::new();
    if let Some(any) = questions.first() {
        effects.push(bench.load("describe", any).await?);
        effects.push(bench.load("configure", any).await?);
    }
    for question in &questions {
        effects.push(bench.ask(question).await?);
    }
    let all_ended = effects.iter().all(|effect| effect.fault.is_some());
    if options.json {
        output::json(&effects)?;
    } else {
        show(&effects)?;
    }
    Ok(ExitCode::from(u8::from(!all_ended)))
}

/// Finds the first question of each stage that the policy answers without a fault.
///
/// # Errors
/// The policy could not be loaded, or answers none of the questions.
async fn first_of_each_stage<'a>(
    options: &TestFaultsArgs,
    player: &CasePlayer<'_>,
    files: &'a [(PathBuf, CaseFile)],
) -> anyhow::Result<Vec<StageQuestion<'a>>> {
    let mut found: Vec<StageQuestion<'a>> = Vec::new();
    for (file, case) in files
        .iter()
        .flat_map(|(_, file)| file.cases.iter().map(move |case| (file, case)))
    {
        let played = player.play(file, case).await?;
        if !played.refused.is_empty() {
            return Err(load_error(&options.policy.file, played.refused));
        }
        for (inquiry, step) in played.questions_asked.into_iter().zip(played.steps) {
            if step.fault.is_none() && !found.iter().any(|question| question.inquiry.stage() == step.stage) {
                found.push(StageQuestion {
                    file,
                    case,
                    inquiry,
                    fuel: step.cost.fuel,
                });
            }
        }
    }
    if found.is_empty() {
        bail!(
            "{}: it answered none of the questions: give --case with some that it does, and --settings if it needs them",
            options.policy.file.display()
        );
    }
    Ok(found)
}

/// The daemon's policy manager with the tested policy as the only module.
struct FaultBench<'a> {
    config: Config,
    player: &'a CasePlayer<'a>,
    /// Folder of the component's file, which the configuration names, and of spools.
    folder: tempfile::TempDir,
}

impl<'a> FaultBench<'a> {
    fn new(options: &TestFaultsArgs, player: &'a CasePlayer<'a>, code: &[u8]) -> anyhow::Result<Self> {
        let folder = tempfile::tempdir()?;
        let file = folder.path().join("policy.wasm");
        std::fs::write(&file, code)?;
        let mut config = options.policy.configuration()?;
        // Questions are asked one at a time, so few instances are enough.
        config.policy_engine.instances = 4;
        config.policies = vec![PolicyModule {
            file: Some(file),
            ..player.module.clone()
        }];
        Ok(Self { config, player, folder })
    }

    fn config(&self, question: &StageQuestion<'_>) -> Config {
        let mut config = self.config.clone();
        for module in &mut config.policies {
            module.settings = self.player.settings_of(question.file, question.case);
        }
        config
    }

    fn host(question: &StageQuestion<'_>) -> Arc<CaseHost> {
        Arc::new(CaseHost::new(question.file.fixture(question.case)))
    }

    /// Stops the policy during a load, at the first instruction of `describe` or `configure`.
    async fn load(&self, stage: &'static str, question: &StageQuestion<'_>) -> anyhow::Result<StageEffect> {
        let (events, captured) = Events::capture();
        let fuse = Fuse { stage, fuel: 0 };
        let config = self.config(question);
        let opened = FaultInjection::open(
            &config,
            Self::host(question),
            events,
            cache_folder().as_deref(),
            Some(fuse),
        )
        .await;
        let meets = match opened {
            Ok(_) => vec!["nothing: it was loaded".to_owned()],
            Err(problems) => problems
                .iter()
                .map(|problem| format!("the load is refused and what was active stays: {}", problem.text))
                .collect(),
        };
        Ok(StageEffect::new(fuse, 0, meets, captured.events()))
    }

    /// Stops the policy in the middle of a question. A policy that cannot be stopped there is stopped earlier.
    async fn ask(&self, question: &StageQuestion<'_>) -> anyhow::Result<StageEffect> {
        let config = self.config(question);
        let stage = question.inquiry.stage();
        let cache = cache_folder();
        let mut last = None;
        for fuel in [question.fuel / 2, question.fuel / 4, question.fuel / 16, 0] {
            let (events, captured) = Events::capture();
            let opened = FaultInjection::open(&config, Self::host(question), events.clone(), cache.as_deref(), None);
            let rehearsal = opened
                .await
                .map_err(|problems| load_error(std::path::Path::new(&self.player.module.name), problems))?;
            let before = captured.events().len();
            let fuse = Fuse { stage, fuel };
            rehearsal.stop_at(fuse);
            let probe = EffectProbe {
                config: &config,
                policies: &rehearsal.policies,
                events: &events,
                folder: &self.folder.path().join(format!("spool-{stage}-{fuel}")),
            };
            let meets = probe.observe(&question.inquiry).await?;
            let effect = StageEffect::new(fuse, question.fuel, meets, captured.events().split_off(before));
            if effect.fault.is_some() {
                return Ok(effect);
            }
            last = Some(effect);
        }
        match last {
            Some(effect) => Ok(effect),
            None => bail!("{stage}: nothing was tried"),
        }
    }
}

impl StageEffect {
    fn new(fuse: Fuse, of: u64, meets: Vec<String>, events: Vec<Event>) -> Self {
        let fault = events.iter().find_map(|event| match event {
            Event::PolicyFault { fault } => Some(fault.clone()),
            _ => None,
        });
        let now = Timestamp::now();
        let rendered = events
            .iter()
            .map(|event| Format::Text.line(&EventRecord::new(now, event)));
        Self {
            stage: fuse.stage,
            stopped_after: fuse.fuel,
            of,
            meets,
            fault,
            events: rendered.collect(),
        }
    }
}

fn show(effects: &[StageEffect]) -> std::io::Result<()> {
    for effect in effects {
        let when = match (effect.stopped_after, &effect.fault) {
            (_, None) => ", which could not be stopped".to_owned(),
            (0, _) => ", stopped at its first instruction".to_owned(),
            (after, _) => format!(", stopped after fuel {after} of {}", effect.of),
        };
        line(format!("{}{when}", effect.stage))?;
        for meets in &effect.meets {
            line(format!("  {}", escape(meets)))?;
        }
        for event in &effect.events {
            // The renderer of events has escaped the line.
            line(format!("  event {event}"))?;
        }
        line("")?;
    }
    Ok(())
}
