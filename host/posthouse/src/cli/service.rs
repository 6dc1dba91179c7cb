//! `posthouse status`, `posthouse reload` and `posthouse stop`.

use std::process::ExitCode;

use clap::Args;

use super::output::{self, line};
use super::policy::show_modules;
use super::target::Daemon;
use crate::control::{Done, Reloaded, Status, query};
use host_events::escape;

pub async fn status(daemon: Daemon) -> anyhow::Result<ExitCode> {
    let status: Status = daemon.client()?.get("/status").await?;
    if daemon.json {
        output::json(&status)?;
        return Ok(ExitCode::SUCCESS);
    }
    line(format!(
        "posthouse {} on {}, process {}",
        status.version, status.hostname, status.pid
    ))?;
    line(format!("health         {}", status.health.condition))?;
    for reason in &status.health.reasons {
        line(format!("               {}", escape(reason)))?;
    }
    let file = status.config.as_ref().map(|file| file.display().to_string());
    line(format!(
        "configuration  {}",
        file.as_deref().unwrap_or("built-in defaults")
    ))?;
    line(format!("data           {}", status.data.display()))?;
    line(format!("ready since    {}", status.started))?;
    for listener in &status.listeners {
        line(format!("listener       {} on {}", listener.name, listener.address))?;
    }
    line(format!(
        "sessions       {} of {}",
        status.sessions, status.sessions_limit
    ))?;
    for trouble in &status.overload {
        line(format!("overload       {trouble}"))?;
    }
    let counts: Vec<_> = status
        .spool
        .iter()
        .map(|(state, count)| format!("{count} {state}"))
        .collect();
    let more = if status.counting {
        " so far, of what the last run left"
    } else {
        ""
    };
    line(format!("spool          {}{more}", counts.join(", ")))?;
    line("")?;
    show_modules(&status.policies)?;
    Ok(ExitCode::SUCCESS)
}

#[derive(Debug, Args)]
pub struct ReloadArgs {
    /// Put trusted code in the place of a policy that no key of signed-by signed
    #[arg(long)]
    require_now: bool,
    #[command(flatten)]
    daemon: Daemon,
}

pub async fn reload(options: ReloadArgs) -> anyhow::Result<ExitCode> {
    let require_now = options.require_now.then(|| "true".to_owned());
    let target = query("/reload", &[("require-now", require_now)]);
    let done: Reloaded = options.daemon.client()?.post(&target, &()).await?;
    if options.daemon.json {
        output::json(&done)?;
    } else {
        for changed in &done.changed {
            line(format!("read again: {}", escape(changed)))?;
        }
        for warning in &done.warnings {
            line(format!("replaced: {}", escape(warning)))?;
        }
        for warning in &done.dubious {
            line(format!("warning: {}", escape(&warning.to_string())))?;
        }
        for problem in &done.problems {
            line(format!("not applied: {}", escape(&problem.to_string())))?;
        }
    }
    Ok(ExitCode::from(u8::from(!done.problems.is_empty())))
}

pub async fn stop(daemon: Daemon) -> anyhow::Result<ExitCode> {
    let done: Done = daemon.client()?.post("/stop", &()).await?;
    if daemon.json {
        output::json(&done)?;
    } else {
        line(done.done)?;
    }
    Ok(ExitCode::SUCCESS)
}
