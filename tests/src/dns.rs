//! A DNS server with a zone of its own.

use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::thread;

use hickory_resolver::proto::op::{Message, MessageType, ResponseCode};
use hickory_resolver::proto::rr::rdata::{A, MX};
use hickory_resolver::proto::rr::{Name, RData, Record};
use hickory_resolver::proto::serialize::binary::BinDecodable as _;

/// What a name has.
pub type Zone = Vec<(&'static str, RData)>;

/// Starts a server on loopback that lives as long as the test. Names that are not in its zone do not exist.
///
/// # Panics
/// When there is no port for it.
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

/// An address record.
pub fn address(address: [u8; 4]) -> RData {
    RData::A(A(Ipv4Addr::from(address)))
}

/// A mail exchange.
///
/// # Panics
/// When that is no name.
pub fn exchange(preference: u16, host: &str) -> RData {
    let mut host = Name::from_ascii(host).expect("a name");
    host.set_fqdn(true);
    RData::MX(MX::new(preference, host))
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
