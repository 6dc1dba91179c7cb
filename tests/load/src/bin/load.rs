//! A closed-loop SMTP load generator for `tests/bench`: like smtp-source, with TLS, AUTH and the latency of each
//! message.
//!
//! Each session is a thread without pipelining. The run ends at `--seconds` or `--messages`, whichever comes first,
//! after all started messages are finished. The result is printed as a line of JSON.

use std::collections::BTreeMap;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use clap::Parser;
use posthouse_load::{latency, message};
use posthouse_tests::tls;
use rustls::ClientConfig;
use serde_json::{Value, json};

/// Time-out of every connect, read and write.
const IO_TIMEOUT: Duration = Duration::from_secs(60);
/// Number of refusals and broken connections at which a session gives up.
const MAX_REFUSALS: usize = 10;

/// Sends messages to an SMTP host and prints rate and latency as JSON.
#[derive(Parser)]
struct Arguments {
    /// Address and port of the host.
    to: SocketAddr,
    /// Concurrent sessions.
    #[arg(long, default_value_t = 20)]
    sessions: usize,
    /// Total number of messages.
    #[arg(long, default_value_t = usize::MAX, hide_default_value = true)]
    messages: usize,
    /// Seconds after which no message is started.
    #[arg(long, default_value_t = 10.0)]
    seconds: f64,
    /// Bytes of each message's body.
    #[arg(long, default_value_t = 4096)]
    size: usize,
    /// Reuse the connection for all messages of a session.
    #[arg(long)]
    keep: bool,
    /// Use STARTTLS with a full handshake for each connection; any certificate is accepted.
    #[arg(long)]
    tls: bool,
    /// USER:PASSWORD for AUTH PLAIN.
    #[arg(long)]
    login: Option<String>,
    /// Reverse-path.
    #[arg(long, default_value = "source@bench.test")]
    sender: String,
    /// Forward-path.
    #[arg(long, default_value = "target@example.org")]
    recipient: String,
}

/// State shared by all sessions.
struct Work {
    arguments: Arguments,
    message: Vec<u8>,
    tls: Arc<ClientConfig>,
    begun: AtomicUsize,
    until: Instant,
}

/// Results of a session.
#[derive(Default)]
struct Found {
    latencies: Vec<Duration>,
    refused: BTreeMap<String, usize>,
}

enum Stream {
    Plain(TcpStream),
    Tls(Box<tls::TlsStream>),
}

struct Connection {
    stream: Stream,
    received: Vec<u8>,
}

fn main() {
    let arguments = Arguments::parse();
    let start = Instant::now();
    let work = Work {
        message: message(arguments.size),
        tls: Arc::new(tls::any_certificate()),
        begun: AtomicUsize::new(0),
        until: start + Duration::from_secs_f64(arguments.seconds),
        arguments,
    };
    let found = std::thread::scope(|scope| {
        let sessions: Vec<_> = (0..work.arguments.sessions)
            .map(|_| scope.spawn(|| session(&work)))
            .collect();
        let done = sessions.into_iter().map(|session| session.join().unwrap_or_default());
        done.collect::<Vec<_>>()
    });
    println!("{}", report(found, start.elapsed()));
}

/// Runs a session until the messages or the time are used up, or the host has refused too often.
fn session(work: &Work) -> Found {
    let mut found = Found::default();
    let mut kept = None;
    let mut refusals = 0;
    while refusals < MAX_REFUSALS
        && Instant::now() < work.until
        && work.begun.fetch_add(1, Ordering::Relaxed) < work.arguments.messages
    {
        let start = Instant::now();
        match one_message(work, kept.take()) {
            Ok(connection) => {
                found.latencies.push(start.elapsed());
                if work.arguments.keep {
                    kept = Some(connection);
                } else {
                    // The message is accepted, even if QUIT fails.
                    drop(connection.quit());
                }
            }
            Err(error) => {
                refusals += 1;
                *found.refused.entry(error.to_string()).or_default() += 1;
            }
        }
    }
    if let Some(connection) = kept {
        drop(connection.quit());
    }
    found
}

