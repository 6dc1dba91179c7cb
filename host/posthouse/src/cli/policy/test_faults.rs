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
use crate::cli::policy::policy_args::{Subject, cache_folder, case_files, refused};
use crate::cli::policy::test_faults::fault_effects::Onlooker;
use host_config::{Config, PolicyModule};
use host_events::{Event, EventRecord, Events, Format, PolicyFault, escape};
use host_mail::Timestamp;
use host_policy::{Fuse, Inquiry, PolicyHarness, Purpose, Rehearsal};

/// Asked when there are no cases: something for every role.
const QUESTIONS: &str = include_str!("faults/questions.toml");

#[derive(Debug, Args)]
pub struct TestFaultsArgs {
    #[command(flatten)]
    subject: Subject,
    /// Cases whose first question of each stage is asked; without them the questions are made up
    #[arg(long = "case", value_name = "CASES")]
    cases: Vec<PathBuf>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// What happens when a guest ends at one stage.
#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
struct Shown {
    /// `describe`, `configure`, or a question's.
    stage: &'static str,
    /// After how much fuel of how much it was stopped.
    stopped_after: u64,
    of: u64,
    /// What the client, the sender or the operator meets.
    meets: Vec<String>,
    /// Of Event 4037.
    fault: Option<PolicyFault>,
    /// Everything that was logged, as the log has it.
    events: Vec<String>,
}

/// A question of a case, and what it cost.
struct Answered<'a> {
    file: &'a CaseFile,
    case: &'a Case,
    inquiry: Inquiry,
    fuel: u64,
}

pub async fn run(options: TestFaultsArgs) -> anyhow::Result<ExitCode> {
    let code = options.subject.code()?;
    let files = match &options.cases[..] {
        [] => vec![(PathBuf::new(), CaseFile::parse(QUESTIONS, "made-up questions")?)],
        cases => case_files(cases)?,
    };
    let lab = PolicyHarness::new(
        Purpose::Observe,
        Arc::new(CaseHost::default()),
        cache_folder().as_deref(),
    )?;
    let compiled = lab.compile(&code).await;
    let player = CasePlayer {
        lab: &lab,
        code: compiled.map_err(|problems| refused(&options.subject.file, problems))?,
        size: code.len(),
        module: options.subject.module()?,
        settings: options.subject.settings()?,
    };
    let asked = one_of_each(&options, &player, &files).await?;
    let stage = FaultBench::new(&options, &player, &code)?;
    let mut shown = Vec::new();
    if let Some(any) = asked.first() {
        shown.push(stage.load("describe", any).await?);
        shown.push(stage.load("configure", any).await?);
    }
    for asked in &asked {
        shown.push(stage.ask(asked).await?);
    }
    let all_ended = shown.iter().all(|shown| shown.fault.is_some());
    if options.json {
        output::json(&shown)?;
    } else {
        show(&shown)?;
    }
    Ok(ExitCode::from(u8::from(!all_ended)))
}

/// The first question of each stage that the policy answers.
async fn one_of_each<'a>(
    options: &TestFaultsArgs,
    player: &CasePlayer<'_>,
    files: &'a [(PathBuf, CaseFile)],
) -> anyhow::Result<Vec<Answered<'a>>> {
    let mut found: Vec<Answered<'a>> = Vec::new();
    for (file, case) in files
        .iter()
        .flat_map(|(_, file)| file.cases.iter().map(move |case| (file, case)))
    {
        let played = player.play(file, case).await?;
        if !played.refused.is_empty() {
            return Err(refused(&options.subject.file, played.refused));
        }
        for (inquiry, step) in played.inquiries.into_iter().zip(played.steps) {
            if step.fault.is_none() && !found.iter().any(|asked| asked.inquiry.stage() == step.stage) {
                found.push(Answered {
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
            options.subject.file.display()
        );
    }
    Ok(found)
}

/// The daemon's policies, with this one as the only module.
struct FaultBench<'a> {
    config: Config,
    player: &'a CasePlayer<'a>,
    /// The component, as a file that a configuration can name.
    folder: tempfile::TempDir,
}

impl<'a> FaultBench<'a> {
    fn new(options: &TestFaultsArgs, player: &'a CasePlayer<'a>, code: &[u8]) -> anyhow::Result<Self> {
        let folder = tempfile::tempdir()?;
        let file = folder.path().join("policy.wasm");
        std::fs::write(&file, code)?;
        let mut config = options.subject.configuration()?;
        // One question at a time needs no more room.
        config.policy_engine.instances = 4;
        config.policies = vec![PolicyModule {
            file: Some(file),
            ..player.module.clone()
        }];
        Ok(Self { config, player, folder })
    }

    fn config(&self, asked: &Answered<'_>) -> Config {
        let mut config = self.config.clone();
        for module in &mut config.policies {
            module.settings = self.player.settings_of(asked.file, asked.case);
        }
        config
    }

    fn host(asked: &Answered<'_>) -> Arc<CaseHost> {
        Arc::new(CaseHost::new(asked.file.fixture(asked.case)))
    }

    /// Stops it while it is loaded.
    async fn load(&self, stage: &'static str, asked: &Answered<'_>) -> anyhow::Result<Shown> {
        let (events, told) = Events::capture();
        let fuse = Fuse { stage, fuel: 0 };
        let config = self.config(asked);
        let opened = Rehearsal::open(
            &config,
            Self::host(asked),
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
        Ok(Shown::new(fuse, 0, meets, told.events()))
    }

    /// Stops it in the middle of a question; earlier, if it has no place to stop there.
    async fn ask(&self, asked: &Answered<'_>) -> anyhow::Result<Shown> {
        let config = self.config(asked);
        let stage = asked.inquiry.stage();
        let cache = cache_folder();
        let mut last = None;
        for fuel in [asked.fuel / 2, asked.fuel / 4, asked.fuel / 16, 0] {
            let (events, told) = Events::capture();
            let opened = Rehearsal::open(&config, Self::host(asked), events.clone(), cache.as_deref(), None);
            let rehearsal = opened
                .await
                .map_err(|problems| refused(std::path::Path::new(&self.player.module.name), problems))?;
            let before = told.events().len();
            let fuse = Fuse { stage, fuel };
            rehearsal.stop_at(fuse);
            let onlooker = Onlooker {
                config: &config,
                policies: &rehearsal.policies,
                events: &events,
                folder: &self.folder.path().join(format!("spool-{stage}-{fuel}")),
            };
            let meets = onlooker.watch(&asked.inquiry).await?;
            let shown = Shown::new(fuse, asked.fuel, meets, told.events().split_off(before));
            if shown.fault.is_some() {
                return Ok(shown);
            }
            last = Some(shown);
        }
        match last {
            Some(shown) => Ok(shown),
            None => bail!("{stage}: nothing was tried"),
        }
    }
}

impl Shown {
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

fn show(shown: &[Shown]) -> std::io::Result<()> {
    for shown in shown {
        let when = match (shown.stopped_after, &shown.fault) {
            (_, None) => ", which could not be stopped".to_owned(),
            (0, _) => ", stopped at its first instruction".to_owned(),
            (after, _) => format!(", stopped after fuel {after} of {}", shown.of),
        };
        line(format!("{}{when}", shown.stage))?;
        for meets in &shown.meets {
            line(format!("  {}", escape(meets)))?;
        }
        for event in &shown.events {
            // Rendered by the event module: escaped already.
            line(format!("  event {event}"))?;
        }
        line("")?;
    }
    Ok(())
}
