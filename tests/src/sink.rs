//! A scripted mail host for SMTP or LMTP (RFC 2033).

use std::io::{BufRead, BufReader, ErrorKind, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use parking_lot::Mutex;

use crate::skip::skipped;
use crate::wait::{TIMEOUT, eventually};

/// A message accepted by the sink.
#[derive(Debug, Clone)]
pub struct Received {
    /// Argument of MAIL, verbatim.
    pub mail: String,
    /// Arguments of accepted RCPT commands, verbatim.
    pub recipients: Vec<String>,
    /// Message without dot-stuffing; invalid UTF-8 is replaced by U+FFFD.
    pub text: String,
    /// Octets of the message.
    pub octets: Vec<u8>,
}

struct ScriptedReply {
    prefix: String,
    reply: String,
    /// Remaining uses; `None` is unlimited.
    times: Option<usize>,
}

#[derive(Default)]
struct SinkState {
    lmtp: bool,
    script: Mutex<Vec<ScriptedReply>>,
    received: Mutex<Vec<Received>>,
    commands: Mutex<Vec<String>>,
    stopped: AtomicBool,
    /// Current number of connections.
    connections: AtomicUsize,
    /// Maximum number of connections; 0 is unlimited.
    max_connections: AtomicUsize,
    /// Delay before the reply to the end of a message.
    reply_delay: Mutex<Duration>,
    /// Maximum recipients of a transaction, beyond which RCPT is answered 452; 0 is unlimited.
    max_recipients: AtomicUsize,
    /// Connections that are left without a reply.
    hanging: AtomicUsize,
}

/// A scripted mail host. Dropping the sink stops accepting connections.
pub struct Sink {
    address: SocketAddr,
    inner: Arc<SinkState>,
}

impl Sink {
    /// Starts an SMTP host that accepts everything.
    pub fn smtp() -> Self {
        Self::start(false)
    }

    /// Starts an LMTP host that accepts everything.
    pub fn lmtp() -> Self {
        Self::start(true)
    }

    /// Starts an SMTP host that accepts everything, on a port of every address: a single host that stands for many.
    pub fn everywhere() -> Self {
        Self::serving(TcpListener::bind("0.0.0.0:0").expect("a free port"), false)
    }

    /// Starts an SMTP host on port 25 of a loopback address, as a mail exchange. Without the permission to bind the
    /// port, `None` is returned and a line with SKIPPED is printed.
    pub fn exchange(address: [u8; 4]) -> Option<Self> {
        match TcpListener::bind(SocketAddr::from((address, 25))) {
            Ok(listener) => Some(Self::serving(listener, false)),
            Err(error) if error.kind() == ErrorKind::PermissionDenied => {
                skipped(format!("port 25 of {address:?}: {error}"));
                None
            }
            Err(error) => panic!("port 25 of {address:?}: {error}"),
        }
    }

    fn start(lmtp: bool) -> Self {
        Self::serving(TcpListener::bind("127.0.0.1:0").expect("a free port"), lmtp)
    }

    fn serving(listener: TcpListener, lmtp: bool) -> Self {
        let address = listener.local_addr().expect("a bound socket has an address");
        let inner = Arc::new(SinkState {
            lmtp,
            ..SinkState::default()
        });
        let accepting = Arc::clone(&inner);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                if accepting.stopped.load(Ordering::Relaxed) {
                    return;
                }
                let (Ok(stream), inner) = (stream, Arc::clone(&accepting)) else {
                    continue;
                };
                // Replies are small, and the client waits for every reply.
                let _ = stream.set_nodelay(true);
                // The client may disconnect at any point: some tests do so on purpose.
                std::thread::spawn(move || {
                    let others = inner.connections.fetch_add(1, Ordering::Relaxed);
                    drop(serve(stream, &inner, others));
                    inner.connections.fetch_sub(1, Ordering::Relaxed);
                });
            }
        });
        Self { address, inner }
    }

    /// Returns the bound address.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Scripts the reply to commands that start with `prefix`, compared without regard to case. The end of a message is
    /// the command `.`, in LMTP the command `. <recipient>` for each recipient; the greeting answers `CONNECT`. The
    /// reply `close` closes the connection, and `hang` leaves the client without a reply.
    pub fn answer(&self, prefix: &str, reply: &str) {
        self.add_reply(prefix, reply, None);
    }

    /// Scripts a reply like [`Self::answer`], for the next `times` matching commands only.
    pub fn answer_times(&self, times: usize, prefix: &str, reply: &str) {
        self.add_reply(prefix, reply, Some(times));
    }

    fn add_reply(&self, prefix: &str, reply: &str, times: Option<usize>) {
        self.inner.script.lock().push(ScriptedReply {
            prefix: prefix.to_ascii_uppercase(),
            reply: reply.to_owned(),
            times,
        });
    }

    /// Removes all scripted replies, so that everything is accepted again.
    pub fn accept_everything(&self) {
        self.inner.script.lock().clear();
    }

    /// Limits the number of connections; further connections are greeted with 421. 0 removes the limit.
    pub fn limit_connections(&self, connections: usize) {
        self.inner.max_connections.store(connections, Ordering::Relaxed);
    }

    /// Limits the recipients of a transaction; further ones are answered 452 4.5.3.
    pub fn limit_recipients(&self, recipients: usize) {
        self.inner.max_recipients.store(recipients, Ordering::Relaxed);
    }

    /// Returns the number of clients that wait for a reply in vain.
    pub fn hanging(&self) -> usize {
        self.inner.hanging.load(Ordering::Relaxed)
    }

    /// Delays the reply to the end of a message.
    pub fn delay_replies(&self, time: Duration) {
        *self.inner.reply_delay.lock() = time;
    }

    /// Returns the messages accepted so far.
    pub fn received(&self) -> Vec<Received> {
        self.inner.received.lock().clone()
    }

    /// Maps each message accepted so far, without a copy of the messages. The sink is locked meanwhile.
    pub fn collect<T, C: FromIterator<T>>(&self, look: impl FnMut(&Received) -> T) -> C {
        self.inner.received.lock().iter().map(look).collect()
    }

    /// Returns the commands of all connections so far.
    pub fn commands(&self) -> Vec<String> {
        self.inner.commands.lock().clone()
    }

    /// Waits for a message that contains `text`.
    ///
    /// # Panics
    /// If no message arrives in time.
    pub fn expect(&self, text: &str) -> Received {
        eventually(&format!("a message with {text:?} at the sink"), || {
            self.received().into_iter().find(|message| message.text.contains(text))
        })
    }
}