/// Sends a message, on a new connection unless `kept` is given, and waits for the 250 to the final dot.
fn one_message(work: &Work, kept: Option<Connection>) -> io::Result<Connection> {
    let arguments = &work.arguments;
    let mut connection = match kept {
        Some(connection) => connection,
        None => Connection::open(work)?,
    };
    connection.command(&format!("MAIL FROM:<{}>", arguments.sender), "250")?;
    connection.command(&format!("RCPT TO:<{}>", arguments.recipient), "250")?;
    connection.command("DATA", "354")?;
    connection.send(&work.message)?;
    connection.reply("250")?;
    Ok(connection)
}

impl Connection {
    /// Connects and performs EHLO, STARTTLS and AUTH as configured.
    fn open(work: &Work) -> io::Result<Self> {
        let stream = TcpStream::connect_timeout(&work.arguments.to, IO_TIMEOUT)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(IO_TIMEOUT))?;
        stream.set_write_timeout(Some(IO_TIMEOUT))?;
        let mut connection = Self {
            stream: Stream::Plain(stream),
            received: Vec::new(),
        };
        connection.reply("220")?;
        connection.command("EHLO load.bench.test", "250")?;
        if work.arguments.tls {
            connection.command("STARTTLS", "220")?;
            connection = connection.encrypt(&work.tls)?;
            connection.command("EHLO load.bench.test", "250")?;
        }
        if let Some(login) = &work.arguments.login {
            let (user, password) = login.split_once(':').unwrap_or((login, ""));
            let response = STANDARD.encode(format!("\0{user}\0{password}"));
            connection.command(&format!("AUTH PLAIN {response}"), "235")?;
        }
        Ok(connection)
    }

    fn encrypt(self, config: &Arc<ClientConfig>) -> io::Result<Self> {
        let Stream::Plain(stream) = self.stream else {
            return Err(io::Error::other("TLS in TLS"));
        };
        let mut stream = tls::wrap_with(stream, Arc::clone(config));
        stream.conn.complete_io(&mut stream.sock)?;
        Ok(Self {
            stream: Stream::Tls(Box::new(stream)),
            received: Vec::new(),
        })
    }

    fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        match &mut self.stream {
            Stream::Plain(stream) => stream.write_all(bytes),
            Stream::Tls(stream) => stream.write_all(bytes).and_then(|()| stream.flush()),
        }
    }

    fn command(&mut self, line: &str, code: &str) -> io::Result<()> {
        self.send(format!("{line}\r\n").as_bytes())?;
        self.reply(code)
    }

    /// Reads a reply with the given code. Without pipelining no further input follows a reply.
    fn reply(&mut self, code: &str) -> io::Result<()> {
        self.received.clear();
        loop {
            let mut buffer = [0; 4096];
            let count = match &mut self.stream {
                Stream::Plain(stream) => stream.read(&mut buffer)?,
                Stream::Tls(stream) => stream.read(&mut buffer)?,
            };
            if count == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            self.received.extend_from_slice(&buffer[..count]);
            let Some(lines) = self.received.strip_suffix(b"\r\n") else {
                continue;
            };
            let last = lines.rsplit(|byte| *byte == b'\n').next().unwrap_or_default();
            if last.get(3) == Some(&b'-') {
                continue;
            }
            if last.starts_with(code.as_bytes()) {
                return Ok(());
            }
            return Err(io::Error::other(String::from_utf8_lossy(last).into_owned()));
        }
    }

    fn quit(mut self) -> io::Result<()> {
        self.command("QUIT", "221")
    }
}

fn report(found: Vec<Found>, elapsed: Duration) -> Value {
    let mut latencies: Vec<Duration> = Vec::new();
    let mut refused: BTreeMap<String, usize> = BTreeMap::new();
    for one in found {
        latencies.extend(one.latencies);
        for (reply, count) in one.refused {
            *refused.entry(reply).or_default() += count;
        }
    }
    json!({
        "accepted": latencies.len(),
        "refused": refused,
        "seconds": elapsed.as_secs_f64(),
        "latency": latency(&mut latencies),
    })
}
