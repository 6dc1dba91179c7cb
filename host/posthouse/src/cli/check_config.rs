//! `posthouse check`.

use std::process::ExitCode;
use std::sync::Arc;

use clap::Args;
use serde::Serialize;

use super::output;
use super::target::ConfigFile;
use crate::daemon;
use host_config::{
    Config, Problem, data_folder_warnings, inspect_data_folder, ownership_problems, problems_around,
    unreadable_components,
};
use host_events::{Events, escape};
use host_policy::{PolicyManager, loaded_differences};

#[derive(Debug, Args)]
pub struct CheckConfigArgs {
    #[command(flatten)]
    config: ConfigFile,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Result of checking a configuration; printed as JSON with `--json`.
#[derive(Debug, Default, Serialize)]
struct ConfigReport {
    problems: Vec<Problem>,
    warnings: Vec<Problem>,
    summary: Vec<String>,
}

pub async fn run(options: CheckConfigArgs) -> anyhow::Result<ExitCode> {
    let report = match options.config.load() {
        Ok(config) => check(&config).await,
        Err(error) => ConfigReport {
            problems: error.0,
            ..ConfigReport::default()
        },
    };
    if options.json {
        output::json(&report)?;
    } else {
        show(&report)?;
    }
    Ok(ExitCode::from(u8::from(!report.problems.is_empty())))
}

/// Prints problems and summary to stdout, and warnings, which do not change the exit code, to stderr.
fn show(report: &ConfigReport) -> std::io::Result<()> {
    for problem in &report.problems {
        output::line(escape(&problem.to_string()))?;
    }
    for warning in &report.warnings {
        output::remark(format!("warning: {}", escape(&warning.to_string())));
    }
    if report.problems.is_empty() {
        for line in &report.summary {
            output::line(escape(line))?;
        }
        return output::line("OK");
    }
    output::line(format!("{} problem(s)", report.problems.len()))
}

async fn check(config: &Config) -> ConfigReport {
    let mut report = ConfigReport {
        problems: [problems_around(config), unreadable_components(config)].concat(),
        summary: summary(config),
        ..ConfigReport::default()
    };
    let data_folder = inspect_data_folder(config, false);
    report.problems.extend(ownership_problems(config, &data_folder));
    let mut data_warnings = data_folder_warnings(config, &data_folder, false);
    data_warnings.extend(loaded_differences(config).await);
    config.add_lines(&mut data_warnings);
    let directory = match daemon::open_directory(config) {
        Ok(directory) => Arc::new(directory),
        Err(problems) => {
            report.problems.extend(problems);
            report.warnings = daemon::warnings(config, None).await;
            report.warnings.extend(data_warnings);
            config.add_lines(&mut report.problems);
            return report;
        }
    };
    report.warnings = daemon::warnings(config, Some(&directory)).await;
    report.warnings.extend(daemon::resolved_here(config, &directory).await);
    report.warnings.extend(data_warnings);
    report
        .problems
        .extend(daemon::administrator_problem(config, &directory).await);
    report
        .summary
        .push(format!("directory: {} account(s)", directory.accounts().len()));
    match PolicyManager::ephemeral(config, directory, Events::discard()).await {
        Ok(policies) => {
            for module in policies.status() {
                report.summary.push(format!(
                    "policy {}: {} {}, digest {}, for {}",
                    module.module,
                    module.name,
                    module.version,
                    module.digest,
                    module.stages.join(", ")
                ));
            }
        }
        Err(problems) => {
            // The policies report unreadable files under keys that the configuration's checks have reported already.
            let known: Vec<String> = report.problems.iter().map(|problem| problem.key.clone()).collect();
            let new = problems.into_iter().filter(|problem| !known.contains(&problem.key));
            report.problems.extend(new);
        }
    }
    config.add_lines(&mut report.problems);
    report
}

fn summary(config: &Config) -> Vec<String> {
    let listeners = config.listeners.iter();
    let mut lines: Vec<String> = listeners
        .map(|listener| format!("listener {}: {}", listener.name, listener.address))
        .collect();
    if config.policies.is_empty() {
        lines.push("no policy: every message of whoever meets the listener's terms is accepted".to_owned());
    }
    lines
}
