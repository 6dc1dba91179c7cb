//! A DNS server on loopback with a zone of its own.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use hickory_resolver::proto::op::{Message, MessageType, ResponseCode};
use hickory_resolver::proto::rr::{Name, RData, Record, RecordType};
use hickory_resolver::proto::serialize::binary::BinDecodable as _;
use tokio::net::UdpSocket;

use crate::config::Dns;

/// What a name has: records, or a way to fail.
#[derive(Clone)]
pub(crate) enum Has {
    Records(Vec<RData>),
    Failure,
    Silence,
}

/// A server that answers until it is dropped, and counts what it was asked.
pub(crate) struct Server {
    address: SocketAddr,
    asked: Arc<AtomicUsize>,
    task: tokio::task::JoinHandle<()>,
}

impl Server {
    pub(crate) async fn start(zone: impl IntoIterator<Item = (&'static str, Has)>) -> Self {
        let zone = zone.into_iter().map(|(name, has)| (name.to_owned(), has)).collect();
        let socket = UdpSocket::bind("127.0.0.1:0").await.expect("a socket");
        let address = socket.local_addr().expect("an address");
        let asked = Arc::new(AtomicUsize::new(0));
        let task = tokio::spawn(answer_all(socket, zone, Arc::clone(&asked)));
        Self { address, asked, task }
    }

    pub(crate) fn settings(&self) -> Dns {
        Dns {
            servers: vec![self.address],
            timeout: Duration::from_secs(1),
            cache_size: 100,
        }
    }

    pub(crate) fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn answer_all(socket: UdpSocket, zone: HashMap<String, Has>, asked: Arc<AtomicUsize>) {
    let mut buffer = vec![0; 4096];
    while let Ok((length, peer)) = socket.recv_from(&mut buffer).await {
        asked.fetch_add(1, Ordering::SeqCst);
        if let Some(answer) = answer(&buffer[..length], &zone) {
            let _ = socket.send_to(&answer, peer).await;
        }
    }
}

fn answer(bytes: &[u8], zone: &HashMap<String, Has>) -> Option<Vec<u8>> {
    let mut message = Message::from_bytes(bytes).ok()?;
    let query = message.queries.first()?.clone();
    let name = query.name().to_lowercase().to_ascii();
    message.metadata.message_type = MessageType::Response;
    message.metadata.recursion_available = true;
    message.edns = None;
    match zone.get(name.trim_end_matches('.')) {
        Some(Has::Silence) => return None,
        Some(Has::Failure) => message.metadata.response_code = ResponseCode::ServFail,
        Some(Has::Records(records)) => {
            let wanted =
                |data: &&RData| data.record_type() == query.query_type() || data.record_type() == RecordType::CNAME;
            let record = |data: &RData| Record::from_rdata(query.name().clone(), 300, data.clone());
            message.answers = records.iter().filter(wanted).map(record).collect();
        }
        None => message.metadata.response_code = ResponseCode::NXDomain,
    }
    message.to_vec().ok()
}

/// A TXT record, in strings of at most 255 bytes.
pub(crate) fn txt(text: &str) -> RData {
    use hickory_resolver::proto::rr::rdata::TXT;
    let parts = text
        .as_bytes()
        .chunks(255)
        .map(|part| String::from_utf8_lossy(part).into_owned());
    RData::TXT(TXT::new(parts.collect()))
}

/// A name for records that hold one.
pub(crate) fn name(text: &str) -> Name {
    Name::from_ascii(text).expect("a name")
}
