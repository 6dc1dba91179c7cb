//! `posthouse policy status`.

use std::collections::BTreeMap;
use std::io;
use std::process::ExitCode;

use super::activated::oldest_since;
use super::stage::scope;
use crate::cli::output::{self, line};
use crate::cli::target::Daemon;
use host_events::escape;
use host_policy::{Condition, Draining, ModuleStatus, ProbationStatus, StagedStatus, Utilisation};

/// Hexadecimal digits of a shortened digest.
const SHORT_DIGEST: usize = 12;

pub async fn run(daemon: Daemon) -> anyhow::Result<ExitCode> {
    let modules: Vec<ModuleStatus> = daemon.client()?.get("/policies").await?;
    if daemon.json {
        output::json(&modules)?;
    } else {
        show_modules(&modules)?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Prints the modules of the chain.
pub fn show_modules(modules: &[ModuleStatus]) -> io::Result<()> {
    if modules.is_empty() {
        return line("no policy: the chain is empty");
    }
    modules.iter().try_for_each(show_module)
}

fn show_module(module: &ModuleStatus) -> io::Result<()> {
    let health = match module.condition {
        Condition::Degraded => "degraded".to_owned(),
        Condition::Running | Condition::Failed => escape(&module.health),
    };
    line(format!(
        "policy {}: {} {}, {health}",
        escape(&module.module),
        escape(&module.name),
        escape(&module.version),
    ))?;
    line(format!(
        "  generation  {} since {} by {}",
        module.generation,
        module.since,
        escape(&module.by)
    ))?;
    for concern in &module.concerns {
        line(format!("  concern     {}", escape(concern)))?;
    }
    line(format!("  digest      {}", escape(&module.digest)))?;
    line(format!("  contract    {}", escape(&module.contract)))?;
    line(format!("  origin      {}", escape(&module.origin)))?;
    for difference in &module.differs {
        line(format!("  differs     {}", escape(difference)))?;
    }
    line(format!("  stages      {}", escape(&module.stages.join(", "))))?;
    line(format!("  prepared    {}", escape(&module.prepared)))?;
    line(format!("  stateless   {}", if module.stateless { "yes" } else { "no" }))?;
    show_utilisation("", module.calls, &module.faults, &module.load)?;
    if let Some(probation) = &module.probation {
        show_probation(probation)?;
    }
    if let Some(staged) = &module.staged {
        show_staged(staged)?;
    }
    module.draining.iter().try_for_each(show_draining)
}

fn show_utilisation(indent: &str, calls: u64, faults: &BTreeMap<String, u64>, load: &Utilisation) -> io::Result<()> {
    let classes: Vec<_> = faults.iter().map(|(class, count)| format!("{count} {class}")).collect();
    let faults = if classes.is_empty() {
        "no fault".to_owned()
    } else {
        classes.join(", ")
    };
    line(format!("{indent}  calls       {calls}, {}", escape(&faults)))?;
    if load.recent_faults > 0 {
        line(format!(
            "{indent}  recently    {} faults in {} calls within 5 minutes",
            load.recent_faults, load.recent_calls
        ))?;
    }
    if let (Some(p50), Some(p99)) = (load.p50_us, load.p99_us) {
        line(format!(
            "{indent}  latency     p50 {}, p99 {}, longest {}",
            time(p50),
            time(p99),
            time(load.max_us)
        ))?;
    }
    line(format!(
        "{indent}  in hand     {} instances, {} units of work",
        load.instances, load.units
    ))
}

fn show_probation(probation: &ProbationStatus) -> io::Result<()> {
    line(format!(
        "  probation   until {}: {} faults of {} origins in {} calls; generation {} is put back after faults of {} \
         accounts or client networks, of fewer never",
        probation.until,
        probation.faults,
        probation.origins,
        probation.calls,
        probation.previous,
        probation.origins_limit
    ))
}

fn show_staged(staged: &StagedStatus) -> io::Result<()> {
    line(format!(
        "  staged      generation {}, {} {}, digest {}, for {}",
        staged.generation,
        escape(&staged.name),
        escape(&staged.version),
        short(&staged.digest),
        scope(staged.share, &staged.clients),
    ))?;
    let reason = staged.reason.as_ref().map(|reason| format!(": {}", escape(reason)));
    line(format!(
        "    since       {} by {}, until {}{}",
        staged.since,
        escape(&staged.by),
        staged.until,
        reason.unwrap_or_default()
    ))?;
    show_utilisation("  ", staged.calls, &staged.faults, &staged.load)
}

fn show_draining(draining: &Draining) -> io::Result<()> {
    line(format!(
        "  draining    generation {}, digest {}, replaced {}: {} instances, {} units of work{}",
        draining.generation,
        short(&draining.digest),
        draining.since,
        draining.instances,
        draining.units,
        oldest_since(draining.oldest)
    ))
}

fn short(digest: &str) -> String {
    escape(&digest.chars().take(SHORT_DIGEST).collect::<String>())
}

/// A duration in microseconds as text in µs, ms or s.
fn time(micros: u64) -> String {
    match micros {
        0..10_000 => format!("{micros} µs"),
        10_000..10_000_000 => format!("{} ms", micros / 1000),
        _ => format!("{} s", micros / 1_000_000),
    }
}
