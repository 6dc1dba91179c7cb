//! A server that plays a script and records the octets that it receives.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::{Arc, LazyLock};

use futures_util::future::join_all;
use parking_lot::Mutex;
use rcgen::{CertifiedKey, KeyPair};
use rustls::ServerConfig;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, UnixListener};
use tokio_rustls::TlsAcceptor;

use crate::client_wire::Io;
use host_mail::Endpoint;

/// A step of a script.
#[derive(Debug, Clone)]
pub(in super::super) enum Act {
    /// Sends the text.
    Say(String),
    /// Reads a line that must begin with the text.
    Hear(&'static str),
    /// Reads up to the end of data.
    Data,
    /// Runs the TLS handshake.
    Tls,
    /// Sends the text until the client closes the connection.
    Flood(&'static str),
    /// Reads without a reply until the client closes the connection.
    Silence,
}

/// Sends a line.
pub(in super::super) fn say(line: &str) -> Act {
    Act::Say(format!("{line}\r\n"))
}

/// Greets, and offers extensions after EHLO.
pub(in super::super) fn greets(offers: &[&str]) -> Vec<Act> {
    let lines: Vec<&str> = std::iter::once("fake.example").chain(offers.iter().copied()).collect();
    let last = lines.len() - 1;
    let reply: String = lines
        .iter()
        .enumerate()
        .map(|(n, line)| format!("250{}{line}\r\n", if n == last { ' ' } else { '-' }))
        .collect();
    vec![
        say("220 fake.example ESMTP"),
        Act::Hear("EHLO mx.here.example"),
        Act::Say(reply),
    ]
}

/// Accepts a message for a single recipient, without pipelining.
pub(in super::super) fn takes() -> Vec<Act> {
    vec![
        Act::Hear("MAIL FROM:"),
        say("250 2.1.0 ok"),
        Act::Hear("RCPT TO:"),
        say("250 2.1.5 ok"),
        Act::Hear("DATA"),
        say("354 go"),
        Act::Data,
        say("250 2.0.0 queued"),
    ]
}

enum Listener {
    Tcp(TcpListener),
    Unix(UnixListener),
}

impl Listener {
    async fn accept(&self) -> Box<dyn Io> {
        match self {
            Self::Tcp(listener) => Box::new(listener.accept().await.expect("a client").0),
            Self::Unix(listener) => Box::new(listener.accept().await.expect("a client").0),
        }
    }
}

type Heard = Arc<Mutex<Vec<String>>>;

/// A server with a script for each connection, in order. The connection is closed at the end of the script.
pub(in super::super) struct FakeServer {
    pub(in super::super) endpoint: Endpoint,
    heard: Heard,
    playing: tokio::task::JoinHandle<()>,
}

impl FakeServer {
    pub(in super::super) async fn tcp(scripts: Vec<Vec<Act>>) -> Self {
        Self::tcp_at(([127, 0, 0, 1], 0), scripts).await
    }

    /// Listens at `address`; port 0 selects a free port.
    pub(in super::super) async fn tcp_at(address: ([u8; 4], u16), scripts: Vec<Vec<Act>>) -> Self {
        let (endpoint, listener) = bound(address).await;
        Self::playing(endpoint, |heard| one_by_one(scripts, listener, heard))
    }

    /// Serves all scripts at the same time.
    pub(in super::super) async fn tcp_at_once(scripts: Vec<Vec<Act>>) -> Self {
        let (endpoint, listener) = bound(([127, 0, 0, 1], 0)).await;
        Self::playing(endpoint, |heard| async move {
            let each = async |script: Vec<Act>| play(listener.accept().await, script.into(), &heard).await;
            join_all(scripts.into_iter().map(each)).await;
        })
    }

    pub(in super::super) fn unix(path: std::path::PathBuf, scripts: Vec<Vec<Act>>) -> Self {
        let listener = UnixListener::bind(&path).expect("a socket");
        let listener = Listener::Unix(listener);
        Self::playing(Endpoint::Unix(path), |heard| one_by_one(scripts, listener, heard))
    }

    fn playing<P>(endpoint: Endpoint, play: impl FnOnce(Heard) -> P) -> Self
    where
        P: Future<Output = ()> + Send + 'static,
    {
        let heard = Heard::default();
        Self {
            endpoint,
            playing: tokio::spawn(play(heard.clone())),
            heard,
        }
    }

    /// Returns everything received, once the scripts are finished.
    pub(in super::super) async fn heard(self) -> String {
        self.playing.await.expect("the script was followed");
        self.heard.lock().concat()
    }
}

/// Listens at `address`; port 0 selects a free port.
async fn bound(address: ([u8; 4], u16)) -> (Endpoint, Listener) {
    let listener = TcpListener::bind(SocketAddr::from(address)).await.expect("a port");
    let address = listener.local_addr().expect("an address");
    let endpoint = Endpoint::Tcp(address.ip().to_string(), address.port());
    (endpoint, Listener::Tcp(listener))
}

async fn one_by_one(scripts: Vec<Vec<Act>>, listener: Listener, heard: Heard) {
    for script in scripts {
        play(listener.accept().await, script.into(), &heard).await;
    }
}

async fn play(stream: Box<dyn Io>, mut script: VecDeque<Act>, heard: &Mutex<Vec<String>>) {
    let note = |text: &[u8]| heard.lock().push(String::from_utf8_lossy(text).into_owned());
    let mut stream = BufReader::new(stream);
    while let Some(act) = script.pop_front() {
        match act {
            Act::Say(text) => stream.write_all(text.as_bytes()).await.expect("sent"),
            Act::Hear(expected) => {
                let mut line = Vec::new();
                // A client that closes the connection without a line has sent an empty line.
                let _ = stream.read_until(b'\n', &mut line).await;
                note(&line);
                assert!(line.starts_with(expected.as_bytes()), "{expected:?} expected");
            }
            Act::Data => {
                let mut data = Vec::new();
                while !data.ends_with(b"\r\n.\r\n") && data != b".\r\n" {
                    if stream.read_until(b'\n', &mut data).await.expect("heard") == 0 {
                        note(&data);
                        note(b"[cut off]");
                        return;
                    }
                }
                note(&data);
            }
            Act::Tls => {
                let acceptor = self_signed();
                match acceptor.accept(stream.into_inner()).await {
                    Ok(tls) => stream = BufReader::new(Box::new(tls) as Box<dyn Io>),
                    Err(_) => return note(b"[no TLS]"),
                }
            }
            Act::Flood(text) => while stream.write_all(text.as_bytes()).await.is_ok() {},
            Act::Silence => {
                let mut rest = Vec::new();
                let _ = stream.read_to_end(&mut rest).await;
                note(&rest);
            }
        }
    }
}

/// Certificate and key of all test servers.
static IDENTITY: LazyLock<CertifiedKey<KeyPair>> = LazyLock::new(|| {
    let names = ["fake.example", "127.0.0.1"].map(str::to_owned);
    rcgen::generate_simple_self_signed(names).expect("a certificate")
});

/// Trusted certificates: that of the test servers.
pub(in super::super) fn roots() -> Vec<CertificateDer<'static>> {
    vec![IDENTITY.cert.der().clone()]
}

fn self_signed() -> TlsAcceptor {
    let made = &*IDENTITY;
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(made.signing_key.serialize_der()));
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key)
        .expect("a certificate");
    TlsAcceptor::from(Arc::new(config))
}
