//! Delivery of accepted mail: route, attempt, classify, retry.
//!
//! `docs/reference/delivery.md` describes what an operator sees. The modules, from the top down:
//!
//! - `scheduler` claims due messages; `claimed_message` takes a claim to its settlement.
//! - `worker` processes a message without the spool: `resolve_recipients` expands recipients with the directory, `destination`
//!   routes, and `attempt` delivers.
//! - `maildir` stores a message on this host. `remote_health`, `connection_pool`, `connect`, `authenticate` and
//!   `transaction` send a message to another host; `mail_exchanges` looks up the hosts of a domain.
//! - `dane`, `mta_sts` and `exchange_tls` find what a domain requires of TLS with its exchanges; `certificate_check` is
//!   behind the only verifier; `tls_reports` counts for reports to domains.
//! - `delivery_services` holds the state that all deliveries share.
//! - `outcome` classifies replies; `settlement`, `retry_schedule` and `delay_notice` decide how a message continues.

mod activity;
mod attempt;
mod authenticate;
mod certificate_check;
mod circuit_breaker;
mod claimed_message;
mod client_connection;
mod client_tls;
mod client_wire;
mod connect;
mod connect_options;
mod connection_limit;
mod connection_pool;
mod dane;
mod deferral;
mod delay_notice;
mod delivery_services;
mod destination;
mod destination_attempts;
mod dialogue;
mod dns_source;
mod dot_stuffing;
mod exchange_tls;
mod inside_addresses;
mod mail_exchanges;
mod maildir;
mod mta_sts;
pub mod ndr;
mod next_hop_order;
mod outcome;
mod outgoing_delivery;
mod outgoing_slots;
mod pace;
mod presented_chain;
mod remote;
mod remote_attempt;
mod remote_health;
mod reply_parser;
mod rerouted;
mod resolve_recipients;
mod retry_schedule;
mod route_origin;
mod scheduler;
mod settlement;
mod signed_content;
mod sts_fetch;
mod sts_policy;
mod success_reporter;
mod tls_outcome;
mod tls_policies;
mod tls_report_counts;
mod tls_report_mail;
mod tls_report_sender;
mod tls_reports;
mod tlsa_check;
mod transaction;
mod trusted_file;
mod wait_room;
mod work_places;
mod work_result;
mod worker;

use std::sync::Arc;

use tokio::sync::watch;

use crate::delivery_services::{DeliveryServices, EmitEvent};
use crate::ndr::NdrService;
use crate::tls_policies::TlsPolicies;
use crate::tls_report_sender::TlsReportSender;
use host_config::Config;
use host_directory::Directory;
use host_dkim::Signers;
use host_events::Events;
use host_spool::Spool;

pub use crate::client_wire::WireError;
pub use crate::reply_parser::BadReply;
pub use dialogue::{Dialogue, Direction};
pub use rerouted::is_rerouted;

/// Everything that [`run`] needs.
#[derive(Clone)]
pub struct DeliveryContext {
    /// Current configuration. Messages claimed after a reload are processed under the new configuration.
    pub config: Arc<arc_swap::ArcSwap<Config>>,
    /// Resolves recipients to homes, aliases and groups.
    pub directory: Arc<dyn Directory>,
    /// Keys that sign mail for other hosts. Messages claimed after a reload are signed with the new keys.
    pub signers: Arc<arc_swap::ArcSwap<Signers>>,
    /// Source of due messages; outcomes are settled here.
    pub spool: Spool,
    /// Reports failed recipients.
    pub ndr: NdrService,
    /// Receives the events of delivery.
    pub events: Events,
    /// Maximum number of connections to other hosts.
    pub connections: usize,
}

/// Delivers due messages until `stop` turns true. Then finishes or gives back the claimed messages within
/// `config.drain`, and returns the number of messages given back. Returns 0 at once if TLS cannot be set up.
pub async fn run(context: DeliveryContext, stop: watch::Receiver<bool>) -> u64 {
    let events = context.events.clone();
    let emit: EmitEvent = Arc::new(move |event| events.emit(event));
    let services = match crate::client_tls::Tls::of_system() {
        Ok(tls) => {
            let config = context.config.load();
            let policies = TlsPolicies::new(config.dns.clone(), Some(&config.data));
            policies.reports.switch(config.delivery.tls_reports.is_some());
            Arc::new(DeliveryServices {
                signers: context.signers,
                policies,
                ..DeliveryServices::new(
                    context.directory,
                    config.dns.clone(),
                    Arc::clone(&emit),
                    tls,
                    context.connections,
                )
            })
        }
        Err(error) => {
            // The crypto provider is built in: a failure is a defect of the build, not of the configuration.
            tracing::error!(%error, "no delivery: TLS cannot be set up");
            return 0;
        }
    };
    if context.config.load().delivery.asks_dane() {
        let services = Arc::clone(&services);
        tokio::spawn(async move { services.policies.dane.probe(emit.as_ref()).await });
    }
    let reports = tokio::spawn(
        TlsReportSender {
            services: Arc::clone(&services),
            config: Arc::clone(&context.config),
            spool: context.spool.clone(),
        }
        .run(),
    );
    let (set_shutting_down, shutting_down) = watch::channel(false);
    let counts = Arc::clone(&services);
    let set_aside = tokio::spawn(crate::ndr::notify_of_set_aside(context.ndr.clone()));
    let worker = crate::claimed_message::Worker {
        services,
        spool: context.spool,
        ndr: context.ndr,
        shutting_down,
    };
    let given_back = scheduler::Scheduler::new(worker, context.config, set_shutting_down)
        .run(stop)
        .await;
    reports.abort();
    let _ = tokio::task::spawn_blocking(move || counts.policies.reports.store()).await;
    set_aside.abort();
    given_back
}

/// Parser of octets that remotes send, and the encoder of messages, for `tests/fuzz`.
#[doc(hidden)]
pub mod fuzzing {
    use std::io::Cursor;

    use futures_util::FutureExt as _;

    use crate::client_connection::Offers;
    use crate::client_wire::{ClientWire, WireError};
    use crate::dot_stuffing::DotStuffer;
    use host_mail::Reply;

    /// Reads every reply, and parses each as a reply to EHLO. Ends with the error, or with `None` at the end of input.
    pub fn replies(octets: &[u8]) -> (Vec<Reply>, Option<WireError>) {
        let stream = tokio::io::join(Cursor::new(octets.to_vec()), tokio::io::sink());
        let mut wire = ClientWire::new(stream);
        let mut replies = Vec::new();
        loop {
            match wire.reply().now_or_never() {
                Some(Ok(reply)) => {
                    let _ = Offers::parse(&reply);
                    replies.push(reply);
                }
                Some(Err(WireError::Closed)) | None => return (replies, None),
                Some(Err(error)) => return (replies, Some(error)),
            }
        }
    }

    /// Encodes a message for DATA, in parts of the given length.
    pub fn dot_stuff(message: &[u8], part: usize) -> Vec<u8> {
        let (mut stuffer, mut out) = (DotStuffer::new(), Vec::new());
        for part in message.chunks(part.max(1)) {
            stuffer.push(part, &mut out);
        }
        stuffer.finish(&mut out);
        out
    }
}

#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
