//! An SMTP client that sends arbitrary octets, valid or not, and keeps a transcript.

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use socket2::{Domain, Socket, Type};

use crate::tls::{self, TlsStream};
use crate::wait::TIMEOUT;

enum Stream {
    Plain(TcpStream),
    Tls(Box<TlsStream>),
    /// The connection is closed, or a TLS handshake is in progress.
    Closed,
}

/// A reply of the host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    /// Reply code.
    pub code: u16,
    /// Lines of the reply without CRLF.
    pub lines: Vec<String>,
}

impl Reply {
    /// Returns the last line: code, enhanced status code, text.
    pub fn line(&self) -> &str {
        self.lines.last().map_or("", String::as_str)
    }
}

/// A client connection.
pub struct Client {
    stream: Stream,
    received: Vec<u8>,
    transcript: String,
}

impl Client {
    /// Connects, from the local address `source` if given. The banner is not read.
    ///
    /// # Panics
    /// If the connection fails.
    pub fn connect(to: SocketAddr, source: Option<&str>) -> Self {
        let stream = open(to, source).unwrap_or_else(|error| panic!("connect to {to} from {source:?}: {error}"));
        Self {
            stream: Stream::Plain(stream),
            received: Vec::new(),
            transcript: format!("-- {} to {to}\n", source.unwrap_or("any address")),
        }
    }

    /// Connects like [`Self::connect`], but returns an error if the connection fails.
    pub fn try_connect(to: SocketAddr) -> io::Result<Self> {
        Ok(Self {
            stream: Stream::Plain(open(to, None)?),
            received: Vec::new(),
            transcript: String::new(),
        })
    }

    /// Returns the transcript of the dialogue so far.
    pub fn transcript(&self) -> &str {
        &self.transcript
    }

    /// Sends octets unchanged.
    pub fn try_send(&mut self, bytes: &[u8]) -> io::Result<()> {
        record(&mut self.transcript, "C", bytes);
        match &mut self.stream {
            Stream::Plain(stream) => stream.write_all(bytes),
            Stream::Tls(stream) => stream.write_all(bytes).and_then(|()| stream.flush()),
            Stream::Closed => Err(io::ErrorKind::NotConnected.into()),
        }
    }

    /// Sends octets unchanged.
    ///
    /// # Panics
    /// If the write fails.
    pub fn send(&mut self, bytes: &[u8]) {
        if let Err(error) = self.try_send(bytes) {
            panic!("{error} after:\n{}", self.transcript);
        }
    }

    /// Reads a reply; `None` is the end of the connection.
    pub fn try_reply(&mut self) -> io::Result<Option<Reply>> {
        let mut lines = Vec::new();
        loop {
            let Some(line) = self.read_line()? else {
                if lines.is_empty() {
                    return Ok(None);
                }
                return Err(io::ErrorKind::UnexpectedEof.into());
            };
            let code = line.get(..3).and_then(|digits| digits.parse::<u16>().ok());
            let Some(code) = code else {
                return Err(io::Error::other(format!("not a reply: {line:?}")));
            };
            let more = line.as_bytes().get(3) == Some(&b'-');
            lines.push(line);
            if !more {
                return Ok(Some(Reply { code, lines }));
            }
        }
    }

    /// Reads a reply; `None` is the end of the connection.
    ///
    /// # Panics
    /// If no reply arrives in time, or the text is not a valid reply.
    pub fn reply(&mut self) -> Option<Reply> {
        let reply = self.try_reply();
        reply.unwrap_or_else(|error| panic!("{error} after:\n{}", self.transcript))
    }

    /// Reads a reply with the given code.
    ///
    /// # Panics
    /// If the reply has another code, or the connection ends.
    pub fn expect_reply(&mut self, code: u16) -> Reply {
        let reply = self.reply();
        match reply {
            Some(reply) if reply.code == code => reply,
            other => panic!("wanted {code}, got {other:?} after:\n{}", self.transcript),
        }
    }

