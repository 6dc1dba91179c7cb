//! `posthouse policy bench`.

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::bail;
use clap::Args;
use posthouse_cases::CaseFile;
use serde::Serialize;

use super::measure::{Measured, Timer};
use crate::cli::output::{self, line, table};
use crate::cli::policy::case_host::CaseHost;
use crate::cli::policy::play_case::{CasePlayer, place};
use crate::cli::policy::policy_args::{PolicyArgs, cache_folder, case_files, load_error};
use host_config::PolicyModule;
use host_engine::component::builtin;
use host_events::escape;
use host_mail::Timestamp;
use host_policy::{LiveQuestion, PolicyHarness, Purpose};

#[derive(Debug, Args)]
pub struct BenchArgs {
    #[command(flatten)]
    policy: PolicyArgs,
    /// Case file or a folder with case files; may be repeated
    #[arg(long = "case", value_name = "CASES", required = true)]
    cases: Vec<PathBuf>,
    /// Number of times that each question is asked
    #[arg(long, value_name = "N", default_value_t = 500, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    rounds: u32,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Result of the benchmark; printed as JSON with `--json`.
#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
struct BenchReport {
    rounds: u32,
    policies: Vec<Bench>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
struct Bench {
    policy: String,
    /// Size of the component in bytes.
    size: usize,
    stages: Vec<Measured>,
}

/// A policy to measure, with its module and settings.
struct BenchedPolicy {
    name: String,
    code: Vec<u8>,
    module: PolicyModule,
    settings: Option<serde_json::Map<String, serde_json::Value>>,
}

pub async fn run(options: BenchArgs) -> anyhow::Result<ExitCode> {
    let files = case_files(&options.cases)?;
    let own = BenchedPolicy {
        name: options.policy.file.display().to_string(),
        code: options.policy.code()?,
        module: options.policy.module()?,
        settings: options.policy.settings()?,
    };
    let default = BenchedPolicy {
        name: "built-in default policy, no settings".to_owned(),
        code: builtin::DEFAULT.to_vec(),
        module: PolicyModule::default(),
        settings: Some(serde_json::Map::new()),
    };
    let mut policies = Vec::new();
    let mut questions = None;
    for policy in [own, default] {
        let bench = policy.bench(&options, &files, questions.take()).await?;
        policies.push(bench.0);
        questions = Some(bench.1);
    }
    let report = BenchReport {
        rounds: options.rounds,
        policies,
    };
    if options.json {
        output::json(&report)?;
    } else {
        show(&report)?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Questions of each case, in the order of files and cases.
type CaseQuestions = Vec<Vec<LiveQuestion>>;

impl BenchedPolicy {
    /// Measures the policy and returns the measured questions. `questions` are those of an earlier policy; `None` plays
    /// the cases to collect the questions.
    async fn bench(
        self,
        options: &BenchArgs,
        files: &[(PathBuf, CaseFile)],
        questions: Option<CaseQuestions>,
    ) -> anyhow::Result<(Bench, CaseQuestions)> {
        let cache = cache_folder();
        let host = || Arc::new(CaseHost::default());
        let counting = PolicyHarness::new(Purpose::Observe, host(), cache.as_deref())?;
        let timing = PolicyHarness::new(Purpose::Time, host(), cache.as_deref())?;
        let size = self.code.len();
        let mut players = Vec::new();
        for harness in [&counting, &timing] {
            let code = harness.compile(&self.code).await;
            players.push(CasePlayer {
                harness,
                code: code.map_err(|problems| load_error(&options.policy.file, problems))?,
                size,
                module: self.module.clone(),
                settings: self.settings.clone(),
            });
        }
        let [counter, timer] = &players[..] else {
            bail!("there are two engines");
        };
        let questions = match questions {
            Some(questions) => questions,
            None => collect_questions(counter, files).await?,
        };
        let mut times = Timer::new(options.rounds);
        let cases = files
            .iter()
            .flat_map(|(_, file)| file.cases.iter().map(move |case| (file, case)));
        for ((file, case), questions_asked) in cases.zip(&questions) {
            let loaded = (counter.load(file, case).await, timer.load(file, case).await);
            let (Ok(counted), Ok(timed)) = loaded else {
                // A case of invalid settings has no questions.
                continue;
            };
            let now = Timestamp(file.fixture(case).now.saturating_mul(1000));
            let answers = || Arc::new(CaseHost::new(file.fixture(case)));
            for inquiry in questions_asked.iter().filter(|inquiry| counted.serves(inquiry)) {
                let mut session = counting.session(&counted, answers(), now);
                times.count(inquiry, &mut session).await;
                let mut session = timing.session(&timed, answers(), now);
                if let Err(fault) = times.time(inquiry, &mut session).await {
                    bail!("{}: {}: {fault}", place(file, case), inquiry.stage());
                }
            }
        }
        let bench = Bench {
            policy: self.name,
            size,
            stages: times.measured(),
        };
        Ok((bench, questions))
    }
}

/// Plays the cases and returns the questions that the policy answers without a fault.
async fn collect_questions(player: &CasePlayer<'_>, files: &[(PathBuf, CaseFile)]) -> anyhow::Result<CaseQuestions> {
    let mut questions = Vec::new();
    for (file, case) in files
        .iter()
        .flat_map(|(_, file)| file.cases.iter().map(move |case| (file, case)))
    {
        let played = player.play(file, case).await?;
        if !played.refused.is_empty() {
            return Err(load_error(std::path::Path::new(&player.module.name), played.refused));
        }
        // The cost of a fault depends on the limits and not on the policy's speed.
        let sound = played.questions_asked.into_iter().zip(played.steps);
        questions.push(
            sound
                .filter(|(_, step)| step.fault.is_none())
                .map(|(inquiry, _)| inquiry)
                .collect(),
        );
    }
    if questions.iter().all(Vec::is_empty) {
        bail!("the cases ask this policy nothing that it answers: there is nothing to measure");
    }
    Ok(questions)
}

fn show(report: &BenchReport) -> std::io::Result<()> {
    let head = [
        "stage",
        "questions",
        "fresh p50",
        "fresh p99",
        "warm p50",
        "warm p99",
        "fuel",
        "fuel to begin",
        "memory",
    ];
    for bench in &report.policies {
        line(format!("{}, {} KiB", escape(&bench.policy), bench.size.div_ceil(1024)))?;
        let row = |of: &Measured| {
            vec![
                of.stage.to_owned(),
                of.questions.to_string(),
                format!("{:.1} µs", of.fresh_p50),
                format!("{:.1} µs", of.fresh_p99),
                format!("{:.1} µs", of.warm_p50),
                format!("{:.1} µs", of.warm_p99),
                of.fuel.to_string(),
                of.fuel_to_begin.to_string(),
                format!("{:.2} MiB", of.memory as f64 / f64::from(1 << 20)),
            ]
        };
        let rows: Vec<_> = bench.stages.iter().map(row).collect();
        if rows.is_empty() {
            line("is asked none of this")?;
        } else {
            table(&head, &rows)?;
        }
        line("")?;
    }
    line(format!(
        "{} rounds. fresh: instance, configure and the question; warm: the question put to an instance that was asked before.",
        report.rounds
    ))
}
