//! `posthouse check`.

use std::process::ExitCode;
use std::sync::Arc;

use clap::Args;
use serde::Serialize;

use super::output;
use super::target::ConfigFile;
use crate::daemon;
use host_config::{Config, Problem, problems_around};
use host_events::{Events, escape};
use host_policy::Policies;

#[derive(Debug, Args)]
pub struct CheckConfigArgs {
    #[command(flatten)]
    config: ConfigFile,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// What there is to say about a configuration.
#[derive(Debug, Default, Serialize)]
struct ConfigReport {
    problems: Vec<Problem>,
    warnings: Vec<Problem>,
    summary: Vec<String>,
}

pub async fn run(options: CheckConfigArgs) -> anyhow::Result<ExitCode> {
    let findings = match options.config.load() {
        Ok(config) => look(&config).await,
        Err(error) => ConfigReport {
            problems: error.0,
            ..ConfigReport::default()
        },
    };
    if options.json {
        output::json(&findings)?;
    } else {
        show(&findings)?;
    }
    Ok(ExitCode::from(u8::from(!findings.problems.is_empty())))
}

/// Problems and summary on stdout; warnings, which change nothing, on stderr.
fn show(findings: &ConfigReport) -> std::io::Result<()> {
    for problem in &findings.problems {
        output::line(escape(&problem.to_string()))?;
    }
    for warning in &findings.warnings {
        output::remark(format!("warning: {}", escape(&warning.to_string())));
    }
    if findings.problems.is_empty() {
        for line in &findings.summary {
            output::line(escape(line))?;
        }
        return output::line("OK");
    }
    output::line(format!("{} problem(s)", findings.problems.len()))
}

async fn look(config: &Config) -> ConfigReport {
    let mut found = ConfigReport {
        problems: problems_around(config),
        summary: summary(config),
        ..ConfigReport::default()
    };
    let directory = match daemon::open_directory(config) {
        Ok(directory) => Arc::new(directory),
        Err(problems) => {
            found.problems.extend(problems);
            return found;
        }
    };
    found.warnings = directory.warnings();
    found
        .problems
        .extend(daemon::administrator_problem(config, &directory).await);
    found
        .summary
        .push(format!("directory: {} account(s)", directory.accounts().len()));
    match Policies::ephemeral(config, directory, Events::discard()).await {
        Ok(policies) => {
            for module in policies.status() {
                found.summary.push(format!(
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
            // A file that cannot be read has been named already: once is enough.
            let known: Vec<String> = found.problems.iter().map(|problem| problem.key.clone()).collect();
            let new = problems.into_iter().filter(|problem| !known.contains(&problem.key));
            found.problems.extend(new);
        }
    }
    found
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
