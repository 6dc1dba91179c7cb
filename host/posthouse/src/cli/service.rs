//! `posthouse status`, `posthouse reload` and `posthouse stop`.

use std::process::ExitCode;
use std::time::Duration;

use clap::Args;

use super::daemon_process::DaemonProcess;
use super::output::{self, line, remark};
use super::policy::{show_modules, span};
use super::target::Daemon;
use crate::control::{ClientError, Done, Reloaded, Status, query};
use host_events::{Condition, escape};

/// Exit code of a command that found no daemon, as in the Linux Standard Base.
const NOT_RUNNING: u8 = 3;
/// Exit code of `status` for a degraded host.
const DEGRADED: u8 = 4;
/// Exit code of `status` for a host that cannot serve, or does not answer.
const FAILED: u8 = 5;
/// Time in which a running daemon answers.
const ANSWER: Duration = Duration::from_secs(10);

/// Prints the state of the daemon. The exit code has the health.
pub async fn status(daemon: Daemon) -> anyhow::Result<ExitCode> {
    let client = daemon.client()?;
    let status: Status = match tokio::time::timeout(ANSWER, client.get("/status")).await {
        Ok(Ok(status)) => status,
        Ok(Err(error)) => return without_daemon(error),
        Err(_) => {
            let seconds = ANSWER.as_secs();
            remark(format!(
                "posthouse: the daemon does not answer within {seconds} s; it may be starting"
            ));
            return Ok(ExitCode::from(FAILED));
        }
    };
    let code = match status.health.condition {
        Condition::Running => ExitCode::SUCCESS,
        Condition::Degraded => ExitCode::from(DEGRADED),
        Condition::Failed => ExitCode::from(FAILED),
    };
    match daemon.json {
        true => output::json(&status)?,
        false => show_status(&status)?,
    }
    Ok(code)
}

/// Prints the error and returns the exit code for a missing daemon; other errors are returned.
fn without_daemon(error: ClientError) -> anyhow::Result<ExitCode> {
    match error {
        error @ ClientError::NotRunning { .. } => {
            output::print_error(&error.into());
            Ok(ExitCode::from(NOT_RUNNING))
        }
        other => Err(other.into()),
    }
}

fn show_status(status: &Status) -> anyhow::Result<()> {
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
    Ok(())
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
        if done.retried > 0 {
            line(format!(
                "tried now: messages whose next hop has changed: {}",
                done.retried
            ))?;
        }
        for problem in &done.problems {
            line(format!("not applied: {}", escape(&problem.to_string())))?;
        }
    }
    Ok(ExitCode::from(u8::from(!done.problems.is_empty())))
}

#[derive(Debug, Args)]
pub struct StopArgs {
    /// Time to wait for the daemon's end
    #[arg(long, value_name = "TIME", value_parser = span, default_value = "5m", conflicts_with = "no_wait")]
    timeout: Duration,
    /// Return at once, while the daemon finishes its work
    #[arg(long)]
    no_wait: bool,
    #[command(flatten)]
    daemon: Daemon,
}

pub async fn stop(options: StopArgs) -> anyhow::Result<ExitCode> {
    let client = options.daemon.client()?;
    let process = match DaemonProcess::behind(client.socket()).await {
        Ok(process) => process,
        Err(error) => return without_daemon(error),
    };
    let id = process.id;
    let mut done: Done = match client.post("/stop", &()).await {
        // A daemon that ends may close the connection before its answer.
        Err(ClientError::NotRunning { .. } | ClientError::Protocol(_)) if !options.no_wait => Done::default(),
        answer => answer?,
    };
    if !options.no_wait {
        if !process.ended(options.timeout).await {
            let id = id.map_or(String::new(), |id| format!(", process {id}"));
            anyhow::bail!(
                "the daemon{id} has not ended within {} s and goes on stopping; SIGTERM ends it at once",
                options.timeout.as_secs_f32()
            );
        }
        done.done = "stopped".to_owned();
    }
    match options.daemon.json {
        true => output::json(&done)?,
        false => line(done.done)?,
    }
    Ok(ExitCode::SUCCESS)
}
