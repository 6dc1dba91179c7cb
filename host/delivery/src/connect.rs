//! Opening a connection to a remote: connect, banner, hello, STARTTLS, login.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use rustls::pki_types::ServerName;
use tokio::net::{TcpSocket, TcpStream, UnixStream, lookup_host};
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout, timeout_at};

use host_config::TlsLevel;
use host_mail::{Endpoint, Reply};

use super::destination::{Protocol, Remote};
use super::outcome::{DialogueStep, RecipientOutcome};
use crate::authenticate::login_deferral;
use crate::client_connection::{Connection, Offers, Unusable, bad_connection};
use crate::client_tls::{HostTls, PublishedPolicy};
use crate::client_wire::{ClientWire, WireError};
use crate::connect_options::{ConnectOptions, RemotePeer, without};
use crate::exchange_tls::ExchangeTls;
use crate::mail_exchanges::MailExchange;
use crate::tls_outcome::{count_success, emit_fallback, emit_unmet, result_of, tls_required};
use crate::tls_report_counts::ResultType;

/// Maximum number of addresses of a configured server that are tried.
const MAX_ADDRESSES: usize = 8;

/// Port at which servers begin with the TLS handshake (RFC 8314 section 7.3).
const IMPLICIT_TLS_PORT: u16 = 465;

/// Lookups with the resolver of the system at the same time, a part of the runtime's threads for blocking work.
static LOOKUPS: Semaphore = Semaphore::const_new(128);

/// Time limits for an address of a remote.
#[derive(Clone, Copy)]
struct ConnectDeadline {
    /// Time by which the remote must have greeted.
    greeted: Instant,
    /// Time by which the remote must be ready for a message.
    ready: Instant,
}

fn no_address(host: &str) -> RecipientOutcome {
    RecipientOutcome::Deferred(Reply::new(451, (4, 4, 3), format!("{host} has no address")))
}

fn unreachable(why: &str) -> Reply {
    Reply::new(451, (4, 4, 1), why)
}

impl Connection {
    /// Opens a connection to the first address of the remote that greets, leaving out the exchange named
    /// `excluded_host`.
    ///
    /// An error is the outcome for every recipient: the outcome of the last address that was tried, except that a
    /// deferral at any address takes precedence over permanent failures.
    pub(super) async fn open(
        remote: &Remote,
        options: ConnectOptions<'_>,
        excluded_host: Option<&str>,
    ) -> Result<Self, RecipientOutcome> {
        let tls = options.host_tls().await?;
        match remote.unnamed() {
            Remote::Server {
                protocol,
                endpoint: endpoint @ Endpoint::Unix(path),
            } => {
                let host = endpoint.host();
                let peer = RemotePeer {
                    protocol: *protocol,
                    host: &host,
                    credentials: None,
                    implicit_tls: false,
                    tls: &tls,
                    address: None,
                };
                let end = Instant::now() + options.open_timeout;
                let stream = connect_within(options, end, &remote.to_string(), UnixStream::connect(path)).await?;
                let deadline = ConnectDeadline {
                    greeted: end,
                    ready: end,
                };
                let greeted = Self::greet(peer, ClientWire::new(stream), options, deadline, TlsLevel::None).await;
                greeted.map_err(Unusable::outcome)
            }
            Remote::Server {
                protocol,
                endpoint: Endpoint::Tcp(host, port),
            } => {
                let credentials = match options.login {
                    Some(login) => Some(options.logins.credentials(login).await?),
                    None => None,
                };
                let by_port = *protocol == Protocol::Smtp && *port == IMPLICIT_TLS_PORT;
                let peer = RemotePeer {
                    protocol: *protocol,
                    host,
                    credentials: credentials.as_ref(),
                    implicit_tls: options.settings.and_then(|own| own.implicit_tls).unwrap_or(by_port),
                    tls: &tls,
                    address: None,
                };
                let addresses = resolve_addresses(host, *port, options).await?;
                let candidates = addresses.into_iter().map(|address| (peer, address)).collect();
                Self::open_first(candidates, None, options).await
            }
            Remote::Exchanges(domain) => {
                let level = options.tls_level;
                let (exchanges, published) = match level.asks_dane() || level.asks_mta_sts() {
                    true => Box::pin(options.published(domain, &tls, excluded_host)).await?,
                    false => {
                        let found = options.exchanges.look_up(domain).await?;
                        (without(found, excluded_host), Vec::new())
                    }
                };
                let (candidates, unusable) = exchange_candidates(&exchanges, &published, &tls);
                Self::open_first(candidates, unusable, options).await
            }
            // A name stands for a server or exchanges.
            Remote::Named(..) => Err(no_address(&remote.host())),
        }
    }

