//! `posthouse policy run`.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Context;
use clap::Args;
use posthouse_cases::{CaseFile, Outcome, update};
use serde::Serialize;

use crate::cli::output::{self, line};
use crate::cli::policy::case_host::CaseHost;
use crate::cli::policy::play_case::{CaseCost, CasePlayer, CaseStep, PlayedCase};
use crate::cli::policy::policy_args::{PolicyArgs, cache_folder, case_files, load_error};
use host_events::escape;
use host_files::replace_whole_shared;
use host_policy::{PolicyHarness, Purpose};

#[derive(Debug, Args)]
pub struct RunArgs {
    #[command(flatten)]
    policy: PolicyArgs,
    /// Case file or a folder with case files; may be repeated
    #[arg(long = "case", value_name = "CASES", required = true)]
    cases: Vec<PathBuf>,
    /// Write the actual answers into the case files as expectations
    #[arg(long)]
    update: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Result of all cases; printed as JSON with `--json`.
#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "kebab-case")]
struct RunReport {
    cases: Vec<CaseReport>,
    as_expected: usize,
    not_as_expected: usize,
    /// Case files that were rewritten.
    updated: Vec<String>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
struct CaseReport {
    file: String,
    line: usize,
    name: String,
    as_expected: bool,
    mismatches: Vec<String>,
    /// Problems of the case's settings, which prevent a load.
    problems: Vec<String>,
    steps: Vec<CaseStep>,
}

pub async fn run(options: RunArgs) -> anyhow::Result<ExitCode> {
    let code = options.policy.code()?;
    let files = case_files(&options.cases)?;
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
    let mut report = RunReport::default();
    for (path, file) in &files {
        let mut outcomes = Vec::new();
        for case in &file.cases {
            let played = player.play(file, case).await?;
            if !played.refused.is_empty() {
                return Err(load_error(&options.policy.file, played.refused));
            }
            let mismatches = case.compare(&played.outcome).iter().map(ToString::to_string).collect();
            report.add(file, case, mismatches, &played);
            outcomes.push(played.outcome);
        }
        if options.update && rewrite(path, file, &outcomes)? {
            report.updated.push(path.display().to_string());
        }
    }
    if options.json {
        output::json(&report)?;
    } else {
        show(&report)?;
    }
    Ok(ExitCode::from(u8::from(report.not_as_expected > 0 && !options.update)))
}

impl RunReport {
    fn add(&mut self, file: &CaseFile, case: &posthouse_cases::Case, mismatches: Vec<String>, played: &PlayedCase) {
        let as_expected = mismatches.is_empty();
        match as_expected {
            true => self.as_expected += 1,
            false => self.not_as_expected += 1,
        }
        let problem = |problem: &posthouse_cases::Problem| match problem.key.as_str() {
            "" => format!("settings: {}", problem.text),
            key => format!("settings.{key}: {}", problem.text),
        };
        self.cases.push(CaseReport {
            file: file.name.clone(),
            line: case.line,
            name: case.name.clone(),
            as_expected,
            mismatches,
            problems: played.outcome.problems.iter().map(problem).collect(),
            steps: played.steps.clone(),
        });
    }
}

/// Writes the outcomes into a case file as expectations. Returns true if the file changed. The file is replaced
/// atomically.
fn rewrite(path: &Path, file: &CaseFile, outcomes: &[Outcome]) -> anyhow::Result<bool> {
    let name = || path.display().to_string();
    let source = std::fs::read_to_string(path).with_context(name)?;
    let updated = update(&source, &file.cases, outcomes).with_context(name)?;
    if updated == source {
        return Ok(false);
    }
    replace_whole_shared(path, updated.as_bytes()).with_context(name)?;
    Ok(true)
}

fn show(report: &RunReport) -> std::io::Result<()> {
    for case in &report.cases {
        let mark = if case.as_expected { "ok    " } else { "NOT OK" };
        line(format!("{mark} {}", escape(&case.name)))?;
        for step in &case.steps {
            show_step(step)?;
        }
        for problem in &case.problems {
            line(format!("         {}", escape(problem)))?;
        }
        for mismatch in &case.mismatches {
            line(format!(
                "       {}:{}: {}",
                escape(&case.file),
                case.line,
                escape(mismatch)
            ))?;
        }
    }
    for file in &report.updated {
        line(format!("updated {}", escape(file)))?;
    }
    line(format!(
        "{} cases, {} as expected, {} not",
        report.cases.len(),
        report.as_expected,
        report.not_as_expected
    ))
}

fn show_step(step: &CaseStep) -> std::io::Result<()> {
    let because = match (&step.rule, &step.entry) {
        (Some(rule), Some(entry)) => format!("  because {rule} ({entry})"),
        (Some(rule), None) => format!("  because {rule}"),
        (None, _) => String::new(),
    };
    line(format!(
        "         {:<9} {}: {}{}",
        step.stage,
        escape(&step.subject),
        escape(&step.decision),
        escape(&because)
    ))?;
    for text in step.details.iter().chain(&step.log) {
        line(format!("                   {}", escape(text)))?;
    }
    let fresh = step
        .fresh
        .map_or(String::new(), |fresh| format!("; fresh instance {}", cost_text(fresh)));
    line(format!(
        "                   {}, {:.1} MiB{fresh}",
        cost_text(step.cost),
        step.cost.memory as f64 / f64::from(1 << 20)
    ))
}

fn cost_text(cost: CaseCost) -> String {
    format!("{:.1} µs, fuel {}", cost.microseconds, cost.fuel)
}
