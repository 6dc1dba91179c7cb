//! `posthouse policy history`.

use std::process::ExitCode;

use clap::Args;

use crate::cli::output::{self, line};
use crate::cli::target::Daemon;
use crate::control::query;
use host_events::escape;
use host_policy::{ModuleHistory, PastActivation};

#[derive(Debug, Args)]
pub struct HistoryArgs {
    /// Module of the chain; without it all modules
    #[arg(long = "as", value_name = "MODULE")]
    module: Option<String>,
    #[command(flatten)]
    daemon: Daemon,
}

pub async fn run(options: HistoryArgs) -> anyhow::Result<ExitCode> {
    let target = query("/policies/history", &[("module", options.module)]);
    let modules: Vec<ModuleHistory> = options.daemon.client()?.get(&target).await?;
    if options.daemon.json {
        output::json(&modules)?;
        return Ok(ExitCode::SUCCESS);
    }
    if modules.is_empty() {
        line("no policy: the chain is empty")?;
    }
    for module in &modules {
        show(module)?;
    }
    Ok(ExitCode::SUCCESS)
}

fn show(module: &ModuleHistory) -> std::io::Result<()> {
    let back = match module.rollback {
        Some(generation) => format!("a rollback leads to generation {generation}"),
        None => "there is nothing to go back to".to_owned(),
    };
    line(format!("policy {}: {back}", escape(&module.module)))?;
    let head = [
        "",
        "generation",
        "since",
        "how",
        "by",
        "version",
        "digest",
        "code",
        "why",
    ];
    // A generation may appear several times after rollbacks; the newest row is the active one.
    let mut active = module.active;
    let rows: Vec<_> = module
        .activations
        .iter()
        .map(|activation| {
            let is_active = active.take_if(|active| *active == activation.past.generation).is_some();
            row(activation, is_active)
        })
        .collect();
    output::table(&head, &rows)
}

fn row(activation: &PastActivation, is_active: bool) -> Vec<String> {
    let past = &activation.past;
    let mark = if is_active { "*" } else { "" };
    let how = match past.back_to {
        Some(generation) => format!("{} to {generation}", past.how.name()),
        None => past.how.name().to_owned(),
    };
    vec![
        mark.to_owned(),
        past.generation.to_string(),
        past.since.to_string(),
        how,
        escape(&past.by),
        escape(&past.version),
        escape(&past.digest.chars().take(12).collect::<String>()),
        if activation.kept { "kept" } else { "gone" }.to_owned(),
        escape(&past.why),
    ]
}
