//! State that all deliveries share, and the configuration that a delivery uses.

use std::path::Path;
use std::sync::Arc;

use arc_swap::ArcSwap;

use host_config::{Config, DeliveryConfig, DnsConfig, Listener};
use host_directory::{Directory, dns};
use host_dkim::Signers;
use host_events::Event;

use crate::authenticate::Logins;
use crate::client_tls::Tls;
use crate::connection_pool::ConnectionPool;
use crate::mail_exchanges;
use crate::outgoing_slots::OutgoingSlots;
use crate::remote_health::RemoteHealth;
use crate::tls_policies::TlsPolicies;

/// Callback that emits an event.
pub(super) type EmitEvent = Arc<dyn Fn(Event) + Send + Sync>;

/// Services and state shared by all deliveries.
pub(super) struct DeliveryServices {
    pub(super) directory: Arc<dyn Directory>,
    pub(super) resolver: dns::Current,
    pub(super) emit: EmitEvent,
    pub(super) remote_health: RemoteHealth,
    pub(super) pool: ConnectionPool,
    /// Bound on the connections to all remotes.
    pub(super) slots: Arc<OutgoingSlots>,
    pub(super) tls: Tls,
    pub(super) logins: Logins,
    /// Keys that sign mail for other hosts.
    pub(super) signers: Arc<ArcSwap<Signers>>,
    pub(super) policies: TlsPolicies,
    /// TCP port of mail exchanges: 25 except in tests.
    pub(super) exchange_port: u16,
}

impl DeliveryServices {
    pub(super) fn new(
        directory: Arc<dyn Directory>,
        dns: DnsConfig,
        emit: EmitEvent,
        tls: Tls,
        connections: usize,
    ) -> Self {
        Self {
            directory,
            policies: TlsPolicies::new(dns.clone(), None),
            resolver: dns::Current::new(dns),
            emit,
            remote_health: RemoteHealth::new(),
            pool: ConnectionPool::default(),
            slots: OutgoingSlots::new(connections),
            tls,
            logins: Logins::default(),
            signers: Arc::default(),
            exchange_port: mail_exchanges::PORT,
        }
    }
}

/// The part of the configuration that delivering a message needs.
#[derive(Clone, Copy)]
pub(super) struct Settings<'a> {
    pub(super) hostname: &'a str,
    pub(super) mailboxes: &'a Path,
    pub(super) listeners: &'a [Listener],
    pub(super) delivery: &'a DeliveryConfig,
    /// Maximum number of hosts that a message may have passed.
    pub(super) hops: usize,
    /// Faults after which a message is frozen.
    pub(super) fault_limit: u32,
}

impl<'a> Settings<'a> {
    pub(super) fn of(config: &'a Config) -> Self {
        Self {
            hostname: &config.hostname,
            mailboxes: &config.mailboxes,
            listeners: &config.listeners,
            delivery: &config.delivery,
            hops: config.limits.hops,
            fault_limit: config.faults.message_limit,
        }
    }
}
