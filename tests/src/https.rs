//! A server of single files over HTTPS, which answers by script.

use std::io::{BufRead as _, BufReader, ErrorKind, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use parking_lot::Mutex;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};

use crate::skip::skipped;
use crate::tls::Certified;
use crate::wait::TIMEOUT;

/// Behaviour of the server.
#[derive(Debug, Clone)]
pub enum WebAnswer {
    /// Status line after the version, header fields, and body.
    Reply {
        /// Status code and reason, such as `200 OK`.
        status: &'static str,
        /// Header fields with line ends.
        fields: String,
        /// Body; the length is announced.
        body: String,
    },
    /// The request is read and never answered.
    Silence,
}

impl WebAnswer {
    /// Returns a policy of MTA-STS as it should be served.
    pub fn policy(body: &str) -> Self {
        Self::Reply {
            status: "200 OK",
            fields: "Content-Type: text/plain; charset=utf-8\r\n".to_owned(),
            body: body.to_owned(),
        }
    }
}

impl WebAnswer {
    fn not_found() -> Self {
        Self::Reply {
            status: "404 Not Found",
            fields: String::new(),
            body: String::new(),
        }
    }
}

struct WebState {
    answers: Mutex<Vec<(String, WebAnswer)>>,
    requests: AtomicUsize,
    stopped: AtomicBool,
}

/// A server on port 443 of a loopback address. Dropping the server stops accepting connections.
pub struct WebServer {
    address: SocketAddr,
    state: Arc<WebState>,
}

impl WebServer {
    /// Starts a server. Without the permission to bind the port, `None` is returned and a line with SKIPPED is printed.
    ///
    /// # Panics
    /// If the port is taken, or the certificate is none.
    pub fn start(address: [u8; 4], certified: &Certified) -> Option<Self> {
        let listener = match TcpListener::bind(SocketAddr::from((address, 443))) {
            Ok(listener) => listener,
            Err(error) if error.kind() == ErrorKind::PermissionDenied => {
                skipped(format!("port 443 of {address:?}: {error}"));
                return None;
            }
            Err(error) => panic!("port 443 of {address:?}: {error}"),
        };
        let address = listener.local_addr().expect("a bound socket has an address");
        let chain = CertificateDer::pem_slice_iter(certified.chain.as_bytes());
        let chain: Vec<_> = chain.map(|each| each.expect("a certificate")).collect();
        let key = PrivateKeyDer::from_pem_slice(certified.key.as_bytes()).expect("a key");
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_no_client_auth()
            .with_single_cert(chain, key)
            .expect("a server");
        let config = Arc::new(config);
        let state = Arc::new(WebState {
            answers: Mutex::default(),
            requests: AtomicUsize::new(0),
            stopped: AtomicBool::new(false),
        });
        let serving = Arc::clone(&state);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                if serving.stopped.load(Ordering::Relaxed) {
                    return;
                }
                let (Ok(stream), config, state) = (stream, Arc::clone(&config), Arc::clone(&serving)) else {
                    continue;
                };
                // The client may give up at any point: some tests make it do so.
                std::thread::spawn(move || drop(serve(stream, config, &state)));
            }
        });
        Some(Self { address, state })
    }

    /// Sets the answer to requests for a host. Other hosts are answered with 404.
    pub fn answer(&self, host: &str, answer: WebAnswer) {
        let mut answers = self.state.answers.lock();
        answers.retain(|(other, _)| other != host);
        answers.push((host.to_owned(), answer));
    }

    /// Number of requests that were read.
    pub fn requests(&self) -> usize {
        self.state.requests.load(Ordering::Relaxed)
    }
}

impl Drop for WebServer {
    fn drop(&mut self) {
        self.state.stopped.store(true, Ordering::Relaxed);
        // Wakes the accepting thread.
        let _ = TcpStream::connect(self.address);
    }
}

fn serve(stream: TcpStream, config: Arc<ServerConfig>, state: &WebState) -> std::io::Result<()> {
    stream.set_read_timeout(Some(TIMEOUT))?;
    let connection = ServerConnection::new(config).map_err(std::io::Error::other)?;
    let mut stream = BufReader::new(StreamOwned::new(connection, stream));
    let mut host = String::new();
    loop {
        let mut line = String::new();
        if stream.read_line(&mut line)? == 0 {
            return Ok(());
        }
        if line == "\r\n" {
            break;
        }
        if let Some((name, value)) = line.split_once(':')
            && name.eq_ignore_ascii_case("host")
        {
            value.trim().clone_into(&mut host);
        }
    }
    state.requests.fetch_add(1, Ordering::Relaxed);
    let found = state.answers.lock().iter().find(|(other, _)| *other == host).cloned();
    let answer = found.map_or_else(WebAnswer::not_found, |(_, answer)| answer);
    match answer {
        WebAnswer::Reply { status, fields, body } => {
            let head = format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\n{fields}\r\n", body.len());
            stream.get_mut().write_all(format!("{head}{body}").as_bytes())?;
            stream.get_mut().flush()
        }
        // Ends when the client closes the connection.
        WebAnswer::Silence => stream.read_line(&mut String::new()).map(drop),
    }
}
