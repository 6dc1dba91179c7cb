//! DANE for SMTP (RFC 7672): TLSA records of mail exchanges, through a resolver that validates.
//!
//! What cannot be known defers mail and never loosens the requirements: a time-out, SERVFAIL, or a resolver that does
//! not answer the probe. Only a secure or insecure answer that there are no records means that there are none.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use arc_swap::ArcSwap;

use host_config::DnsConfig;
use host_directory::dns::NoRecords;
use host_directory::secure_dns::{SecureResolver, TlsaRecord, Validation};
use host_events::Event;
use host_mail::Reply;

use super::outcome::RecipientOutcome;

/// Validating resolver of deliveries, and whether it validates.
pub(super) struct Dane {
    resolver: ArcSwap<SecureResolver>,
    /// True once Event 5161 told that DANE is off.
    is_off: AtomicBool,
}

impl Dane {
    /// Creates the resolver, without I/O.
    pub(super) fn new(settings: DnsConfig) -> Self {
        Self {
            resolver: ArcSwap::from_pointee(SecureResolver::new(settings)),
            is_off: AtomicBool::new(false),
        }
    }

    /// Applies a configuration that was read again. A resolver with the same settings keeps cache and probe, unless it
    /// is the system's, which may have changed.
    pub(super) fn configure(&self, settings: &DnsConfig) {
        if settings.servers.is_empty() || self.resolver.load().settings() != settings {
            self.resolver.store(Arc::new(SecureResolver::new(settings.clone())));
        }
    }

    /// Probes the resolver, so that Event 5161 tells at once that DANE is off.
    pub(super) async fn probe(&self, emit: &(dyn Fn(Event) + Send + Sync)) {
        let _ = self.resolver(emit).await;
    }

    /// Returns the resolver if it validates, and `None` if it does not: DANE is then off (Event 5161) until a later
    /// probe succeeds (5162). An error defers the recipients, because the resolver does not answer.
    pub(super) async fn resolver(
        &self,
        emit: &(dyn Fn(Event) + Send + Sync),
    ) -> Result<Option<Arc<SecureResolver>>, RecipientOutcome> {
        let resolver = self.resolver.load_full();
        match resolver.validation().await {
            Validation::Working => {
                if self.is_off.swap(false, Ordering::Relaxed) {
                    emit(Event::DaneOn {});
                }
                Ok(Some(resolver))
            }
            Validation::Missing(reason) => {
                if !self.is_off.swap(true, Ordering::Relaxed) {
                    emit(Event::DaneOff { reason });
                }
                Ok(None)
            }
            Validation::Unknown(reason) => {
                let text = format!("the resolver does not tell whether it validates: {reason}");
                Err(RecipientOutcome::Deferred(Reply::new(451, (4, 4, 3), text)))
            }
        }
    }
}

/// TLSA records of an exchange.
#[derive(Debug)]
pub(super) struct ExchangeTlsa {
    /// Records; empty if there are none.
    pub(super) records: Vec<TlsaRecord>,
    /// Name of which they are, without port and protocol.
    pub(super) base: String,
}

/// Looks up the TLSA records of an exchange with secure addresses: those of the name that has the addresses after all
/// aliases, else those of the exchange's own name (RFC 7672 section 2.2.2).
pub(super) async fn look_up(
    resolver: &SecureResolver,
    exchange: &str,
    canonical: &str,
    port: u16,
) -> Result<ExchangeTlsa, NoRecords> {
    let mut found = ExchangeTlsa {
        records: Vec::new(),
        base: canonical.to_owned(),
    };
    for base in [canonical, exchange] {
        found.records = resolver.tlsa(&format!("_{port}._tcp.{base}")).await?;
        found.base = base.to_owned();
        if !found.records.is_empty() || canonical == exchange {
            break;
        }
    }
    Ok(found)
}
