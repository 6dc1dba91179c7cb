//! The PROXY protocol of HAProxy, versions 1 and 2: a header that names the client, sent by a load balancer before the
//! client's octets.

use std::net::SocketAddr;

use proxy_header::{ParseConfig, Protocol, ProxyHeader};
use tokio::io::{AsyncRead, AsyncReadExt};

/// First octets of a header of version 2. A header of version 1 is longer, too.
const SIGNATURE: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";
/// Length of the fixed part of version 2: signature, version and command, family, and length of the rest.
const FIXED: usize = 16;
/// Index of version and command in version 2; the command is the lower half of the octet.
const COMMAND: usize = 12;
/// Index of the address family in version 2; the family is the upper half of the octet.
const FAMILY: usize = 13;
/// Command of a connection on behalf of a client.
const PROXY: u8 = 1;
/// Family of UNIX sockets.
const UNIX: u8 = 3;
/// Maximum length of a header of version 1 in octets, including the line end.
const LONGEST_LINE: usize = 107;
/// Maximum length in octets of the variable part of version 2: addresses and further attributes of the connection.
const LONGEST_REST: usize = 4096;

/// Reason for which the client of a connection is unknown.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NoHeader {
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

/// Reads the header and returns the address of the client. `None` if the connection is the proxy's own, such as a
/// health check, or if the proxy does not know the client. Reads no octet after the header. Not cancel safe.
pub(crate) async fn read_client(stream: &mut (impl AsyncRead + Unpin)) -> Result<Option<SocketAddr>, NoHeader> {
    let mut header = vec![0; SIGNATURE.len()];
    stream.read_exact(&mut header).await?;
    if header == SIGNATURE {
        read_version_2(stream, &mut header).await?;
    } else if header.starts_with(b"PROXY ") {
        read_version_1(stream, &mut header).await?;
    } else {
        return Err(NoHeader::Absent);
    }
    let (parsed, _) = ProxyHeader::parse(&header, ParseConfig::default()).map_err(NoHeader::Wrong)?;
    match parsed.proxied_address() {
        // A client without an IP address.
        None if header.starts_with(SIGNATURE) && header[COMMAND] & 0xf == PROXY && header[FAMILY] >> 4 == UNIX => {
            Err(NoHeader::NotTcp)
        }
        None => Ok(None),
        Some(address) if address.protocol == Protocol::Stream => Ok(Some(address.source)),
        Some(_) => Err(NoHeader::NotTcp),
    }
}

/// Reads the rest of a header of version 2, at most [`FIXED`] + [`LONGEST_REST`] octets in all.
async fn read_version_2(stream: &mut (impl AsyncRead + Unpin), header: &mut Vec<u8>) -> Result<(), NoHeader> {
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

/// Reads the rest of a header of version 1, octet by octet, since the octets after the line end belong to the client.
async fn read_version_1(stream: &mut (impl AsyncRead + Unpin), header: &mut Vec<u8>) -> Result<(), NoHeader> {
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
    use futures_util::FutureExt as _;
    use proptest::collection::vec;
    use proptest::prelude::*;
    use proptest::sample::select;
    use proxy_header::ProxiedAddress;

    use super::*;

    /// Returns the parsed client or the error, and the number of octets left.
    async fn read(mut octets: &[u8]) -> (String, usize) {
        let result = match read_client(&mut octets).await {
            Ok(Some(client)) => client.to_string(),
            Ok(None) => "the proxy".to_owned(),
            Err(why) => why.to_string(),
        };
        (result, octets.len())
    }

    fn version_2(header: &ProxyHeader<'_>) -> Vec<u8> {
        let mut octets = Vec::new();
        header.encode_v2(&mut octets).expect("encodes");
        octets
    }

    #[tokio::test]
    async fn reads_both_versions_and_nothing_beyond_the_header() {
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
            // The family is ignored if the connection is the proxy's own.
            ([&SIGNATURE[..], &[0x20, 0x31, 0, 216], &[0; 216]].concat(), "the proxy"),
        ] {
            let octets = [&header[..], b"EHLO"].concat();
            assert_eq!(read(&octets).await, (expected.to_owned(), 4), "{header:?}");
            for cut in 0..header.len() {
                let (result, left) = read(&header[..cut]).await;
                let is_cut = result.contains("eof") || result.contains("end of file");
                assert!(is_cut && left == 0, "{result}: {cut} of {header:?}");
            }
        }
    }

    #[tokio::test]
    async fn refuses_malformed_headers() {
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
            let (result, _) = read(octets).await;
            let is_right = result == expected || (expected.is_empty() && result.parse::<SocketAddr>().is_err());
            assert!(is_right && result != "the proxy", "{result} of {octets:?}");
        }
    }

    /// Reads from memory, which is always ready. Returns the client, and the number of octets left.
    fn read_now(mut octets: &[u8]) -> (Result<Option<SocketAddr>, String>, usize) {
        let result = read_client(&mut octets).now_or_never().expect("ready");
        (result.map_err(|why| why.to_string()), octets.len())
    }

    /// Generates octets that are close to a header of one of the versions.
    fn nearly_a_header() -> impl Strategy<Value = Vec<u8>> {
        let word = select(vec![
            "PROXY ",
            "TCP4 ",
            "TCP6 ",
            "UNKNOWN",
            "192.0.2.1 ",
            "::1 ",
            "65535 ",
            "25",
            "0 ",
            "\r\n",
            "\n",
            " ",
            "x",
        ]);
        let version_1 = vec(word, 0..9).prop_map(|words| ["PROXY ", &words.concat()].concat().into_bytes());
        let version_2 = (any::<[u8; 2]>(), 0..600_u16, vec(any::<u8>(), 0..300));
        let version_2 = version_2.prop_map(|([first, second], length, rest)| {
            let fixed = [0x20 | first & 0x13, second & 0x33];
            [&SIGNATURE[..], &fixed, &length.to_be_bytes(), &rest].concat()
        });
        prop_oneof![version_1, version_2, vec(any::<u8>(), 0..40)]
    }

    proptest! {
        #[test]
        fn any_client_is_read_from_a_header_of_either_version(
            client in any::<SocketAddr>(),
            rest in vec(any::<u8>(), 0..20),
        ) {
            // Scope and flow of an IPv6 address are not part of a header.
            let client = SocketAddr::new(client.ip(), client.port());
            let family = if client.is_ipv4() { "TCP4" } else { "TCP6" };
            let (ip, port) = (client.ip(), client.port());
            for header in [
                format!("PROXY {family} {ip} {ip} {port} {port}\r\n").into_bytes(),
                version_2(&ProxyHeader::with_address(ProxiedAddress::stream(client, client))),
            ] {
                let (read, left) = read_now(&[&header[..], &rest].concat());
                prop_assert_eq!((read, left), (Ok(Some(client)), rest.len()));
            }
        }

        #[test]
        fn reads_no_octet_beyond_any_header(octets in nearly_a_header()) {
            let (result, left) = read_now(&octets);
            let read = &octets[..octets.len() - left];
            if result.is_ok() && read.starts_with(b"PROXY ") {
                prop_assert!(read.len() <= LONGEST_LINE && read.ends_with(b"\r\n"));
                prop_assert!(!read[..read.len() - 2].contains(&b'\n'));
            } else if result.is_ok() {
                let length = usize::from(u16::from_be_bytes([read[FIXED - 2], read[FIXED - 1]]));
                prop_assert_eq!(read.len(), FIXED + length);
            }
        }
    }
}
