//! Delivery: route, attempt, classify, retry.
//!
//! `docs/delivery.md` says what an operator sees. From the top: `scheduler` claims what is due;
//! `message` takes one claim to its settlement; `work` is the part without a spool: `resolve` asks
//! the directory, `destination` routes, `attempt` goes to a `maildir` or through `gate`, `pool`,
//! `client`, which asks `exchanges`, and `transaction` to another host; `outcome` classifies what came of it, `conclusion`
//! and `schedule` say what is next.

mod attempt;
mod authenticate;
mod claimed_message;
mod client_tls;
mod client_wire;
mod connect;
mod connection_limit;
mod connection_pool;
mod destination;
mod dialogue;
mod dot_stuffing;
mod mail_exchanges;
mod maildir;
pub mod ndr;
mod outcome;
mod remote_health;
mod reply_parser;
mod resolve;
mod retry_schedule;
mod scheduler;
mod settlement;
mod transaction;
mod worker;

use std::path::Path;
use std::sync::Arc;

use tokio::sync::watch;

use crate::ndr::NdrService;
use host_config::{Config, DeliveryConfig, DnsConfig, Listener};
use host_directory::{Directory, dns};
use host_events::{Event, Events};
use host_spool::Spool;

pub use crate::client_wire::WireError;
pub use crate::reply_parser::BadReply;
pub use dialogue::{Dialogue, Direction};

/// What delivery needs.
#[derive(Clone)]
pub struct DeliveryContext {
    /// In force now; a reload is seen by the next message.
    pub config: Arc<arc_swap::ArcSwap<Config>>,
    /// Homes.
    pub directory: Arc<dyn Directory>,
    /// What is due.
    pub spool: Spool,
    /// Failures.
    pub ndr: NdrService,
    /// Told.
    pub events: Events,
}

/// Works on what is due until `stop` turns true; then finishes or gives back what it holds,
/// within `config.drain`, and returns how many it gave back.
pub async fn run(context: DeliveryContext, stop: watch::Receiver<bool>) -> u64 {
    let events = context.events.clone();
    let tell: Tell = Arc::new(move |event| events.emit(event));
    let station = match crate::client_tls::Tls::of_system() {
        Ok(tls) => Arc::new(DeliveryServices::new(
            context.directory,
            context.config.load().dns.clone(),
            tell,
            tls,
        )),
        Err(error) => {
            // The provider is built in, so this is a bug in the build, not in anybody's settings.
            tracing::error!(%error, "no delivery: TLS cannot be set up");
            return 0;
        }
    };
    let (shutting_down, hurried) = watch::channel(false);
    let clerk = crate::claimed_message::Worker {
        station,
        spool: context.spool,
        ndr: context.ndr,
        shutting_down: hurried,
    };
    scheduler::Scheduler::new(clerk, context.config, shutting_down)
        .run(stop)
        .await
}

/// Where events go.
type Tell = Arc<dyn Fn(Event) + Send + Sync>;

/// What all deliveries share.
struct DeliveryServices {
    directory: Arc<dyn Directory>,
    resolver: dns::Current,
    tell: Tell,
    gate: crate::remote_health::RemoteHealth,
    pool: crate::connection_pool::ConnectionPool,
    tls: crate::client_tls::Tls,
    logins: crate::authenticate::Logins,
    /// Where exchanges listen.
    exchange_port: u16,
}

impl DeliveryServices {
    fn new(directory: Arc<dyn Directory>, dns: DnsConfig, tell: Tell, tls: crate::client_tls::Tls) -> Self {
        Self {
            directory,
            resolver: dns::Current::new(dns),
            tell,
            gate: crate::remote_health::RemoteHealth::new(),
            pool: crate::connection_pool::ConnectionPool::default(),
            tls,
            logins: crate::authenticate::Logins::default(),
            exchange_port: crate::mail_exchanges::PORT,
        }
    }
}

/// The part of the configuration that delivering one message needs.
#[derive(Clone, Copy)]
struct Settings<'a> {
    hostname: &'a str,
    mailboxes: &'a Path,
    listeners: &'a [Listener],
    delivery: &'a DeliveryConfig,
    /// Hosts a message may have passed.
    hops: usize,
    /// Faults after which a message is frozen.
    fault_limit: u32,
}

impl<'a> Settings<'a> {
    fn of(config: &'a Config) -> Self {
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

#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