    /// Connects to the first candidate address that is usable. `last` is the outcome so far, of exchanges without an
    /// address.
    ///
    /// Each candidate has half of the remaining time to greet, but at least the connect timeout, so that an address
    /// that does not answer leaves time for the next; the last candidate has all of the remaining time.
    async fn open_first(
        candidates: Vec<(RemotePeer<'_>, SocketAddr)>,
        mut last: Option<RecipientOutcome>,
        options: ConnectOptions<'_>,
    ) -> Result<Self, RecipientOutcome> {
        let host = candidates
            .first()
            .map_or_else(String::new, |(peer, _)| peer.host.to_owned());
        let ready = Instant::now() + options.open_timeout;
        let mut candidates = candidates.into_iter().peekable();
        while let Some((peer, address)) = candidates.next() {
            let now = Instant::now();
            let share = ready.saturating_duration_since(now) / 2;
            let greeted = match candidates.peek() {
                Some(_) => ready.min(now + share.max(options.connect_timeout)),
                None => ready,
            };
            match Self::open_address(peer, address, options, ConnectDeadline { greeted, ready }).await {
                Ok(connection) => return Ok(connection),
                Err(Unusable::LoginRefused(outcome)) => return Err(outcome),
                Err(refusal) => last = Some(refusal.outcome().prefer_deferral(last)),
            }
        }
        Err(last.unwrap_or_else(|| no_address(&host)))
    }

    /// Connects to `address`. If TLS is opportunistic and the handshake fails, connects again without TLS.
    async fn open_address(
        peer: RemotePeer<'_>,
        address: SocketAddr,
        options: ConnectOptions<'_>,
        deadline: ConnectDeadline,
    ) -> Result<Self, Unusable> {
        let peer = RemotePeer {
            address: Some(address.ip()),
            ..peer
        };
        let dial = async || -> Result<ClientWire, Unusable> {
            let connecting = connect_from(options.source_addresses(), address);
            let stream = connect_within(options, deadline.greeted, &address.to_string(), connecting).await;
            let stream = stream.map_err(Unusable::AddressFailed)?;
            // Commands are short and followed by a wait for the reply, so a delayed segment gains nothing.
            let _ = stream.set_nodelay(true);
            Ok(ClientWire::new(stream))
        };
        match Self::greet(peer, dial().await?, options, deadline, peer.tls.level).await {
            Err(Unusable::Handshake(reason)) if peer.tls.level == TlsLevel::May && !peer.implicit_tls => {
                emit_fallback(options, peer.host, reason);
                Self::greet(peer, dial().await?, options, deadline, TlsLevel::None).await
            }
            other => other,
        }
    }

    /// Runs the dialogue from the banner to the state in which MAIL is possible.
    async fn greet(
        peer: RemotePeer<'_>,
        wire: ClientWire,
        options: ConnectOptions<'_>,
        deadline: ConnectDeadline,
        tls_level: TlsLevel,
    ) -> Result<Self, Unusable> {
        let mut connection = Self {
            wire,
            protocol: peer.protocol,
            offers: Offers::default(),
            host: peer.host.to_owned(),
            transactions: 0,
            reusable: false,
            needs_reset: false,
            tls: None,
            activity: options.activity.clone(),
            reply_timeout: options.reply_timeout,
            deadline: deadline.greeted,
        };
        if peer.implicit_tls {
            connection = connection.handshake(options, peer).await?;
        }
        let banner = connection.reply().await?;
        connection.expect(banner, 220, DialogueStep::Greeting)?;
        connection.deadline = deadline.ready;
        connection.hello(options.hostname).await?;
        if peer.implicit_tls {
            // TLS is there already.
        } else if tls_level > TlsLevel::None && connection.offers.start_tls {
            connection = connection.upgrade(options, peer).await?;
        } else if peer.credentials.is_some() {
            // The login below says so.
        } else if tls_level >= TlsLevel::Encrypt {
            return Err(tls_required(
                options,
                peer,
                ResultType::StarttlsNotSupported,
                "STARTTLS is not offered",
            ));
        } else if !connection.offers.start_tls {
            emit_unmet(
                options,
                peer,
                ResultType::StarttlsNotSupported,
                "STARTTLS is not offered",
            );
        }
        match peer.credentials {
            Some(credentials) if connection.tls.is_some() => connection.log_in(credentials).await?,
            Some(_) => {
                return Err(Unusable::AddressFailed(login_deferral(peer.host, "no TLS is offered")));
            }
            None => {}
        }
        Ok(connection)
    }

    async fn hello(&mut self, hostname: &str) -> Result<(), Unusable> {
        let verb = match self.protocol {
            Protocol::Smtp => "EHLO",
            Protocol::Lmtp => "LHLO",
        };
        let reply = self.ask(&format!("{verb} {hostname}\r\n")).await?;
        if reply.code == 250 {
            self.offers = Offers::parse(&reply);
            return Ok(());
        }
        // RFC 5321 section 3.2: a host that does not know EHLO may know HELO.
        if self.protocol == Protocol::Smtp && reply.is_permanent() {
            let reply = self.ask(&format!("HELO {hostname}\r\n")).await?;
            self.offers = Offers::default();
            return self.expect(reply, 250, DialogueStep::Hello);
        }
        self.expect(reply, 250, DialogueStep::Hello)
    }

    /// Sends STARTTLS, runs the handshake, and repeats the hello within TLS (RFC 3207).
    async fn upgrade(mut self, options: ConnectOptions<'_>, peer: RemotePeer<'_>) -> Result<Self, Unusable> {
        let reply = self.ask("STARTTLS\r\n").await?;
        if reply.code != 220 {
            let not_supported = ResultType::StarttlsNotSupported;
            // STARTTLS was offered and then refused: the mail goes in the clear unless TLS is required.
            return match peer.tls.level {
                level if level >= TlsLevel::Encrypt => {
                    Err(tls_required(options, peer, not_supported, &reply.to_string()))
                }
                _ if reply.code == 421 => Err(Unusable::AddressFailed(RecipientOutcome::Deferred(reply))),
                _ => {
                    let reason = format!("STARTTLS was refused: {reply}");
                    emit_unmet(options, peer, not_supported, &reason);
                    emit_fallback(options, &self.host, reason);
                    Ok(self)
                }
            };
        }
        self = self.handshake(options, peer).await?;
        self.hello(options.hostname).await?;
        Ok(self)
    }

    /// Runs the handshake.
    async fn handshake(mut self, options: ConnectOptions<'_>, peer: RemotePeer<'_>) -> Result<Self, Unusable> {
        let tls = peer.tls;
        let failed = |result: ResultType, why: String| match tls.level {
            level if level >= TlsLevel::Encrypt => tls_required(options, peer, result, &why),
            _ => {
                emit_unmet(options, peer, result, &why);
                Unusable::Handshake(why)
            }
        };
        let other = ResultType::ValidationFailure;
        let name = ServerName::try_from(self.host.clone()).map_err(|error| failed(other, error.to_string()))?;
        let connector = options
            .tls
            .connector(tls)
            .map_err(|error| failed(other, error.to_string()))?;
        let handshake = self.wire.start_tls(&connector, name.clone());
        let end = self.deadline.min(Instant::now() + options.connect_timeout);
        self.wire = match timeout_at(end, handshake).await {
            Ok(Ok((wire, session))) => {
                let facts = options.tls.facts(&session, &name, tls);
                match tls.policy {
                    Some(PublishedPolicy::MtaStsTesting { is_named: false }) => {
                        emit_unmet(options, peer, other, "the policy does not name the host");
                    }
                    Some(PublishedPolicy::MtaStsTesting { .. }) if !facts.is_verified => {
                        emit_unmet(
                            options,
                            peer,
                            ResultType::CertificateNotTrusted,
                            "the certificate does not verify",
                        );
                    }
                    _ => count_success(options, peer),
                }
                self.tls = Some(Arc::new(facts));
                wire
            }
            Ok(Err(WireError::Injected)) => return Err(WireError::Injected.into()),
            Ok(Err(error)) => return Err(failed(result_of(&error), error.to_string())),
            Err(_) => return Err(failed(other, "timed out".to_owned())),
        };
        self.activity.touch();
        Ok(self)
    }

    fn expect(&self, reply: Reply, code: u16, step: DialogueStep) -> Result<(), Unusable> {
        if reply.code == code {
            return Ok(());
        }
        Err(Unusable::AddressFailed(
            match RecipientOutcome::from_reply(reply, step, &self.host) {
                RecipientOutcome::Delivered { reply: odd, .. } => {
                    RecipientOutcome::Deferred(bad_connection(&format!("unexpected reply: {odd}")))
                }
                other => other,
            },
        ))
    }
}

/// Returns the addresses of a domain's exchanges, and the outcome of exchanges without a usable address. `published` has
/// the requirements of each exchange; without an entry those of `plain` count.
fn exchange_candidates<'a>(
    exchanges: &'a [MailExchange],
    published: &'a [ExchangeTls],
    plain: &'a HostTls,
) -> (Vec<(RemotePeer<'a>, SocketAddr)>, Option<RecipientOutcome>) {
    let (mut candidates, mut unusable) = (Vec::new(), None);
    for (index, exchange) in exchanges.iter().enumerate() {
        let usable = match published.get(index) {
            Some(Err(outcome)) => Err(outcome),
            Some(Ok(tls)) => exchange.addresses.as_ref().map(|addresses| (addresses, tls)),
            None => exchange.addresses.as_ref().map(|addresses| (addresses, plain)),
        };
        match usable {
            Ok((addresses, tls)) => {
                let peer = RemotePeer {
                    protocol: Protocol::Smtp,
                    host: &exchange.name,
                    credentials: None,
                    implicit_tls: false,
                    tls,
                    address: None,
                };
                candidates.extend(addresses.iter().map(|address| (peer, *address)));
            }
            Err(outcome) => unusable = Some(outcome.clone().prefer_deferral(unusable)),
        }
    }
    (candidates, unusable)
}

/// Connects from the source address of the same family; without source addresses the system chooses.
async fn connect_from(sources: &[IpAddr], to: SocketAddr) -> std::io::Result<TcpStream> {
    if sources.is_empty() {
        return TcpStream::connect(to).await;
    }
    let Some(source) = sources.iter().find(|source| source.is_ipv4() == to.is_ipv4()) else {
        return Err(std::io::Error::other("there is no source address of this family"));
    };
    let socket = if to.is_ipv4() {
        TcpSocket::new_v4()?
    } else {
        TcpSocket::new_v6()?
    };
    socket.bind(SocketAddr::new(*source, 0))?;
    socket.connect(to).await
}

/// Awaits `connecting` for the connect timeout, but not beyond `end`.
async fn connect_within<T>(
    options: ConnectOptions<'_>,
    end: Instant,
    to: &str,
    connecting: impl Future<Output = std::io::Result<T>>,
) -> Result<T, RecipientOutcome> {
    let failed = |why: String| RecipientOutcome::Deferred(unreachable(&format!("connecting to {to}: {why}")));
    match timeout_at(end.min(Instant::now() + options.connect_timeout), connecting).await {
        Ok(Ok(stream)) => Ok(stream),
        Ok(Err(error)) => Err(failed(error.to_string())),
        Err(_) => Err(failed("timed out".to_owned())),
    }
}

/// Looks a host up with the resolver of the system. The resolver does not tell a name that does not exist from a failed
/// lookup, so both are deferred. A lookup blocks a thread until the resolver gives up, also beyond the connect timeout:
/// the number of lookups is bounded, so that threads remain for mailboxes.
async fn resolve_addresses(
    host: &str,
    port: u16,
    options: ConnectOptions<'_>,
) -> Result<Vec<SocketAddr>, RecipientOutcome> {
    if let Ok(address) = host.parse::<IpAddr>() {
        return Ok(vec![SocketAddr::new(address, port)]);
    }
    let failed =
        |why: String| RecipientOutcome::Deferred(Reply::new(451, (4, 4, 3), format!("looking {host} up: {why}")));
    let name = host.to_owned();
    let lookup = async move {
        let permit = LOOKUPS.acquire().await.map_err(std::io::Error::other)?;
        let lookup = tokio::spawn(async move {
            let _permit = permit;
            let found = lookup_host((name.as_str(), port)).await?;
            std::io::Result::Ok(found.take(MAX_ADDRESSES).collect::<Vec<_>>())
        });
        lookup.await.map_err(std::io::Error::other)?
    };
    match timeout(options.connect_timeout, lookup).await {
        Ok(Ok(found)) => Ok(found),
        Ok(Err(error)) => Err(failed(error.to_string())),
        Err(_) => Err(failed("timed out".to_owned())),
    }
}
