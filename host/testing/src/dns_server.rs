//! A DNS server on loopback with a zone in memory.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use hickory_resolver::proto::op::{Message, MessageType, ResponseCode};
use hickory_resolver::proto::rr::{Name, RData, Record, RecordType};
use hickory_resolver::proto::serialize::binary::BinDecodable as _;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, UdpSocket};

use host_config::DnsConfig;

/// Content of the zone for a name: records, or a failure.
#[derive(Clone)]
pub enum Has {
    /// Records of any type.
    Records(Vec<RData>),
    /// Records of any type in answers with the AD bit, as a validating resolver sets it.
    Secure(Vec<RData>),
    /// A reply with the response code SERVFAIL.
    Failure,
    /// A query without a reply.
    Silence,
}

/// Largest reply over UDP, in bytes. A larger reply is truncated, so that the resolver retries over TCP.
const MAX_DATAGRAM: usize = 1232;

/// A server that answers over UDP and TCP until dropped, and counts the queries over UDP.
pub struct Server {
    address: SocketAddr,
    datagrams: Arc<AtomicUsize>,
    task: tokio::task::JoinHandle<()>,
}

impl Server {
    /// Binds a port on loopback and serves `zone`. Names outside of the zone are answered NXDOMAIN.
    pub async fn start(zone: impl IntoIterator<Item = (&'static str, Has)>) -> Self {
        let zone = zone.into_iter().map(|(name, has)| (name.to_owned(), has));
        let zone: HashMap<String, Has> = zone.collect();
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a socket");
        let address = listener.local_addr().expect("an address");
        let socket = UdpSocket::bind(address).await.expect("the same port");
        let datagrams = Arc::new(AtomicUsize::new(0));
        let counter = Arc::clone(&datagrams);
        let task = tokio::spawn(async move {
            tokio::join!(
                answer_datagrams(socket, &zone, &counter),
                answer_streams(listener, &zone)
            );
        });
        Self {
            address,
            datagrams,
            task,
        }
    }

    /// Configuration of a resolver that queries only this server, with a timeout of a second.
    pub fn settings(&self) -> DnsConfig {
        DnsConfig {
            servers: vec![self.address],
            timeout: Duration::from_secs(1),
            cache_size: 100,
            ..DnsConfig::default()
        }
    }

    /// Number of queries received over UDP.
    pub fn asked(&self) -> usize {
        self.datagrams.load(Ordering::SeqCst)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn answer_datagrams(socket: UdpSocket, zone: &HashMap<String, Has>, counter: &AtomicUsize) {
    let mut buffer = vec![0; 4096];
    while let Ok((length, peer)) = socket.recv_from(&mut buffer).await {
        counter.fetch_add(1, Ordering::SeqCst);
        if let Some(mut message) = answer(&buffer[..length], zone) {
            if message.to_vec().is_ok_and(|bytes| bytes.len() > MAX_DATAGRAM) {
                message.answers.clear();
                message.metadata.truncation = true;
            }
            let _ = socket.send_to(&message.to_vec().expect("encodes"), peer).await;
        }
    }
}

/// Answers a single query on each connection.
async fn answer_streams(listener: TcpListener, zone: &HashMap<String, Has>) {
    while let Ok((mut stream, _)) = listener.accept().await {
        let Ok(length) = stream.read_u16().await else {
            continue;
        };
        let mut question = vec![0; usize::from(length)];
        if stream.read_exact(&mut question).await.is_ok()
            && let Some(message) = answer(&question, zone)
        {
            let bytes = message.to_vec().expect("encodes");
            let _ = stream.write_u16(u16::try_from(bytes.len()).expect("fits")).await;
            let _ = stream.write_all(&bytes).await;
        }
    }
}

fn answer(bytes: &[u8], zone: &HashMap<String, Has>) -> Option<Message> {
    let mut message = Message::from_bytes(bytes).ok()?;
    let query = message.queries.first()?.clone();
    let name = query.name().to_lowercase().to_ascii();
    message.metadata.message_type = MessageType::Response;
    message.metadata.recursion_available = true;
    message.metadata.authentic_data = false;
    message.edns = None;
    match zone.get(name.trim_end_matches('.')) {
        Some(Has::Silence) => return None,
        Some(Has::Failure) => message.metadata.response_code = ResponseCode::ServFail,
        Some(Has::Records(records) | Has::Secure(records)) => {
            message.metadata.authentic_data = matches!(zone.get(name.trim_end_matches('.')), Some(Has::Secure(_)));
            let matches_query =
                |data: &&RData| data.record_type() == query.query_type() || data.record_type() == RecordType::CNAME;
            let record = |data: &RData| Record::from_rdata(query.name().clone(), 300, data.clone());
            message.answers = records.iter().filter(matches_query).map(record).collect();
        }
        None => message.metadata.response_code = ResponseCode::NXDomain,
    }
    Some(message)
}

/// Creates a TXT record, split into strings of at most 255 bytes (RFC 1035 section 3.3).
pub fn txt(text: &str) -> RData {
    use hickory_resolver::proto::rr::rdata::TXT;
    let parts = text
        .as_bytes()
        .chunks(255)
        .map(|part| String::from_utf8_lossy(part).into_owned());
    RData::TXT(TXT::new(parts.collect()))
}

/// Parses a domain name, for records that contain a name.
pub fn name(text: &str) -> Name {
    Name::from_ascii(text).expect("a name")
}
