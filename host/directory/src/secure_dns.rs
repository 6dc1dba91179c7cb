//! DNS answers with their security status (RFC 4035 section 3.2.3): this host asks a validating resolver on loopback and
//! trusts its AD bit. An answer from elsewhere could be changed on its way and is never secure.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use futures_util::join;
use hickory_resolver::proto::op::{Edns, Message, MessageType, OpCode, Query, ResponseCode};
use hickory_resolver::proto::rr::{Name, RData, RecordType};
use hickory_resolver::proto::serialize::binary::BinDecodable as _;
use hickory_resolver::system_conf::read_system_conf;
use parking_lot::Mutex;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpStream, UdpSocket};
use tokio::time::{Instant, timeout};

use super::dns::{MAX_RECORDS, NoRecords, domain_name, text_of};
use host_config::DnsConfig;

/// Port of resolvers in `/etc/resolv.conf`.
const PORT: u16 = 53;
/// Largest answer over UDP, in bytes; larger ones come over TCP.
const MAX_DATAGRAM: u16 = 1232;
/// Longest time for which an answer is kept.
const MAX_TTL: Duration = Duration::from_secs(24 * 3600);
/// Longest time for which the answer is kept that there are no records.
const MAX_NEGATIVE_TTL: Duration = Duration::from_secs(900);
/// Wait before a resolver that did not validate is probed again.
const PROBE_AGAIN: Duration = Duration::from_secs(600);

/// Wait before a resolver that did not answer is probed again.
const ASK_AGAIN: Duration = Duration::from_secs(5);

/// Records of a name.
#[derive(Debug, Clone)]
pub struct SecureAnswer {
    /// Records of the type that was asked for; empty if there are none.
    pub records: Vec<RData>,
    /// Name that has the records, after all aliases (CNAME).
    pub canonical_name: String,
    /// True if the resolver has validated the whole answer, also that there are no records.
    pub is_secure: bool,
}

/// Addresses of a host.
#[derive(Debug, Clone)]
pub struct SecureAddresses {
    /// IPv4 addresses, followed by the IPv6 addresses.
    pub addresses: Vec<IpAddr>,
    /// Name that has the addresses, after all aliases (CNAME).
    pub canonical_name: String,
    /// True if the answers for both families are secure.
    pub is_secure: bool,
}

/// TLSA record (RFC 6698 section 2.1): fields as registered with IANA.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsaRecord {
    /// Certificate usage: 2 is DANE-TA, 3 is DANE-EE.
    pub usage: u8,
    /// Selector: 0 is the certificate, 1 its public key.
    pub selector: u8,
    /// Matching type: 0 is the data itself, 1 its SHA-256 digest, 2 its SHA-512 digest.
    pub matching: u8,
    /// Data or digest.
    pub data: Vec<u8>,
}

/// Result of the probe of the resolver.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Validation {
    /// The resolver did not answer: nothing is known.
    Unknown(String),
    /// The resolver validates.
    Working,
    /// The resolver does not validate, or none is on loopback, for this reason.
    Missing(String),
}

/// Name in lower case, and type.
type Question = (Name, RecordType);

/// An answer and the end of its time to live.
struct CachedAnswer {
    answer: Arc<SecureAnswer>,
    until: Instant,
}

/// A client of validating resolvers on loopback, with a cache.
pub struct SecureResolver {
    settings: DnsConfig,
    servers: tokio::sync::OnceCell<Vec<SocketAddr>>,
    cache: Mutex<HashMap<Question, CachedAnswer>>,
    /// Result of the last probe and its time. The lock is held during a probe.
    validation: tokio::sync::Mutex<Option<(Instant, Validation)>>,
}

impl SecureResolver {
    /// Returns the settings of this resolver.
    pub fn settings(&self) -> &DnsConfig {
        &self.settings
    }

    /// Creates a resolver, without I/O.
    pub fn new(settings: DnsConfig) -> Self {
        Self {
            settings,
            servers: tokio::sync::OnceCell::new(),
            cache: Mutex::default(),
            validation: tokio::sync::Mutex::default(),
        }
    }

    /// Returns whether the resolver validates: the records of `dns.dnssec-probe` must be secure. A resolver that has
    /// passed once is not probed again, one that did not validate every 10 minutes, and one that did not answer
    /// every 5 seconds.
    pub async fn validation(&self) -> Validation {
        let mut last = self.validation.lock().await;
        match &*last {
            Some((_, Validation::Working)) => return Validation::Working,
            Some((at, missing @ Validation::Missing(_))) if at.elapsed() < PROBE_AGAIN => return missing.clone(),
            Some((at, unknown @ Validation::Unknown(_))) if at.elapsed() < ASK_AGAIN => return unknown.clone(),
            _ => {}
        }
        let found = self.probe().await;
        *last = Some((Instant::now(), found.clone()));
        found
    }

