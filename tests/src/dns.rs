//! A DNS server that knows one thing.

use std::net::{SocketAddr, UdpSocket};
use std::thread;

/// Length of a message's header, and of what follows the name in a question (RFC 1035 section 4.1).
const HEADER: usize = 12;
const TYPE_AND_CLASS: usize = 4;
/// Name by reference to the question, A, IN, 60 seconds, 4 bytes.
const ADDRESS: [u8; 12] = [0xc0, 0x0c, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4];

/// Starts a server on loopback that lives as long as the test: every name that begins with
/// `listed.` has this IPv4 address, and no name has anything else.
///
/// # Panics
/// When there is no port for it.
pub fn dns(address: [u8; 4]) -> SocketAddr {
    let socket = UdpSocket::bind("127.0.0.1:0").expect("a port");
    let bound = socket.local_addr().expect("an address");
    thread::spawn(move || {
        let mut buffer = [0; 1500];
        while let Ok((length, peer)) = socket.recv_from(&mut buffer) {
            if let Some(answer) = answer(&buffer[..length], address) {
                let _ = socket.send_to(&answer, peer);
            }
        }
    });
    bound
}

fn answer(question: &[u8], address: [u8; 4]) -> Option<Vec<u8>> {
    let name = question.get(HEADER..)?;
    let end = HEADER + name.iter().position(|byte| *byte == 0)? + 1;
    let kind = question.get(end..end + 2)?;
    let listed = name.get(1..7)?.eq_ignore_ascii_case(b"listed");
    let found = listed && kind == [0, 1];
    let mut out = question.get(..end + TYPE_AND_CLASS)?.to_vec();
    // A response, recursion available; NXDOMAIN for other names; one question, perhaps one answer.
    out[2] |= 0x80;
    out[3] = if listed { 0x80 } else { 0x83 };
    out[4..HEADER].copy_from_slice(&[0, 1, 0, u8::from(found), 0, 0, 0, 0]);
    if found {
        out.extend(ADDRESS);
        out.extend(address);
    }
    Some(out)
}
