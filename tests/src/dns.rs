//! A DNS server with a fixed zone.

use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::thread;

use hickory_resolver::proto::op::{Message, MessageType, ResponseCode};
use hickory_resolver::proto::rr::rdata::{A, MX, TXT};
use hickory_resolver::proto::rr::{Name, RData, Record};
use hickory_resolver::proto::serialize::binary::BinDecodable as _;

/// Records by name; the records of all names make the zone.
pub type Zone = Vec<(&'static str, RData)>;

/// Starts a DNS server on loopback, which runs until the end of the test process, and returns the address. Names
/// outside the zone are answered with NXDOMAIN.
///
/// # Panics
/// If no port is free.
pub fn dns(zone: Zone) -> SocketAddr {
    let socket = UdpSocket::bind("127.0.0.1:0").expect("a port");
    let bound = socket.local_addr().expect("an address");
    thread::spawn(move || {
        let mut buffer = [0; 1500];
        while let Ok((length, peer)) = socket.recv_from(&mut buffer) {
            if let Some(answer) = answer(&buffer[..length], &zone) {
                let _ = socket.send_to(&answer, peer);
            }
        }
    });
    bound
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
    let mut host = Name::from_ascii(host).expect("a name");
    host.set_fqdn(true);
    RData::MX(MX::new(preference, host))
}

/// Returns a TXT record of strings of at most 255 octets.
pub fn text_record(text: &str) -> RData {
    let strings = text
        .as_bytes()
        .chunks(255)
        .map(|part| String::from_utf8_lossy(part).into_owned());
    RData::TXT(TXT::new(strings.collect()))
}

fn answer(question: &[u8], zone: &Zone) -> Option<Vec<u8>> {
    let mut message = Message::from_bytes(question).ok()?;
    let query = message.queries.first()?.clone();
    let name = query.name().to_lowercase().to_ascii();
    let all = zone.iter().filter(|(here, _)| *here == name.trim_end_matches('.'));
    let all: Vec<&RData> = all.map(|(_, data)| data).collect();
    message.metadata.message_type = MessageType::Response;
    message.metadata.recursion_available = true;
    message.edns = None;
    if all.is_empty() {
        message.metadata.response_code = ResponseCode::NXDomain;
    }
    let wanted = all.into_iter().filter(|data| data.record_type() == query.query_type());
    let record = |data: &RData| Record::from_rdata(query.name().clone(), 60, data.clone());
    message.answers = wanted.map(record).collect();
    message.to_vec().ok()
}
