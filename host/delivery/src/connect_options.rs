//! Options of a connection to a remote, the host at its other end, and what the host's domain publishes about TLS.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use host_config::{HopSettings, HopTrust, ServerLogin, TlsLevel};
use host_directory::dns;
use host_events::Event;
use host_mail::Reply;

use super::destination::Protocol;
use super::outcome::RecipientOutcome;
use crate::activity::Activity;
use crate::authenticate::{LoginCredentials, Logins};
use crate::client_tls::{HostTls, Tls};
use crate::exchange_tls::{DomainTls, ExchangeTls};
use crate::mail_exchanges::{Exchanges, MailExchange};
use crate::sts_fetch::StsFetcher;
use crate::tls_policies::TlsPolicies;

/// Options for opening connections.
#[derive(Clone, Copy)]
pub(super) struct ConnectOptions<'a> {
    /// Argument of EHLO.
    pub(super) hostname: &'a str,
    pub(super) connect_timeout: Duration,
    /// Limit for each reply; doubled for the reply after the final dot (RFC 5321 section 4.5.3.2.6).
    pub(super) reply_timeout: Duration,
    pub(super) tls_level: TlsLevel,
    /// Settings of the remote; `None` if it has none of its own.
    pub(super) settings: Option<&'a Arc<HopSettings>>,
    /// Callback for events.
    pub(super) emit: &'a (dyn Fn(Event) + Send + Sync),
    /// Credentials for this remote; `None` connects without AUTH. Requires TLS with a certificate that verifies.
    pub(super) login: Option<&'a ServerLogin>,
    pub(super) logins: &'a Logins,
    pub(super) tls: &'a Tls,
    pub(super) policies: &'a TlsPolicies,
    pub(super) exchanges: Exchanges<'a>,
    /// Record of the remote's signs of life.
    pub(super) activity: &'a Activity,
    /// Limit on opening a connection, all addresses of the remote together.
    pub(super) open_timeout: Duration,
}

impl<'a> ConnectOptions<'a> {
    /// Requirements on TLS with the remote's hosts.
    pub(super) async fn host_tls(&self) -> Result<HostTls, RecipientOutcome> {
        let trust = self.settings.map_or(&HopTrust::System, |own| &own.trust);
        let read = self.tls.host_tls(self.tls_level, trust).await;
        read.map_err(|why| {
            RecipientOutcome::Deferred(Reply::new(454, (4, 7, 5), format!("trusted certificates: {why}")))
        })
    }

    /// Looks up the exchanges of a domain together with the requirements that the domain publishes for each.
    pub(super) async fn published(
        &self,
        domain: &str,
        plain: &HostTls,
        excluded_host: Option<&str>,
    ) -> Result<(Vec<MailExchange>, Vec<ExchangeTls>), RecipientOutcome> {
        let secure = match self.tls_level.asks_dane() {
            true => self.policies.dane.resolver(self.emit).await?,
            false => None,
        };
        let lookup = Exchanges {
            secure: secure.as_deref(),
            ..self.exchanges
        };
        let exchanges = without(lookup.look_up(domain).await?, excluded_host);
        let name = dns::ascii(domain).filter(|_| self.tls_level.asks_mta_sts());
        let resolver = self.exchanges.resolver.get();
        let sts = match name {
            Some(name) => {
                let fetcher = StsFetcher {
                    resolver: &resolver,
                    reports: &self.policies.reports,
                    connector: self.tls.verifying(),
                    private_networks: self.exchanges.private_networks,
                };
                self.policies.mta_sts.policy(&name, fetcher, self.emit).await?
            }
            None => None,
        };
        let tls = DomainTls {
            domain,
            plain,
            secure: secure.as_deref(),
            sts,
            provider: self.tls.provider(),
            port: self.exchanges.port,
            reports: &self.policies.reports,
        };
        let published = tls.of_exchanges(&exchanges).await;
        for (exchange, each) in exchanges.iter().zip(&published) {
            if let Err(RecipientOutcome::Deferred(reply)) = each {
                (self.emit)(Event::TlsPolicyUnmet {
                    host: exchange.name.clone(),
                    policy: self.tls_level.to_string(),
                    reason: reply.text.clone(),
                    enforced: true,
                });
            }
        }
        Ok((exchanges, published))
    }

    pub(super) fn source_addresses(&self) -> &'a [IpAddr] {
        self.settings.map_or(&[], |own| &own.source_addresses)
    }
}

/// The host at the other end of a connection.
#[derive(Clone, Copy)]
pub(super) struct RemotePeer<'a> {
    pub(super) protocol: Protocol,
    /// Name in reports (RFC 3464 `Remote-MTA`) and in the TLS certificate.
    pub(super) host: &'a str,
    /// Credentials for this host; `None` connects without AUTH.
    pub(super) credentials: Option<&'a LoginCredentials>,
    /// True if the dialogue begins with the TLS handshake (RFC 8314 section 3.3).
    pub(super) implicit_tls: bool,
    pub(super) tls: &'a HostTls,
    /// Address of the connection; `None` before it and for a Unix socket.
    pub(super) address: Option<IpAddr>,
}

/// Leaves out the exchange of this name.
pub(super) fn without(mut exchanges: Vec<MailExchange>, excluded_host: Option<&str>) -> Vec<MailExchange> {
    exchanges.retain(|exchange| excluded_host != Some(&exchange.name));
    exchanges
}
