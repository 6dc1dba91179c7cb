//! The parts of the running host, and the contexts that sessions, delivery and the control socket get.

use std::sync::Arc;

use arc_swap::{ArcSwap, ArcSwapOption};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

use crate::control::{Handles, ListenerStatus, Order};
use crate::daemon::certificate_watch::CertificateWatch;
use host_config::{Config, ListenerTlsConfigs};
use host_contract::Decide;
use host_delivery::DeliveryContext;
use host_delivery::ndr::NdrService;
use host_directory::FileDirectory;
use host_dkim::Signers;
use host_events::{Event, EventLog, Events};
use host_mail::Timestamp;
use host_policy::DecisionLog;
use host_policy::PolicyManager;
use host_smtp::listener::{Bound, ConnectionLimiter};
use host_smtp::session::{LoginLimiter, SessionContext, SessionPermits};
use host_spool::Spool;

/// The parts of the running host. A reload replaces the contents of the `ArcSwap` fields; other fields keep their value
/// until the host stops.
pub(super) struct RunningHost {
    pub(super) config: Arc<ArcSwap<Config>>,
    pub(super) tls: Arc<ArcSwapOption<ListenerTlsConfigs>>,
    pub(super) certificates: CertificateWatch,
    /// Failed and successful logins of all sessions.
    pub(super) logins: Arc<LoginLimiter>,
    /// Keys that sign mail for other hosts.
    pub(super) signers: Arc<ArcSwap<Signers>>,
    pub(super) directory: Arc<FileDirectory>,
    pub(super) policies: Arc<PolicyManager>,
    pub(super) spool: Spool,
    pub(super) decisions: DecisionLog,
    pub(super) events: Events,
    pub(super) log: EventLog,
    pub(super) connections: ConnectionLimiter,
    pub(super) session_permits: SessionPermits,
}

impl RunningHost {
    /// Returns the context of delivery with at most `connections` connections to other hosts.
    pub(super) fn delivery_context(&self, ndr: NdrService, connections: usize) -> DeliveryContext {
        DeliveryContext {
            config: self.config.clone(),
            directory: self.directory.clone(),
            signers: self.signers.clone(),
            spool: self.spool.clone(),
            ndr,
            events: self.events.clone(),
            connections,
        }
    }

    /// Returns a factory of session contexts for a listener. Every connection calls the factory, so that new sessions use
    /// the reloaded configuration and certificates.
    pub(super) fn session_context(&self, listener: &str) -> Arc<dyn Fn() -> SessionContext + Send + Sync> {
        let (config, tls) = (self.config.clone(), self.tls.clone());
        let (directory, policies): (_, Arc<dyn Decide>) = (self.directory.clone(), self.policies.clone());
        let (spool, events, session_permits) = (self.spool.clone(), self.events.clone(), self.session_permits.clone());
        let (logins, listener) = (self.logins.clone(), listener.to_owned());
        Arc::new(move || SessionContext {
            config: config.load_full(),
            tls: tls
                .load()
                .as_ref()
                .and_then(|configs| Some(configs.get(&listener)?.clone().into())),
            policies: policies.clone(),
            directory: directory.clone(),
            logins: logins.clone(),
            spool: spool.clone(),
            events: events.clone(),
            session_permits: session_permits.clone(),
        })
    }

    /// Emits the events about certificates that expire soon.
    pub(super) fn review_certificates(&self) {
        self.certificates
            .review(&self.config.load().certificates(), Timestamp::now());
    }

    /// Starts the task that loads policies from the watched folder. Returns `None` if no folder is configured.
    pub(super) fn watch_policies(&self, stop: watch::Receiver<bool>) -> Option<JoinHandle<()>> {
        let folder = self.config.load().policy_engine.watch.clone()?;
        Some(tokio::spawn(self.policies.clone().watch(folder, stop)))
    }

    pub(super) fn control_handles(
        &self,
        listeners: Vec<ListenerStatus>,
        orders: mpsc::Sender<Order>,
        stop: watch::Receiver<bool>,
    ) -> Handles {
        Handles {
            config: self.config.clone(),
            listeners,
            connections: self.connections.clone(),
            policies: self.policies.clone(),
            spool: self.spool.clone(),
            decisions: self.decisions.clone(),
            events: self.events.clone(),
            log: self.log.clone(),
            orders,
            started: Timestamp::now(),
            stop,
        }
    }

    /// Names and bound addresses of the listeners.
    pub(super) fn listeners(bound: &[(String, Bound)]) -> Vec<ListenerStatus> {
        let status = |(name, bound): &(String, Bound)| ListenerStatus {
            name: name.clone(),
            address: bound.address(),
        };
        bound.iter().map(status).collect()
    }

    /// Emits the readiness event (5000), when every listener accepts connections.
    pub(super) fn emit_started(&self, listeners: &[ListenerStatus]) {
        let named = |listener: &ListenerStatus| format!("{} {}", listener.name, listener.address);
        self.events.emit(Event::Started {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            pid: std::process::id(),
            hostname: self.config.load().hostname.clone(),
            listeners: listeners.iter().map(named).collect(),
        });
    }
}