impl Drop for Sink {
    fn drop(&mut self) {
        self.inner.stopped.store(true, Ordering::Relaxed);
        // Wakes the accepting thread.
        let _ = TcpStream::connect(self.address);
    }
}

/// Returns the scripted reply to a command and counts the use.
fn scripted(inner: &SinkState, command: &str) -> Option<String> {
    let command = command.to_ascii_uppercase();
    let mut script = inner.script.lock();
    let scripted = script
        .iter_mut()
        .find(|scripted| scripted.times != Some(0) && command.starts_with(&scripted.prefix))?;
    scripted.times = scripted.times.map(|times| times - 1);
    Some(scripted.reply.clone())
}

/// The current transaction of a connection.
#[derive(Default)]
struct Transaction {
    mail: String,
    recipients: Vec<String>,
}

/// Serves a connection until the end; an error is the end of the connection.
fn serve(stream: TcpStream, inner: &SinkState, others: usize) -> std::io::Result<()> {
    stream.set_read_timeout(Some(TIMEOUT))?;
    let mut conversation = Conversation {
        input: BufReader::new(stream.try_clone()?),
        output: stream,
        inner,
        transaction: Transaction::default(),
    };
    if (1..=others).contains(&inner.max_connections.load(Ordering::Relaxed)) {
        return conversation.write("421 4.7.0 you have enough connections");
    }
    conversation.answer("CONNECT", "220 sink.example ready")?;
    while conversation.command()? {}
    Ok(())
}

struct Conversation<'a> {
    input: BufReader<TcpStream>,
    output: TcpStream,
    inner: &'a SinkState,
    transaction: Transaction,
}