    async fn probe(&self) -> Validation {
        let servers = self.servers().await;
        if servers.is_empty() {
            return Validation::Missing("no resolver is at a loopback address".to_owned());
        }
        let probe = &self.settings.dnssec_probe;
        let name = match probe.as_str() {
            "." => Ok(Name::root()),
            name => domain_name(name),
        };
        let answer = match name {
            Ok(name) => self.look_up(name, RecordType::SOA).await,
            Err(error) => Err(error),
        };
        match answer {
            Ok(answer) if answer.is_secure && !answer.records.is_empty() => Validation::Working,
            Ok(answer) if answer.records.is_empty() => Validation::Missing(format!("{probe} has no SOA record")),
            Ok(_) => Validation::Missing(format!("the records of {probe} come without the AD bit")),
            Err(why) => Validation::Unknown(why.to_string()),
        }
    }

    /// Returns the records of a name. An error is no answer: a time-out, or an answer other than NOERROR and NXDOMAIN,
    /// such as SERVFAIL for records that do not validate.
    pub async fn records(&self, name: &str, kind: RecordType) -> Result<Arc<SecureAnswer>, NoRecords> {
        self.look_up(domain_name(name)?, kind).await
    }

    /// Returns preference and name of the mail exchangers, most preferred first, and true if the answer is secure. The
    /// root, `.`, means that the domain accepts no mail (RFC 7505).
    pub async fn exchanges(&self, name: &str) -> Result<(Vec<(u16, String)>, bool), NoRecords> {
        let answer = self.records(name, RecordType::MX).await?;
        let pick = |data: &RData| match data {
            RData::MX(mx) => Some((mx.preference, text_of(&mx.exchange))),
            _ => None,
        };
        let mut found: Vec<_> = answer.records.iter().filter_map(pick).collect();
        found.sort();
        Ok((found, answer.is_secure))
    }

    /// Returns the addresses of a name. Unlike [`super::dns::Resolver::addresses`] an error for either family is an
    /// error, since the answer would not tell whether the addresses are secure.
    pub async fn addresses(&self, name: &str) -> Result<SecureAddresses, NoRecords> {
        let (four, six) = join!(self.records(name, RecordType::A), self.records(name, RecordType::AAAA));
        let (four, six) = (four?, six?);
        let pick = |data: &RData| match data {
            RData::A(address) => Some(IpAddr::V4(address.0)),
            RData::AAAA(address) => Some(IpAddr::V6(address.0)),
            _ => None,
        };
        let all = four.records.iter().chain(&six.records).filter_map(pick);
        Ok(SecureAddresses {
            addresses: all.take(MAX_RECORDS).collect(),
            canonical_name: four.canonical_name.clone(),
            is_secure: four.is_secure && six.is_secure,
        })
    }

    /// Returns the TLSA records of a name; insecure ones count as none (RFC 7672 section 2.1).
    pub async fn tlsa(&self, name: &str) -> Result<Vec<TlsaRecord>, NoRecords> {
        let answer = self.records(name, RecordType::TLSA).await?;
        let pick = |data: &RData| match data {
            RData::TLSA(record) => Some(TlsaRecord {
                usage: record.cert_usage.into(),
                selector: record.selector.into(),
                matching: record.matching.into(),
                data: record.cert_data.clone(),
            }),
            _ => None,
        };
        let secure = answer.records.iter().filter(|_| answer.is_secure);
        Ok(secure.filter_map(pick).collect())
    }

    async fn servers(&self) -> &[SocketAddr] {
        let read = || async {
            let mut servers = self.settings.servers.clone();
            if servers.is_empty() {
                // Reading the system's configuration blocks.
                let system = tokio::task::spawn_blocking(read_system_conf).await;
                let config = system.ok().and_then(Result::ok).map(|(config, _)| config);
                let found = config.iter().flat_map(|config| config.name_servers());
                servers = found.map(|server| SocketAddr::new(server.ip, PORT)).collect();
            }
            servers.retain(|server| server.ip().to_canonical().is_loopback());
            servers
        };
        self.servers.get_or_init(read).await
    }

    async fn look_up(&self, name: Name, kind: RecordType) -> Result<Arc<SecureAnswer>, NoRecords> {
        let key = (name.to_lowercase(), kind);
        let now = Instant::now();
        if let Some(cached) = self.cache.lock().get(&key)
            && now < cached.until
        {
            return Ok(Arc::clone(&cached.answer));
        }
        let unavailable = |why: &str| NoRecords::Unavailable(format!("{name} {kind}: {why}"));
        let mut last = unavailable("no resolver is at a loopback address");
        let servers = self.servers().await;
        let share = self.settings.timeout / u32::try_from(servers.len().max(1)).unwrap_or(1);
        for server in servers {
            match timeout(share, exchange(*server, &name, kind)).await {
                Ok(Ok(reply)) => match reply.metadata.response_code {
                    ResponseCode::NoError | ResponseCode::NXDomain => {
                        let (answer, ttl) = answer_of(&reply, &name, kind);
                        let answer = Arc::new(answer);
                        self.keep(key, Arc::clone(&answer), now + ttl);
                        return Ok(answer);
                    }
                    code => last = unavailable(&code.to_string()),
                },
                Ok(Err(error)) => last = unavailable(&error.to_string()),
                Err(_) => last = unavailable("no answer in time"),
            }
        }
        Err(last)
    }

