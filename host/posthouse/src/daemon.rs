//! The daemon: starts every part of the host, connects the parts and waits for the end.
//!
//! Other files know at most their neighbours; this file knows all parts. [`run`] starts the parts in the order in which
//! each needs the others.

mod certificate_watch;
mod descriptors;
mod directory_review;
mod exit_backstop;
mod preflight;
mod reload;
mod running;
mod services;
mod signals;
mod start_failed;
mod threads;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::{ArcSwap, ArcSwapOption};
use futures_util::FutureExt as _;
use tokio::sync::{mpsc, watch};

use crate::control;
use crate::daemon::certificate_watch::CertificateWatch;
use host_config::{Config, SpoolDamage};
use host_delivery::ndr::NdrService;
use host_engine::compile::Compiler;
use host_events::Events;
use host_policy::DecisionLog;
use host_policy::PolicyManager;
use host_smtp::listener::{self, ConnectionLimiter};
use host_smtp::session::{LoginLimiter, SessionPermits};
use host_spool::{OnDamage, Recovery, Spool, SpoolOptions};

pub use directory_review::resolved_here;
use preflight::{Prepared, prepare, start_failure};
pub use preflight::{administrator_problem, open_directory, print_will_not_start, warnings};
use running::Running;
use services::RunningHost;
use signals::Signals;
pub use start_failed::StartFailed;
use threads::StageRuntime;

/// File in the data folder that marks that the spool was made.
pub const SPOOL_MARK: &str = "spool.mark";
/// Interval at which the counts of logins are saved, if they have changed.
const LOGINS_INTERVAL: Duration = Duration::from_secs(30);

/// Runs the host until a signal or the control socket stops the host.
///
/// SIGTERM, SIGINT and `posthouse stop` drain: sessions end at a safe point, deliveries finish or return their messages
/// to the spool. A second signal ends the drain at once; the process ends within a second. SIGHUP reloads configuration,
/// certificate, directory and policies.
///
/// # Errors
/// The host could not start, or a part failed while the host ran.
pub async fn run(config: Config) -> Result<(), StartFailed> {
    let prepared = prepare(config).await?;
    let events = prepared.events.clone();
    let result = start_and_serve(prepared).await;
    // The last event must be written before the process ends.
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
        signers,
        bound,
        shares,
    } = prepared;
    exit_backstop::watch_signals().map_err(|error| start_failure(&events, "signals", &error))?;
    let signals = Signals::new().map_err(|error| start_failure(&events, "signals", &error))?;
    let socket = control::bind(&config.control)
        .map_err(|error| start_failure(&events, "control", &format!("{}: {error}", config.control.display())))?;
    let (stop, stopping) = watch::channel(false);

    let policies = PolicyManager::start(&config, directory.clone(), events.clone(), Compiler::Child)
        .await
        .map_err(|error| start_failure(&events, "policy-engine", &error))?;
    let (spool, recovery) = open_spool(&config, &events).await?;
    let ndr = NdrService {
        policies: policies.clone(),
        spool: spool.clone(),
        events: events.clone(),
        hostname: config.hostname.clone(),
        administrator: config.administrator.clone(),
    };
    let per_client = config.limits.sessions_per_client;
    let connections = ConnectionLimiter::new(shares.sessions, per_client, &config.overload, events.clone());
    let session_permits = SessionPermits::new(config.overload.transactions);
    let certificates = CertificateWatch::new(&config.data, events.clone());
    let logins = Arc::new(LoginLimiter::open(config.data.join("logins.json"), &events));
    let config = Arc::new(ArcSwap::from_pointee(config));
    let decisions = open_decisions(&config, &spool, &events)?;
    policies.record_to(Arc::new(decisions.clone()));
    let host = RunningHost {
        config,
        tls: Arc::new(ArcSwapOption::new(tls.map(Arc::new))),
        signers: Arc::new(ArcSwap::from_pointee(signers)),
        certificates,
        directory,
        policies,
        spool,
        decisions,
        events,
        log,
        connections,
        session_permits,
        logins,
    };

    // Reading a large spool takes seconds; mail is accepted meanwhile.
    let log = host.log.clone();
    // Without a readable log, recovery emits no acceptance (5006) again.
    let recover = move || recovery.run(&log.recently_accepted().unwrap_or_default());
    let recovery_task = tokio::task::spawn_blocking(recover).fuse();
    // Delivery has threads of its own, so that many busy sessions do not delay outgoing mail.
    let delivery_runtime =
        StageRuntime::new("delivery").map_err(|error| start_failure(&host.events, "delivery", &error))?;
    let delivery_task = delivery_runtime.spawn(host_delivery::run(
        host.delivery_context(ndr, shares.connections),
        stopping.clone(),
    ));
    let listeners = RunningHost::listeners(&bound);
    let listener_tasks = bound.into_iter().map(|(name, bound)| {
        let context = host.session_context(&name);
        let run = listener::run(bound, host.connections.clone(), context, stopping.clone());
        tokio::spawn(run)
    });
    let listener_tasks = listener_tasks.collect();
    let limiter_task = tokio::spawn(host.connections.clone().watch());
    let logins_task = tokio::spawn(save_regularly(host.logins.clone()));
    let (order_sender, orders) = mpsc::channel(8);
    let handles = host.control_handles(listeners.clone(), order_sender, stopping);
    let control_task = tokio::spawn(control::serve(socket, handles));
    host.emit_started(&listeners);
    let policy_watch_task = host.watch_policies(stop.subscribe());

    let running = Running {
        host,
        recovery_task,
        delivery_task,
        listener_tasks,
        control_task,
        policy_watch_task,
        stop,
        signals,
        orders,
        certificate_review: tokio::time::interval(certificate_watch::REVIEW_INTERVAL),
        waiting: VecDeque::new(),
    };
    let served = running.serve().await;
    drop(delivery_runtime);
    limiter_task.abort();
    logins_task.abort();
    served
}

/// Saves the counts of logins at intervals, so that a crash loses half a minute of them.
async fn save_regularly(logins: Arc<LoginLimiter>) {
    let mut interval = tokio::time::interval(LOGINS_INTERVAL);
    loop {
        interval.tick().await;
        let logins = logins.clone();
        // A failure is tried again at the next interval.
        let _ = tokio::task::spawn_blocking(move || logins.save()).await;
    }
}

/// Opens the spool's store, which replays its journal. The returned [`Recovery`] reads the stored messages.
async fn open_spool(config: &Config, events: &Events) -> Result<(Spool, Recovery), StartFailed> {
    let path = config.data.join("spool");
    let options = SpoolOptions {
        low_water: config.low_water,
        memory: config.overload.memory,
        wait: config.overload.disk,
        mark: Some(config.data.join(SPOOL_MARK)),
        on_damage: match config.spool_damage {
            SpoolDamage::Refuse => OnDamage::Refuse,
            SpoolDamage::Salvage => OnDamage::Salvage,
        },
    };
    let spool_events = events.clone();
    let opened = tokio::task::spawn_blocking(move || Spool::begin(&path, options, spool_events)).await;
    match opened {
        Ok(Ok(opened)) => Ok(opened),
        Ok(Err(error)) => Err(start_failure(events, "spool", &error)),
        Err(error) => Err(start_failure(events, "spool", &error)),
    }
}

fn open_decisions(config: &Arc<ArcSwap<Config>>, spool: &Spool, events: &Events) -> Result<DecisionLog, StartFailed> {
    let folder = config.load().data.clone();
    DecisionLog::start(spool, &folder, config.clone(), events.clone())
        .map_err(|error| start_failure(events, "decisions", &error))
}
