//! A DNS server with a fixed zone, which may claim that answers are validated.

use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::thread;

use hickory_resolver::proto::op::{Message, MessageType, ResponseCode};
use hickory_resolver::proto::rr::rdata::{A, MX, SOA, TLSA, TXT};
use hickory_resolver::proto::rr::{Name, RData, Record, RecordType};
use hickory_resolver::proto::serialize::binary::BinDecodable as _;
use parking_lot::Mutex;

/// Records by name; the records of all names make the zone.
pub type Zone = Vec<(&'static str, RData)>;

/// Answer to a question about a name and a type.
#[derive(Debug, Clone, PartialEq)]
pub enum DnsAnswer {
    /// Records, without the AD bit.
    Insecure(Vec<RData>),
    /// Records with the AD bit, as a validating resolver answers.
    Secure(Vec<RData>),
    /// SERVFAIL, as a validating resolver answers for records that do not validate.
    Failure,
    /// A question without a reply.
    Silence,
}

/// A DNS server on loopback, which runs until the end of the test process. Other types of a known name have no records,
/// with the AD bit if any answer of the name has it; other names are answered with NXDOMAIN.
#[derive(Clone)]
pub struct DnsServer {
    address: SocketAddr,
    answers: Arc<Mutex<Vec<(String, RecordType, DnsAnswer)>>>,
}

impl Default for DnsServer {
    fn default() -> Self {
        Self::new()
    }
}

impl DnsServer {
    /// Starts a server without records.
    ///
    /// # Panics
    /// If no port is free.
    pub fn new() -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").expect("a port");
        let server = Self {
            address: socket.local_addr().expect("an address"),
            answers: Arc::default(),
        };
        let answers = Arc::clone(&server.answers);
        thread::spawn(move || {
            let mut buffer = [0; 1500];
            while let Ok((length, peer)) = socket.recv_from(&mut buffer) {
                if let Some(answer) = answer(&buffer[..length], &answers.lock()) {
                    let _ = socket.send_to(&answer, peer);
                }
            }
        });
        server
    }

    /// Returns the address.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Sets the answer to questions about a name and a type.
    pub fn set(&self, name: &str, kind: RecordType, answer: DnsAnswer) {
        let mut answers = self.answers.lock();
        answers.retain(|(other, type_, _)| (other.as_str(), *type_) != (name, kind));
        answers.push((name.to_owned(), kind, answer));
    }
}

/// Starts a DNS server on loopback, which runs until the end of the test process, and returns the address. Names
/// outside the zone are answered with NXDOMAIN.
///
/// # Panics
/// If no port is free.
pub fn dns(zone: Zone) -> SocketAddr {
    let server = DnsServer::new();
    for (name, data) in &zone {
        let of_type = |(other, record): &&(&str, RData)| other == name && record.record_type() == data.record_type();
        let records = zone.iter().filter(of_type).map(|(_, record)| record.clone());
        server.set(name, data.record_type(), DnsAnswer::Insecure(records.collect()));
    }
    server.address()
}

/// Returns an A record.
pub fn address(address: [u8; 4]) -> RData {
    RData::A(A(Ipv4Addr::from(address)))
}

/// Returns an MX record.
///
/// # Panics
/// If `host` is not a domain name.
pub fn exchange(preference: u16, host: &str) -> RData {
    RData::MX(MX::new(preference, full_name(host)))
}

/// Returns a TXT record of strings of at most 255 octets.
pub fn text_record(text: &str) -> RData {
    let strings = text
        .as_bytes()
        .chunks(255)
        .map(|part| String::from_utf8_lossy(part).into_owned());
    RData::TXT(TXT::new(strings.collect()))
}

/// Returns a TLSA record (RFC 6698).
pub fn tlsa(usage: u8, selector: u8, matching: u8, data: Vec<u8>) -> RData {
    RData::TLSA(TLSA::new(usage.into(), selector.into(), matching.into(), data))
}

/// Returns a SOA record of a zone.
///
/// # Panics
/// If `zone` is not a domain name.
pub fn soa(zone: &str) -> RData {
    let name = full_name(zone);
    RData::SOA(SOA::new(name.clone(), name, 1, 3600, 600, 86400, 60))
}

fn full_name(text: &str) -> Name {
    let mut name = Name::from_ascii(text).expect("a name");
    name.set_fqdn(true);
    name
}

fn answer(question: &[u8], answers: &[(String, RecordType, DnsAnswer)]) -> Option<Vec<u8>> {
    let mut message = Message::from_bytes(question).ok()?;
    let query = message.queries.first()?.clone();
    let name = query.name().to_lowercase().to_ascii();
    let of_name: Vec<_> = answers
        .iter()
        .filter(|(here, ..)| *here == name.trim_end_matches('.'))
        .collect();
    message.metadata.message_type = MessageType::Response;
    message.metadata.recursion_available = true;
    message.metadata.authentic_data = of_name.iter().any(|(_, _, each)| matches!(each, DnsAnswer::Secure(_)));
    message.edns = None;
    if of_name.is_empty() {
        message.metadata.response_code = ResponseCode::NXDomain;
    }
    let record = |data: &RData| Record::from_rdata(query.name().clone(), 60, data.clone());
    match of_name.iter().find(|(_, kind, _)| *kind == query.query_type()) {
        Some((_, _, DnsAnswer::Silence)) => return None,
        Some((_, _, DnsAnswer::Failure)) => message.metadata.response_code = ResponseCode::ServFail,
        Some((_, _, DnsAnswer::Secure(records))) => message.answers = records.iter().map(record).collect(),
        Some((_, _, DnsAnswer::Insecure(records))) => {
            message.metadata.authentic_data = false;
            message.answers = records.iter().map(record).collect();
        }
        None => {}
    }
    message.to_vec().ok()
}
