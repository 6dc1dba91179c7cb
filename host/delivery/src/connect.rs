//! Opening a connection to a remote: connect, banner, hello, STARTTLS.

use std::net::SocketAddr;
use std::time::Duration;

use rustls::pki_types::ServerName;
use tokio::net::{TcpStream, UnixStream, lookup_host};
use tokio::time::{Instant, timeout, timeout_at};

use host_config::ServerLogin;
use host_mail::{Endpoint, Reply};

use super::destination::{Protocol, Remote};
use super::outcome::{DialogueStep, RecipientOutcome};
use crate::authenticate::{Access, Logins, no_login};
use crate::client_tls::Tls;
use crate::client_wire::{ClientWire, WireError};
use crate::mail_exchanges::{Exchanges, MailExchange};

/// Addresses of one host that are tried.
const MAX_ADDRESSES: usize = 8;

/// How connections are made.
#[derive(Clone, Copy)]
pub(super) struct ConnectOptions<'a> {
    /// This host's name.
    pub(super) hostname: &'a str,
    pub(super) connect_timeout: Duration,
    /// For each reply; twice as long for the one after the final dot (RFC 5321 section 4.5.3.2.6).
    pub(super) reply_timeout: Duration,
    pub(super) verify_tls: bool,
    /// Who this host is there. Then the certificate must verify.
    pub(super) login: Option<&'a ServerLogin>,
    pub(super) logins: &'a Logins,
    pub(super) tls: &'a Tls,
    pub(super) exchanges: Exchanges<'a>,
    /// So long it may take until one of its addresses has greeted.
    pub(super) patience: Duration,
}

/// Who is spoken to.
#[derive(Clone, Copy)]
struct RemotePeer<'a> {
    protocol: Protocol,
    /// Its name in reports (RFC 3464 `Remote-MTA`), and in its certificate.
    host: &'a str,
    /// Who this host is there.
    access: Option<&'a Access>,
}

/// How long one of several ways is waited for.
#[derive(Clone, Copy)]
struct ConnectDeadline {
    /// Until it has greeted.
    until: Instant,
    /// Until it is ready for a message.
    ends: Instant,
}

/// What a remote offers (RFC 5321 section 4.1.1.1).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Offers {
    /// RFC 2920.
    pub(super) pipelining: bool,
    /// RFC 6152.
    pub(super) eight_bit: bool,
    /// RFC 6531.
    pub(super) utf8: bool,
    /// RFC 3207.
    pub(super) start_tls: bool,
    /// RFC 4954 with PLAIN (RFC 4616).
    pub(super) auth_plain: bool,
    /// The same with LOGIN.
    pub(super) auth_login: bool,
    /// RFC 1870; 0 is no limit.
    pub(super) size: Option<u64>,
}

impl Offers {
    /// From the reply to EHLO or LHLO: the first line is the remote's name.
    fn parse(reply: &Reply) -> Self {
        let mut offers = Self::default();
        for line in reply.text.split('\n').skip(1) {
            let mut words = line.split_ascii_whitespace();
            match words.next().unwrap_or_default().to_ascii_uppercase().as_str() {
                "PIPELINING" => offers.pipelining = true,
                "8BITMIME" => offers.eight_bit = true,
                "SMTPUTF8" => offers.utf8 = true,
                "STARTTLS" => offers.start_tls = true,
                "AUTH" => {
                    for mechanism in words {
                        offers.auth_plain |= mechanism.eq_ignore_ascii_case("PLAIN");
                        offers.auth_login |= mechanism.eq_ignore_ascii_case("LOGIN");
                    }
                }
                "SIZE" => offers.size = Some(words.next().and_then(|n| n.parse().ok()).unwrap_or(0)),
                _ => {}
            }
        }
        offers
    }
}

/// An open dialogue with a remote, ready for a transaction.
pub(super) struct Connection {
    wire: ClientWire,
    pub(super) protocol: Protocol,
    pub(super) offers: Offers,
    /// The remote's name in reports.
    pub(super) host: String,
    /// Transactions that were completed.
    pub(super) transactions: u32,
    /// The last transaction ended in a way after which another may begin.
    pub(super) reusable: bool,
    pub(super) reply_timeout: Duration,
    /// End of all patience with the current transaction.
    pub(super) deadline: Instant,
}