    fn keep(&self, key: Question, answer: Arc<SecureAnswer>, until: Instant) {
        let most = usize::try_from(self.settings.cache_size).unwrap_or(usize::MAX);
        let mut cache = self.cache.lock();
        if cache.len() >= most {
            let now = Instant::now();
            cache.retain(|_, cached| now < cached.until);
            if cache.len() >= most {
                cache.clear();
            }
        }
        if most > 0 {
            cache.insert(key, CachedAnswer { answer, until });
        }
    }
}

/// Asks a server over UDP, and over TCP if the answer is truncated.
async fn exchange(server: SocketAddr, name: &Name, kind: RecordType) -> std::io::Result<Message> {
    let id: u16 = rand::random();
    let mut query = Message::new(id, MessageType::Query, OpCode::Query);
    query.metadata.recursion_desired = true;
    // AD in a query asks for AD in the reply (RFC 6840 section 5.7); DO permits the records that validation adds.
    query.metadata.authentic_data = true;
    query.add_query(Query::query(name.clone(), kind));
    let mut edns = Edns::new();
    edns.set_max_payload(MAX_DATAGRAM).set_dnssec_ok(true);
    query.set_edns(edns);
    let octets = query.to_vec().map_err(std::io::Error::other)?;
    let is_reply = |reply: &Message| {
        let question = reply.queries.first();
        reply.metadata.id == id
            && reply.metadata.message_type == MessageType::Response
            && question.is_some_and(|asked| asked.query_type() == kind && asked.name() == name)
    };
    let local: IpAddr = match server.ip() {
        IpAddr::V4(_) => std::net::Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(_) => std::net::Ipv6Addr::LOCALHOST.into(),
    };
    let socket = UdpSocket::bind((local, 0)).await?;
    socket.connect(server).await?;
    socket.send(&octets).await?;
    let mut buffer = vec![0; usize::from(MAX_DATAGRAM)];
    let reply = loop {
        let length = socket.recv(&mut buffer).await?;
        match Message::from_bytes(&buffer[..length]) {
            Ok(reply) if is_reply(&reply) => break reply,
            _ => {}
        }
    };
    if !reply.metadata.truncation {
        return Ok(reply);
    }
    let mut stream = TcpStream::connect(server).await?;
    let length = u16::try_from(octets.len()).map_err(std::io::Error::other)?;
    stream.write_all(&[&length.to_be_bytes()[..], &octets].concat()).await?;
    let length = stream.read_u16().await?;
    let mut buffer = vec![0; usize::from(length)];
    stream.read_exact(&mut buffer).await?;
    let reply = Message::from_bytes(&buffer).map_err(std::io::Error::other)?;
    match is_reply(&reply) {
        true => Ok(reply),
        false => Err(std::io::Error::other("the reply is to another question")),
    }
}

/// Returns the answer in a reply and the time for which it may be kept.
fn answer_of(reply: &Message, name: &Name, kind: RecordType) -> (SecureAnswer, Duration) {
    let mut canonical = name.clone();
    // A chain of aliases is as long as the reply at most.
    for _ in &reply.answers {
        let next = reply.answers.iter().find_map(|record| match &record.data {
            RData::CNAME(target) if record.name == canonical => Some(target.0.clone()),
            _ => None,
        });
        match next {
            Some(next) => canonical = next,
            None => break,
        }
    }
    let of_name = reply.answers.iter().filter(|record| record.name == canonical);
    let records: Vec<RData> = of_name
        .filter(|record| record.data.record_type() == kind)
        .map(|record| record.data.clone())
        .take(MAX_RECORDS)
        .collect();
    let ttl = if records.is_empty() {
        let negative = reply.authorities.iter().filter_map(|record| match &record.data {
            RData::SOA(soa) => Some(record.ttl.min(soa.minimum)),
            _ => None,
        });
        Duration::from_secs(negative.min().unwrap_or(0).into()).min(MAX_NEGATIVE_TTL)
    } else {
        let least = reply.answers.iter().map(|record| record.ttl).min();
        Duration::from_secs(least.unwrap_or(0).into()).min(MAX_TTL)
    };
    let answer = SecureAnswer {
        records,
        canonical_name: text_of(&canonical),
        is_secure: reply.metadata.authentic_data,
    };
    (answer, ttl)
}

#[cfg(test)]
mod tests;