    /// Waits until the host closes the connection.
    ///
    /// # Panics
    /// If the host sends a reply instead, or does not close the connection in time.
    pub fn expect_close(&mut self) {
        // A reset counts as a close: the host need not read input that arrives after its last reply.
        match self.try_reply() {
            Ok(None) => {}
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::ConnectionReset | io::ErrorKind::UnexpectedEof
                ) => {}
            other => panic!("wanted the end, got {other:?} after:\n{}", self.transcript),
        }
    }

    /// Sends a command line and returns the reply, which must have the given code.
    ///
    /// # Panics
    /// If the reply has another code, or the connection ends.
    pub fn command(&mut self, line: &str, code: u16) -> Reply {
        self.send(format!("{line}\r\n").as_bytes());
        self.expect_reply(code)
    }

    /// Sends EHLO.
    pub fn ehlo(&mut self) -> Reply {
        self.command("EHLO client.example", 250)
    }

    /// Sends STARTTLS, performs the handshake, and repeats EHLO.
    pub fn starttls(&mut self) -> Reply {
        self.command("STARTTLS", 220);
        self.handshake();
        self.ehlo()
    }

    /// Performs the TLS handshake, without STARTTLS.
    ///
    /// # Panics
    /// If the handshake fails.
    pub fn handshake(&mut self) {
        assert!(self.received.is_empty(), "text before TLS: {:?}", self.received);
        let Stream::Plain(stream) = std::mem::replace(&mut self.stream, Stream::Closed) else {
            panic!("no plain connection to start TLS on");
        };
        let mut stream = tls::wrap(stream);
        while stream.conn.is_handshaking() {
            if let Err(error) = stream.conn.complete_io(&mut stream.sock) {
                panic!("TLS: {error} after:\n{}", self.transcript);
            }
        }
        self.transcript.push_str("-- TLS\n");
        self.stream = Stream::Tls(Box::new(stream));
    }

    /// Authenticates by AUTH PLAIN with an initial response; `code` is the expected reply.
    pub fn auth_plain(&mut self, user: &str, password: &str, code: u16) -> Reply {
        let response = STANDARD.encode(format!("\0{user}\0{password}"));
        self.command(&format!("AUTH PLAIN {response}"), code)
    }

    /// Logs in: EHLO, STARTTLS and AUTH PLAIN.
    pub fn login(&mut self, user: &str, password: &str) {
        self.ehlo();
        self.starttls();
        self.auth_plain(user, password, 235);
    }

    /// Sends a transaction and returns the reply to the final dot. `sender` and `recipients` are addresses without
    /// angle brackets; `message` has LF or CRLF line ends.
    pub fn submit(&mut self, sender: &str, recipients: &[&str], message: &str) -> Reply {
        self.command(&format!("MAIL FROM:<{sender}>"), 250);
        for recipient in recipients {
            self.command(&format!("RCPT TO:<{recipient}>"), 250);
        }
        self.data(message)
    }

    /// Sends DATA and a dot-stuffed message, and returns the reply to the final dot.
    ///
    /// # Panics
    /// If the connection ends without a reply.
    pub fn data(&mut self, message: &str) -> Reply {
        self.command("DATA", 354);
        let mut bytes = Vec::new();
        for line in message.lines() {
            if line.starts_with('.') {
                bytes.push(b'.');
            }
            bytes.extend_from_slice(line.as_bytes());
            bytes.extend_from_slice(b"\r\n");
        }
        bytes.extend_from_slice(b".\r\n");
        self.send(&bytes);
        let reply = self.reply();
        reply.unwrap_or_else(|| panic!("closed after:\n{}", self.transcript))
    }

    /// Sends QUIT, and waits for the reply 221 and the close.
    pub fn quit(mut self) {
        self.command("QUIT", 221);
        self.expect_close();
    }

    /// Closes the connection abruptly, like a crashing client.
    pub fn close(&mut self) {
        match std::mem::replace(&mut self.stream, Stream::Closed) {
            Stream::Plain(stream) => drop(stream.shutdown(Shutdown::Both)),
            Stream::Tls(stream) => drop(stream.sock.shutdown(Shutdown::Both)),
            Stream::Closed => {}
        }
    }

    /// Reads a line without the CRLF; `None` is the end of the connection.
    fn read_line(&mut self) -> io::Result<Option<String>> {
        loop {
            if let Some(at) = self.received.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.received.drain(..=at).collect();
                record(&mut self.transcript, "S", &line);
                let Some(line) = line.strip_suffix(b"\r\n") else {
                    return Err(io::Error::other("the host ended a line without CRLF"));
                };
                return Ok(Some(String::from_utf8_lossy(line).into_owned()));
            }
            let mut buffer = [0; 4096];
            let count = match &mut self.stream {
                Stream::Plain(stream) => stream.read(&mut buffer)?,
                Stream::Tls(stream) => stream.read(&mut buffer)?,
                Stream::Closed => 0,
            };
            if count == 0 && self.received.is_empty() {
                return Ok(None);
            }
            if count == 0 {
                return Err(io::Error::other(format!("half a line: {:?}", self.received)));
            }
            self.received.extend_from_slice(&buffer[..count]);
        }
    }
}

fn open(to: SocketAddr, source: Option<&str>) -> io::Result<TcpStream> {
    let socket = Socket::new(Domain::for_address(to), Type::STREAM, None)?;
    if let Some(source) = source {
        let source: std::net::IpAddr = source.parse().map_err(io::Error::other)?;
        socket.bind(&SocketAddr::new(source, 0).into())?;
    }
    socket.connect_timeout(&to.into(), TIMEOUT)?;
    let stream = TcpStream::from(socket);
    stream.set_read_timeout(Some(TIMEOUT))?;
    stream.set_write_timeout(Some(TIMEOUT))?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// Appends traffic to the transcript; long traffic is truncated for readability.
fn record(transcript: &mut String, who: &str, bytes: &[u8]) {
    const SHOWN: usize = 400;
    let text = bytes[..bytes.len().min(SHOWN)]
        .escape_ascii()
        .to_string()
        .replace("\\r\\n", "\n   ");
    transcript.push_str(&format!("{who}: {}", text.trim_end()));
    if bytes.len() > SHOWN {
        transcript.push_str(&format!(" ... ({} bytes)", bytes.len()));
    }
    transcript.push('\n');
}