/// Why an address of a remote was not usable.
pub(super) enum Unusable {
    /// For the recipients.
    RecipientOutcome(RecipientOutcome),
    /// The handshake failed; without TLS it may work.
    Handshake(String),
    /// Name or password: at another address they would be no better.
    ServerLogin(RecipientOutcome),
}

impl From<WireError> for Unusable {
    fn from(error: WireError) -> Self {
        Self::RecipientOutcome(RecipientOutcome::Deferred(lost(&error.to_string())))
    }
}

/// The reply this host gives when a remote gave none.
pub(super) fn lost(why: &str) -> Reply {
    Reply::new(451, (4, 4, 2), why)
}

fn no_address(host: &str) -> RecipientOutcome {
    RecipientOutcome::Deferred(Reply::new(451, (4, 4, 3), format!("{host} has no address")))
}

fn unreachable(why: &str) -> Reply {
    Reply::new(451, (4, 4, 1), why)
}

impl Connection {
    /// Opens a connection to the first address of the remote that greets; to no exchange of this name. The outcome, else,
    /// holds for every recipient: the last address's, but while there is hope with one of them they have not failed.
    pub(super) async fn open(
        remote: &Remote,
        manner: ConnectOptions<'_>,
        not_to: Option<&str>,
    ) -> Result<Self, RecipientOutcome> {
        match remote {
            Remote::Server {
                protocol,
                endpoint: endpoint @ Endpoint::Unix(path),
            } => {
                let host = endpoint.host();
                let peer = RemotePeer {
                    protocol: *protocol,
                    host: &host,
                    access: None,
                };
                let ends = Instant::now() + manner.patience;
                let stream = connected(manner, ends, &remote.to_string(), UnixStream::connect(path)).await?;
                let patience = ConnectDeadline { until: ends, ends };
                let greeted = Self::greet(peer, ClientWire::new(stream), manner, patience, false).await;
                greeted.map_err(Unusable::outcome)
            }
            Remote::Server {
                protocol,
                endpoint: Endpoint::Tcp(host, port),
            } => {
                let access = match manner.login {
                    Some(login) => Some(manner.logins.access(login).await?),
                    None => None,
                };
                let peer = RemotePeer {
                    protocol: *protocol,
                    host,
                    access: access.as_ref(),
                };
                let addresses = addresses(host, *port, manner).await?;
                let ways = addresses.into_iter().map(|address| (peer, address)).collect();
                Self::open_first(ways, None, manner).await
            }
            Remote::Exchanges(domain) => {
                let mut exchanges = manner.exchanges.of(domain).await?;
                exchanges.retain(|exchange| not_to != Some(&exchange.name));
                let (ways, unusable) = ways(&exchanges);
                Self::open_first(ways, unusable, manner).await
            }
        }
    }