impl Conversation<'_> {
    /// Reads and answers a command; false after the last command.
    fn command(&mut self) -> std::io::Result<bool> {
        let mut line = String::new();
        if self.input.read_line(&mut line)? == 0 {
            return Ok(false);
        }
        let line = line.trim_end();
        self.inner.commands.lock().push(line.to_owned());
        let verb = line.split([' ', ':']).next().unwrap_or("").to_ascii_uppercase();
        let usual = match verb.as_str() {
            "EHLO" | "LHLO" => {
                "250-sink.example\r\n250-PIPELINING\r\n250-8BITMIME\r\n250-SMTPUTF8\r\n250 ENHANCEDSTATUSCODES"
            }
            "HELO" | "NOOP" | "RSET" => "250 2.0.0 ok",
            "MAIL" => "250 2.1.0 sender taken",
            "RCPT" if self.transaction.mail.is_empty() => "503 5.5.1 no sender",
            "RCPT" if self.is_full() => "452 4.5.3 too many recipients",
            "RCPT" => "250 2.1.5 recipient taken",
            "DATA" if self.transaction.recipients.is_empty() => "503 5.5.1 no recipients",
            "DATA" => "354 go on",
            "QUIT" => "221 2.0.0 bye",
            _ => "502 5.5.1 not here",
        };
        if self.answer(line, usual)? {
            self.apply(&verb, line)?;
        }
        Ok(verb != "QUIT")
    }

    fn is_full(&self) -> bool {
        let max = self.inner.max_recipients.load(Ordering::Relaxed);
        max > 0 && self.transaction.recipients.len() >= max
    }

    /// Applies a command after a positive reply.
    fn apply(&mut self, verb: &str, line: &str) -> std::io::Result<()> {
        let argument = line
            .split_once(':')
            .map_or("", |(_, argument)| argument.trim())
            .to_owned();
        match verb {
            "MAIL" => {
                self.transaction = Transaction {
                    mail: argument,
                    recipients: Vec::new(),
                }
            }
            "RCPT" => self.transaction.recipients.push(argument),
            "RSET" => self.transaction = Transaction::default(),
            "DATA" => {
                let octets = read_message(&mut self.input)?;
                self.end_of_message(octets)?;
            }
            _ => {}
        }
        Ok(())
    }

    /// Accepts the message for every recipient that the script does not refuse. The message is recorded before the
    /// reply is written, because the client may be killed in between.
    fn end_of_message(&mut self, octets: Vec<u8>) -> std::io::Result<()> {
        let Transaction { mail, recipients } = std::mem::take(&mut self.transaction);
        let ends = match self.inner.lmtp {
            true => recipients.iter().map(|recipient| format!(". {recipient}")).collect(),
            false => vec![".".to_owned()],
        };
        let replies: Vec<String> = ends
            .iter()
            .map(|end| scripted(self.inner, end).unwrap_or_else(|| "250 2.0.0 taken".to_owned()))
            .collect();
        let taken = |index: usize| {
            replies
                .get(index)
                .or(replies.first())
                .is_some_and(|reply| reply.starts_with('2'))
        };
        let recipients: Vec<String> = recipients
            .into_iter()
            .enumerate()
            .filter_map(|(index, recipient)| taken(index).then_some(recipient))
            .collect();
        let reply_delay = *self.inner.reply_delay.lock();
        std::thread::sleep(reply_delay);
        if !recipients.is_empty() {
            let text = String::from_utf8_lossy(&octets).into_owned();
            self.inner.received.lock().push(Received {
                mail,
                recipients,
                text,
                octets,
            });
        }
        replies.iter().try_for_each(|reply| self.write(reply))
    }

    /// Writes the scripted reply, or the reply `usual`; true if the reply is positive.
    fn answer(&mut self, command: &str, usual: &str) -> std::io::Result<bool> {
        let reply = scripted(self.inner, command).unwrap_or_else(|| usual.to_owned());
        self.write(&reply)?;
        Ok(reply.starts_with(['2', '3']))
    }

    fn write(&mut self, reply: &str) -> std::io::Result<()> {
        if reply == "close" {
            self.output.shutdown(std::net::Shutdown::Both)?;
            return Err(std::io::ErrorKind::ConnectionAborted.into());
        }
        if reply == "hang" {
            self.inner.hanging.fetch_add(1, Ordering::Relaxed);
            // Ends when the client closes the connection, or at the read timeout.
            let ended = std::io::copy(&mut self.input, &mut std::io::sink());
            self.inner.hanging.fetch_sub(1, Ordering::Relaxed);
            return ended.and(Err(std::io::ErrorKind::ConnectionAborted.into()));
        }
        self.output.write_all(format!("{reply}\r\n").as_bytes())
    }
}

/// Reads a message up to the final dot and removes dot-stuffing.
fn read_message(input: &mut impl BufRead) -> std::io::Result<Vec<u8>> {
    let mut text = Vec::new();
    loop {
        let mut line = Vec::new();
        if input.read_until(b'\n', &mut line)? == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        if line == b".\r\n" {
            return Ok(text);
        }
        text.extend_from_slice(line.strip_prefix(b".").unwrap_or(&line));
    }
}
