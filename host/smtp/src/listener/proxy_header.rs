//! What a load balancer says before it hands a connection on: whose it is (HAProxy's PROXY protocol, versions 1 and 2).

use std::net::SocketAddr;

use proxy_header::{ParseConfig, Protocol, ProxyHeader};
use tokio::io::{AsyncRead, AsyncReadExt};

/// How a header of version 2 begins; one of version 1 is longer than this, too.
const SIGNATURE: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";
/// The signature, version and command, family, and the length of the rest.
const FIXED: usize = 16;
/// Where version 2 has its command, in the lower half, and the family of its addresses, in the upper half; and which of them
/// are these.
const COMMAND: usize = 12;
const FAMILY: usize = 13;
const PROXY: u8 = 1;
const UNIX: u8 = 3;
/// Longest header of version 1, its end included.
const LONGEST_LINE: usize = 107;
/// What is taken of version 2: addresses, and what else a proxy says of a connection.
const LONGEST_REST: usize = 4096;

/// Why it is not known whose connection this is.
#[derive(Debug, thiserror::Error)]
pub(super) enum NoHeader {
    #[error("{0}")]
    Io(#[from] std::io::Error),
    #[error("what came is none")]
    Absent,
    #[error("it is longer than {0} octets")]
    TooLong(usize),
    #[error("{0}")]
    Wrong(proxy_header::Error),
    #[error("it is not about TCP")]
    NotTcp,
}

/// Whose connection it is; none if the proxy names nobody, since it is its own, such as a look at this host's health, or
/// since it does not know. Nothing is read of what follows the header.
pub(super) async fn client(stream: &mut (impl AsyncRead + Unpin)) -> Result<Option<SocketAddr>, NoHeader> {
    let mut header = vec![0; SIGNATURE.len()];
    stream.read_exact(&mut header).await?;
    if header == SIGNATURE {
        rest(stream, &mut header).await?;
    } else if header.starts_with(b"PROXY ") {
        line(stream, &mut header).await?;
    } else {
        return Err(NoHeader::Absent);
    }
    let (parsed, _) = ProxyHeader::parse(&header, ParseConfig::default()).map_err(NoHeader::Wrong)?;
    match parsed.proxied_address() {
        // Somebody else's, who has no address of ours.
        None if header.starts_with(SIGNATURE) && header[COMMAND] & 0xf == PROXY && header[FAMILY] >> 4 == UNIX => {
            Err(NoHeader::NotTcp)
        }
        None => Ok(None),
        Some(address) if address.protocol == Protocol::Stream => Ok(Some(address.source)),
        Some(_) => Err(NoHeader::NotTcp),
    }
}

async fn rest(stream: &mut (impl AsyncRead + Unpin), header: &mut Vec<u8>) -> Result<(), NoHeader> {
    header.resize(FIXED, 0);
    stream.read_exact(&mut header[SIGNATURE.len()..]).await?;
    let length = usize::from(u16::from_be_bytes([header[FIXED - 2], header[FIXED - 1]]));
    if length > LONGEST_REST {
        return Err(NoHeader::TooLong(FIXED + LONGEST_REST));
    }
    header.resize(FIXED + length, 0);
    stream.read_exact(&mut header[FIXED..]).await?;
    Ok(())
}

/// Octet by octet: what follows the line's end is the client's.
async fn line(stream: &mut (impl AsyncRead + Unpin), header: &mut Vec<u8>) -> Result<(), NoHeader> {
    while header.last() != Some(&b'\n') {
        if header.len() >= LONGEST_LINE {
            return Err(NoHeader::TooLong(LONGEST_LINE));
        }
        header.push(stream.read_u8().await?);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use proxy_header::ProxiedAddress;

    use super::*;

    /// What is made of these octets, and what is left of them.
    async fn read(mut octets: &[u8]) -> (String, usize) {
        let told = match client(&mut octets).await {
            Ok(Some(client)) => client.to_string(),
            Ok(None) => "the proxy".to_owned(),
            Err(why) => why.to_string(),
        };
        (told, octets.len())
    }

    fn version_2(header: &ProxyHeader<'_>) -> Vec<u8> {
        let mut octets = Vec::new();
        header.encode_v2(&mut octets).expect("encodes");
        octets
    }

    #[tokio::test]
    async fn both_versions_name_the_client_and_take_no_more() {
        let from = |client: &str| {
            let client = client.parse().expect("an address");
            version_2(&ProxyHeader::with_address(ProxiedAddress::stream(client, client)))
        };
        for (header, expected) in [
            (b"PROXY TCP4 192.0.2.1 192.0.2.2 4321 25\r\n".to_vec(), "192.0.2.1:4321"),
            (
                b"PROXY TCP6 2001:db8::1 2001:db8::2 4321 25\r\n".to_vec(),
                "[2001:db8::1]:4321",
            ),
            (b"PROXY UNKNOWN\r\n".to_vec(), "the proxy"),
            (b"PROXY UNKNOWN anything at all\r\n".to_vec(), "the proxy"),
            (from("192.0.2.1:4321"), "192.0.2.1:4321"),
            (from("[2001:db8::1]:4321"), "[2001:db8::1]:4321"),
            (version_2(&ProxyHeader::with_local()), "the proxy"),
            // The family is not looked at where the connection is the proxy's own.
            ([&SIGNATURE[..], &[0x20, 0x31, 0, 216], &[0; 216]].concat(), "the proxy"),
        ] {
            let octets = [&header[..], b"EHLO"].concat();
            assert_eq!(read(&octets).await, (expected.to_owned(), 4), "{header:?}");
            for cut in 0..header.len() {
                let (told, left) = read(&header[..cut]).await;
                let is_cut = told.contains("eof") || told.contains("end of file");
                assert!(is_cut && left == 0, "{told}: {cut} of {header:?}");
            }
        }
    }

    #[tokio::test]
    async fn what_is_none_says_so() {
        let datagram = {
            let address = "192.0.2.1:1".parse().expect("an address");
            version_2(&ProxyHeader::with_address(ProxiedAddress::datagram(address, address)))
        };
        let unix = [&SIGNATURE[..], &[0x21, 0x31, 0, 216], &[0; 216]].concat();
        let huge = [&SIGNATURE[..], &[0x21, 0x11, 0xff, 0xff], &[0; 70_000]].concat();
        let endless = [b"PROXY TCP4 ".as_slice(), &[b'1'; 200]].concat();
        for (octets, expected) in [
            (&b"EHLO client.example\r\n"[..], "what came is none"),
            (b"PROXY TCP4 192.0.2.1 192.0.2.2 4321\r\n", ""),
            (b"PROXY TCP4 192.0.2.999 192.0.2.2 4321 25\r\n", ""),
            (b"PROXY TCP4 2001:db8::1 2001:db8::1 4321 25\r\n", ""),
            (b"PROXY TCP4 192.0.2.1 192.0.2.2 4321 25 \n", ""),
            (b"\r\n\r\n\0\r\nQUIT\n\x31\x11\0\x0c123456789012", ""),
            (b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x041234", ""),
            (&datagram, "it is not about TCP"),
            (&unix, "it is not about TCP"),
            (&huge, "it is longer than 4112 octets"),
            (&endless, "it is longer than 107 octets"),
        ] {
            let (told, _) = read(octets).await;
            let is_right = told == expected || (expected.is_empty() && told.parse::<SocketAddr>().is_err());
            assert!(is_right && told != "the proxy", "{told} of {octets:?}");
        }
    }
}
