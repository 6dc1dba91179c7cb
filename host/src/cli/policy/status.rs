//! `posthouse policy status`.

use std::process::ExitCode;

use crate::cli::output::{self, line};
use crate::cli::target::Daemon;
use crate::event::escape;
use crate::policy::ModuleStatus;

pub async fn run(daemon: Daemon) -> anyhow::Result<ExitCode> {
    let modules: Vec<ModuleStatus> = daemon.client()?.get("/policies").await?;
    if daemon.json {
        output::json(&modules)?;
    } else {
        show_modules(&modules)?;
    }
    Ok(ExitCode::SUCCESS)
}

/// The chain, for people.
pub fn show_modules(modules: &[ModuleStatus]) -> std::io::Result<()> {
    if modules.is_empty() {
        return line("no policy: the chain is empty");
    }
    for module in modules {
        line(format!(
            "policy {}: {} {}, {}",
            escape(&module.module),
            escape(&module.name),
            escape(&module.version),
            escape(&module.health)
        ))?;
        line(format!(
            "  generation  {} since {} by {}",
            module.generation,
            module.since,
            escape(&module.by)
        ))?;
        line(format!("  digest      {}", escape(&module.digest)))?;
        line(format!("  contract    {}", escape(&module.contract)))?;
        line(format!("  origin      {}", escape(&module.origin)))?;
        line(format!("  stages      {}", escape(&module.stages.join(", "))))?;
        let faults: Vec<_> = module
            .faults
            .iter()
            .map(|(class, count)| format!("{count} {class}"))
            .collect();
        let faults = if faults.is_empty() {
            "no fault".to_owned()
        } else {
            faults.join(", ")
        };
        line(format!("  calls       {}, {}", module.calls, escape(&faults)))?;
    }
    Ok(())
}