    /// The first of several ways to a remote. Each has half of the time that is left for all behind it to greet, but not less
    /// than for a connection, and the last one all of it: one that does not answer must not keep the next from being tried.
    async fn open_first(
        ways: Vec<(RemotePeer<'_>, SocketAddr)>,
        mut last: Option<RecipientOutcome>,
        manner: ConnectOptions<'_>,
    ) -> Result<Self, RecipientOutcome> {
        let host = ways.first().map_or_else(String::new, |(peer, _)| peer.host.to_owned());
        let ends = Instant::now() + manner.patience;
        let mut ways = ways.into_iter().peekable();
        while let Some((peer, address)) = ways.next() {
            let now = Instant::now();
            let share = ends.saturating_duration_since(now) / 2;
            let until = match ways.peek() {
                Some(_) => ends.min(now + share.max(manner.connect_timeout)),
                None => ends,
            };
            match Self::open_address(peer, address, manner, ConnectDeadline { until, ends }).await {
                Ok(connection) => return Ok(connection),
                Err(Unusable::ServerLogin(outcome)) => return Err(outcome),
                Err(refusal) => last = Some(refusal.outcome().unless_hopeful(last)),
            }
        }
        Err(last.unwrap_or_else(|| no_address(&host)))
    }

    async fn open_address(
        peer: RemotePeer<'_>,
        address: SocketAddr,
        manner: ConnectOptions<'_>,
        patience: ConnectDeadline,
    ) -> Result<Self, Unusable> {
        let dial = async || -> Result<ClientWire, Unusable> {
            let stream = connected(
                manner,
                patience.until,
                &address.to_string(),
                TcpStream::connect(address),
            )
            .await;
            let stream = stream.map_err(Unusable::RecipientOutcome)?;
            // Replies are short and waited for; there is nothing to gain by delaying a segment.
            let _ = stream.set_nodelay(true);
            Ok(ClientWire::new(stream))
        };
        match Self::greet(peer, dial().await?, manner, patience, true).await {
            Err(Unusable::Handshake(why)) if !manner.verify_tls => {
                tracing::debug!(host = peer.host, %address, why, "TLS failed, going on without");
                Self::greet(peer, dial().await?, manner, patience, false).await
            }
            other => other,
        }
    }

    /// From the banner to the state in which MAIL is possible.
    async fn greet(
        peer: RemotePeer<'_>,
        wire: ClientWire,
        manner: ConnectOptions<'_>,
        patience: ConnectDeadline,
        tls_allowed: bool,
    ) -> Result<Self, Unusable> {
        let mut connection = Self {
            wire,
            protocol: peer.protocol,
            offers: Offers::default(),
            host: peer.host.to_owned(),
            transactions: 0,
            reusable: false,
            reply_timeout: manner.reply_timeout,
            deadline: patience.until,
        };
        let banner = connection.reply().await?;
        connection.expect(banner, 220, DialogueStep::Greeting)?;
        // It lives.
        connection.deadline = patience.ends;
        connection.hello(manner.hostname).await?;
        let tls_offered = tls_allowed && connection.offers.start_tls;
        if tls_offered {
            connection = connection.upgrade(manner).await?;
        }
        match peer.access {
            Some(access) if tls_offered => connection.log_in(access).await?,
            Some(_) => return Err(Unusable::RecipientOutcome(no_login(peer.host, "no TLS is offered"))),
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

    /// STARTTLS, and hello again within TLS (RFC 3207).
    async fn upgrade(mut self, manner: ConnectOptions<'_>) -> Result<Self, Unusable> {
        let reply = self.ask("STARTTLS\r\n").await?;
        if reply.code != 220 {
            // Offered and refused: the session goes on in the clear, unless that is forbidden.
            return match manner.verify_tls {
                true => Err(tls_needed(&reply.to_string())),
                false if reply.code == 421 => Err(Unusable::RecipientOutcome(RecipientOutcome::Deferred(reply))),
                false => Ok(self),
            };
        }
        let failed = |why: String| match manner.verify_tls {
            true => tls_needed(&why),
            false => Unusable::Handshake(why),
        };
        let name = ServerName::try_from(self.host.clone()).map_err(|error| failed(error.to_string()))?;
        let handshake = self.wire.start_tls(manner.tls.connector(manner.verify_tls), name);
        let ends = self.deadline.min(Instant::now() + manner.connect_timeout);
        self.wire = match timeout_at(ends, handshake).await {
            Ok(Ok(wire)) => wire,
            Ok(Err(WireError::Injected)) => return Err(WireError::Injected.into()),
            Ok(Err(error)) => return Err(failed(error.to_string())),
            Err(_) => return Err(failed("timed out".to_owned())),
        };
        self.hello(manner.hostname).await?;
        Ok(self)
    }

    fn expect(&self, reply: Reply, code: u16, step: DialogueStep) -> Result<(), Unusable> {
        if reply.code == code {
            return Ok(());
        }
        Err(Unusable::RecipientOutcome(
            match RecipientOutcome::of_remote(reply, step, &self.host) {
                RecipientOutcome::Delivered { reply: odd, .. } => {
                    RecipientOutcome::Deferred(lost(&format!("unexpected reply: {odd}")))
                }
                other => other,
            },
        ))
    }

    /// Sends octets, within the time for a reply.
    pub(super) async fn send(&mut self, octets: &[u8]) -> Result<(), WireError> {
        let end = self.patience(self.reply_timeout);
        timeout_at(end, self.wire.send(octets)).await.map_err(|_| timed_out())?
    }

    /// The next reply, within the time for it.
    pub(super) async fn reply(&mut self) -> Result<Reply, WireError> {
        self.reply_within(self.reply_timeout).await
    }

    /// The next reply, within a time.
    pub(super) async fn reply_within(&mut self, time: Duration) -> Result<Reply, WireError> {
        let end = self.patience(time);
        timeout_at(end, self.wire.reply()).await.map_err(|_| timed_out())?
    }

    /// One command and its reply.
    pub(super) async fn ask(&mut self, command: &str) -> Result<Reply, WireError> {
        self.send(command.as_bytes()).await?;
        self.reply().await
    }

    /// Whether the connection is still there, as far as can be seen from here.
    pub(super) fn is_alive(&mut self) -> bool {
        self.wire.is_quiet()
    }

    /// Takes leave (RFC 5321 section 4.1.1.10); the answer matters to nobody.
    pub(super) async fn quit(mut self) {
        const PATIENCE: Duration = Duration::from_secs(1);
        self.deadline = Instant::now() + PATIENCE;
        if self.send(b"QUIT\r\n").await.is_ok() {
            let _ = self.reply_within(PATIENCE).await;
        }
    }

    fn patience(&self, time: Duration) -> Instant {
        self.deadline.min(Instant::now() + time)
    }
}

impl Unusable {
    fn outcome(self) -> RecipientOutcome {
        match self {
            Self::RecipientOutcome(outcome) | Self::ServerLogin(outcome) => outcome,
            Self::Handshake(why) => {
                RecipientOutcome::Deferred(Reply::new(454, (4, 7, 5), format!("TLS failed: {why}")))
            }
        }
    }
}

fn tls_needed(why: &str) -> Unusable {
    let text = format!("TLS with a valid certificate is required: {why}");
    Unusable::RecipientOutcome(RecipientOutcome::Deferred(Reply::new(454, (4, 7, 5), text)))
}

fn timed_out() -> WireError {
    WireError::Io(std::io::Error::new(std::io::ErrorKind::TimedOut, "timed out"))
}

/// The ways to a domain's exchanges, and what is to be said for those to which there is none.
fn ways(exchanges: &[MailExchange]) -> (Vec<(RemotePeer<'_>, SocketAddr)>, Option<RecipientOutcome>) {
    let (mut ways, mut unusable) = (Vec::new(), None);
    for exchange in exchanges {
        let peer = RemotePeer {
            protocol: Protocol::Smtp,
            host: &exchange.name,
            access: None,
        };
        match &exchange.addresses {
            Ok(addresses) => ways.extend(addresses.iter().map(|address| (peer, *address))),
            Err(outcome) => unusable = Some(outcome.clone().unless_hopeful(unusable)),
        }
    }
    (ways, unusable)
}

async fn connected<T>(
    manner: ConnectOptions<'_>,
    ends: Instant,
    to: &str,
    connecting: impl Future<Output = std::io::Result<T>>,
) -> Result<T, RecipientOutcome> {
    let failed = |why: String| RecipientOutcome::Deferred(unreachable(&format!("connecting to {to}: {why}")));
    match timeout_at(ends.min(Instant::now() + manner.connect_timeout), connecting).await {
        Ok(Ok(stream)) => Ok(stream),
        Ok(Err(error)) => Err(failed(error.to_string())),
        Err(_) => Err(failed("timed out".to_owned())),
    }
}

/// The system's resolver does not say whether a name does not exist or cannot be asked for now, so
/// both are for now.
async fn addresses(host: &str, port: u16, manner: ConnectOptions<'_>) -> Result<Vec<SocketAddr>, RecipientOutcome> {
    let failed =
        |why: String| RecipientOutcome::Deferred(Reply::new(451, (4, 4, 3), format!("looking {host} up: {why}")));
    match timeout(manner.connect_timeout, lookup_host((host, port))).await {
        Ok(Ok(found)) => Ok(found.take(MAX_ADDRESSES).collect()),
        Ok(Err(error)) => Err(failed(error.to_string())),
        Err(_) => Err(failed("timed out".to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn offers_are_read_whatever_their_case() {
        let text =
            "mx.example greets\nPIPELINING\n8bitmime\nSIZE 1000\nSMTPUTF8\nSTARTTLS\nAUTH X login Plain\nX-ODD a b\n";
        let offers = Offers::parse(&Reply::bare(250, text));
        let all = Offers {
            pipelining: true,
            eight_bit: true,
            utf8: true,
            start_tls: true,
            auth_plain: true,
            auth_login: true,
            size: Some(1000),
        };
        assert_eq!(offers, all);
        assert_eq!(Offers::parse(&Reply::bare(250, "PIPELINING")), Offers::default());
        assert_eq!(Offers::parse(&Reply::bare(250, "x\nSIZE")).size, Some(0));
        assert_eq!(Offers::parse(&Reply::bare(250, "x\nSIZE -1")).size, Some(0));
    }
}
