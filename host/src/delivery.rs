//! Delivery: route, attempt, classify, retry.
//!
//! `docs/delivery.md` says what an operator sees. From the top: `scheduler` claims what is due;
//! `message` takes one claim to its settlement; `work` is the part without a spool: `resolve` asks
//! the directory, `destination` routes, `attempt` goes to a `maildir` or through `gate`, `pool`,
//! `client`, which asks `exchanges`, and `transaction` to another host; `outcome` classifies what came of it, `conclusion`
//! and `schedule` say what is next.

mod attempt;
mod client;
mod conclusion;
mod destination;
mod dialogue;
mod dots;
mod exchanges;
mod gate;
mod login;
mod maildir;
mod message;
mod outcome;
mod pool;
mod replies;
mod resolve;
mod schedule;
mod scheduler;
mod tls;
mod transaction;
mod turns;
mod wire;
mod work;

use std::path::Path;
use std::sync::Arc;

use tokio::sync::watch;

use crate::config::{Config, Delivery, Dns, Listener};
use crate::directory::Directory;
use crate::dns;
use crate::event::{Event, Events};
use crate::ndr::Ndr;
use crate::spool::Spool;

pub use dialogue::{Dialogue, Direction};
pub use replies::BadReply;
pub use wire::WireError;

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
    pub ndr: Ndr,
    /// Told.
    pub events: Events,
}

/// Works on what is due until `stop` turns true; then finishes or gives back what it holds,
/// within `config.drain`, and returns how many it gave back.
pub async fn run(context: DeliveryContext, stop: watch::Receiver<bool>) -> u64 {
    let events = context.events.clone();
    let tell: Tell = Arc::new(move |event| events.emit(event));
    let station = match tls::Tls::of_system() {
        Ok(tls) => Arc::new(Station::new(
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
    let (hurry, hurried) = watch::channel(false);
    let clerk = message::Clerk {
        station,
        spool: context.spool,
        ndr: context.ndr,
        hurry: hurried,
    };
    scheduler::Scheduler::new(clerk, context.config, hurry).run(stop).await
}

/// Where events go.
type Tell = Arc<dyn Fn(Event) + Send + Sync>;

/// What all deliveries share.
struct Station {
    directory: Arc<dyn Directory>,
    resolver: dns::Current,
    tell: Tell,
    gate: gate::Gate,
    pool: pool::Pool,
    tls: tls::Tls,
    logins: login::Logins,
    /// Where exchanges listen.
    exchange_port: u16,
}

impl Station {
    fn new(directory: Arc<dyn Directory>, dns: Dns, tell: Tell, tls: tls::Tls) -> Self {
        Self {
            directory,
            resolver: dns::Current::new(dns),
            tell,
            gate: gate::Gate::new(),
            pool: pool::Pool::default(),
            tls,
            logins: login::Logins::default(),
            exchange_port: exchanges::PORT,
        }
    }
}

/// The part of the configuration that delivering one message needs.
#[derive(Clone, Copy)]
struct Settings<'a> {
    hostname: &'a str,
    mailboxes: &'a Path,
    listeners: &'a [Listener],
    delivery: &'a Delivery,
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
