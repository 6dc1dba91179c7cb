//! Wiring: the only file that knows every stage.
//!
//! Read [`run`] from top to bottom: it is the way a message goes.

mod descriptors;
mod preflight;
mod reload;
mod running;
mod services;
mod threads;

use std::sync::Arc;

use arc_swap::{ArcSwap, ArcSwapOption};
use futures_util::FutureExt as _;
use tokio::sync::{mpsc, watch};

use crate::control;
use host_config::{Config, Problem};
use host_delivery;
use host_delivery::ndr::NdrService;
use host_engine::compile::Compiler;
use host_events::Events;
use host_policy::DecisionLog;
use host_policy::Policies;
use host_smtp::listener::{self, ConnectionLimiter};
use host_smtp::session::SessionPermits;
use host_spool::{Recovery, Spool, SpoolOptions};

use crate::daemon::preflight::{Prepared, prepare, refuse};
pub use crate::daemon::preflight::{administrator_problem, open_directory, say_will_not_start};
use crate::daemon::services::RunningHost;
use running::{Running, Signals};
use threads::Threads;

/// Why the host did not start, or did not go on. Events have told it already.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))]
pub struct StartFailed(pub Vec<Problem>);

/// Runs the host until it is told to stop. SIGTERM, SIGINT and the control socket stop it with
/// what is in hand finished or given back; a second signal stops it at once. SIGHUP reads
/// everything again.
pub async fn run(config: Config) -> Result<(), StartFailed> {
    let prepared = prepare(config).await?;
    let events = prepared.events.clone();
    let result = start_and_serve(prepared).await;
    // Nothing may be said after the last word.
    let _ = tokio::task::spawn_blocking(move || events.flush()).await;
    result
}

async fn start_and_serve(prepared: Prepared) -> Result<(), StartFailed> {
    let Prepared {
        config,
        events,
        log,
        directory,
        tls,
        bound,
        sessions,
    } = prepared;
    let signals = Signals::new().map_err(|error| refuse(&events, "signals", &error))?;
    let socket = control::bind(&config.control)
        .map_err(|error| refuse(&events, "control", &format!("{}: {error}", config.control.display())))?;
    let (stop, stopping) = watch::channel(false);

    let policies = Policies::start(&config, directory.clone(), events.clone(), Compiler::Child)
        .await
        .map_err(|error| refuse(&events, "policy-engine", &error))?;
    let (spool, recovery) = open_spool(&config, &events).await?;
    let ndr = NdrService {
        policies: Arc::new(policies.clone()),
        spool: spool.clone(),
        events: events.clone(),
        hostname: config.hostname.clone(),
        administrator: config.administrator.clone(),
    };
    let per_client = config.limits.sessions_per_client;
    let connections = ConnectionLimiter::new(sessions, per_client, &config.overload, events.clone());
    let session_permits = SessionPermits::new(config.overload.transactions);
    let config = Arc::new(ArcSwap::from_pointee(config));
    let decisions = open_decisions(&config, &spool, &events)?;
    policies.record_to(Arc::new(decisions.clone()));
    let host = RunningHost {
        config,
        tls: Arc::new(ArcSwapOption::new(tls.map(Arc::new))),
        directory,
        policies,
        spool,
        decisions,
        events,
        log,
        connections,
        session_permits,
    };

    // A large spool takes seconds to read, and mail need not wait for that.
    let recovering = tokio::task::spawn_blocking(|| recovery.run()).fuse();
    // However many sessions wait for a processor, mail goes out.
    let threads = Threads::new("delivery").map_err(|error| refuse(&host.events, "delivery", &error))?;
    let delivering = threads.spawn(host_delivery::run(host.delivery_context(ndr), stopping.clone()));
    let listeners = RunningHost::listeners(&bound);
    let context = host.session_context();
    let accepting = bound.into_iter().map(|(_, bound)| {
        let run = listener::run(bound, host.connections.clone(), context.clone(), stopping.clone());
        tokio::spawn(run)
    });
    let accepting = accepting.collect();
    let watching_sessions = tokio::spawn(host.connections.clone().watch());
    let (orders, ordered) = mpsc::channel(8);
    let handles = host.control_handles(listeners.clone(), orders, stopping);
    let controlling = tokio::spawn(control::serve(socket, handles));
    host.say_ready(&listeners);
    let watching = host.watch_policies(stop.subscribe());

    let running = Running {
        host,
        recovering,
        delivering,
        accepting,
        controlling,
        watching,
        stop,
        signals,
        ordered,
    };
    let served = running.serve().await;
    drop(threads);
    watching_sessions.abort();
    served
}

/// The store reads its journal.
async fn open_spool(config: &Config, events: &Events) -> Result<(Spool, Recovery), StartFailed> {
    let path = config.data.join("spool");
    let options = SpoolOptions {
        low_water: config.low_water,
        memory: config.overload.memory,
        wait: config.overload.disk,
    };
    let told = events.clone();
    let opened = tokio::task::spawn_blocking(move || Spool::begin(&path, options, told)).await;
    match opened {
        Ok(Ok(opened)) => Ok(opened),
        Ok(Err(error)) => Err(refuse(events, "spool", &error)),
        Err(error) => Err(refuse(events, "spool", &error)),
    }
}

fn open_decisions(config: &Arc<ArcSwap<Config>>, spool: &Spool, events: &Events) -> Result<DecisionLog, StartFailed> {
    let folder = config.load().data.clone();
    DecisionLog::start(spool, &folder, config.clone(), events.clone())
        .map_err(|error| refuse(events, "decisions", &error))
}
