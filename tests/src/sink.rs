//! A mail host that answers as it is told: SMTP, or LMTP (RFC 2033).

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::wait::{PATIENCE, eventually};

/// A message the sink took.
#[derive(Debug, Clone)]
pub struct Received {
    /// Argument of MAIL, as it came.
    pub mail: String,
    /// Arguments of RCPT that were accepted, as they came.
    pub recipients: Vec<String>,
    /// The message, dots undone.
    pub text: String,
}

struct Rule {
    prefix: String,
    reply: String,
    /// None is for ever.
    times: Option<usize>,
}

#[derive(Default)]
struct Inner {
    lmtp: bool,
    rules: Mutex<Vec<Rule>>,
    received: Mutex<Vec<Received>>,
    commands: Mutex<Vec<String>>,
    stopped: AtomicBool,
}

/// The host. Stops taking connections when dropped.
pub struct Sink {
    address: SocketAddr,
    inner: Arc<Inner>,
}

impl Sink {
    /// One that speaks SMTP and takes everything.
    pub fn smtp() -> Self {
        Self::start(false)
    }

    /// One that speaks LMTP and takes everything.
    pub fn lmtp() -> Self {
        Self::start(true)
    }

    fn start(lmtp: bool) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("a bound socket has an address");
        let inner = Arc::new(Inner {
            lmtp,
            ..Inner::default()
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
                // The other side may vanish at any point: that is its test's subject, not ours.
                std::thread::spawn(move || drop(serve(stream, &inner)));
            }
        });
        Self { address, inner }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Answers commands that start with `prefix` (in upper case) with `reply` from now on. The end
    /// of a message is the command `.`, in LMTP `. <recipient>` once for each. The reply `close`
    /// closes the connection.
    pub fn answer(&self, prefix: &str, reply: &str) {
        self.rule(prefix, reply, None);
    }

    /// As [`Self::answer`], for the next `times` such commands only.
    pub fn answer_times(&self, times: usize, prefix: &str, reply: &str) {
        self.rule(prefix, reply, Some(times));
    }

    fn rule(&self, prefix: &str, reply: &str, times: Option<usize>) {
        lock(&self.inner.rules).push(Rule {
            prefix: prefix.to_ascii_uppercase(),
            reply: reply.to_owned(),
            times,
        });
    }

    /// Forgets every [`Self::answer`]: takes everything again.
    pub fn take_everything(&self) {
        lock(&self.inner.rules).clear();
    }

    /// What it took so far.
    pub fn received(&self) -> Vec<Received> {
        lock(&self.inner.received).clone()
    }

    /// Every command so far, of all connections.
    pub fn commands(&self) -> Vec<String> {
        lock(&self.inner.commands).clone()
    }

    /// Waits for a message that contains `text`.
    ///
    /// # Panics
    /// When none comes.
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

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The scripted reply to a command, if there is one.
fn scripted(inner: &Inner, command: &str) -> Option<String> {
    let command = command.to_ascii_uppercase();
    let mut rules = lock(&inner.rules);
    let rule = rules
        .iter_mut()
        .find(|rule| rule.times != Some(0) && command.starts_with(&rule.prefix))?;
    rule.times = rule.times.map(|times| times - 1);
    Some(rule.reply.clone())
}

/// One transaction so far.
#[derive(Default)]
struct Transaction {
    mail: String,
    recipients: Vec<String>,
}

/// Serves one connection; an error is its end.
fn serve(stream: TcpStream, inner: &Inner) -> std::io::Result<()> {
    stream.set_read_timeout(Some(PATIENCE))?;
    let mut input = BufReader::new(stream.try_clone()?);
    let mut output = stream;
    let mut transaction = Transaction::default();
    say(&mut output, inner, "CONNECT", "220 sink.example ready")?;
    loop {
        let mut line = String::new();
        if input.read_line(&mut line)? == 0 {
            return Ok(());
        }
        let line = line.trim_end();
        lock(&inner.commands).push(line.to_owned());
        let verb = line.split([' ', ':']).next().unwrap_or("").to_ascii_uppercase();
        match verb.as_str() {
            "EHLO" | "LHLO" => {
                let extensions =
                    "250-sink.example\r\n250-PIPELINING\r\n250-8BITMIME\r\n250-SMTPUTF8\r\n250 ENHANCEDSTATUSCODES";
                say(&mut output, inner, line, extensions)?;
            }
            "MAIL" => {
                if say(&mut output, inner, line, "250 2.1.0 sender taken")? {
                    transaction = Transaction {
                        mail: argument(line),
                        recipients: Vec::new(),
                    };
                }
            }
            "RCPT" => {
                if say(&mut output, inner, line, "250 2.1.5 recipient taken")? {
                    transaction.recipients.push(argument(line));
                }
            }
            "DATA" if transaction.recipients.is_empty() => {
                say(&mut output, inner, line, "503 5.5.1 no recipients")?;
            }
            "DATA" => {
                if say(&mut output, inner, line, "354 go on")? {
                    let text = read_message(&mut input)?;
                    end_of_message(&mut output, inner, std::mem::take(&mut transaction), text)?;
                }
            }
            "RSET" => transaction = Transaction::default(),
            _ => {}
        }
        match verb.as_str() {
            "QUIT" => {
                say(&mut output, inner, line, "221 2.0.0 bye")?;
                return Ok(());
            }
            "EHLO" | "LHLO" | "MAIL" | "RCPT" | "DATA" => {}
            "HELO" | "RSET" | "NOOP" => drop(say(&mut output, inner, line, "250 2.0.0 ok")?),
            _ => drop(say(&mut output, inner, line, "502 5.5.1 not here")?),
        }
    }
}

/// What follows the colon of MAIL or RCPT.
fn argument(line: &str) -> String {
    line.split_once(':')
        .map_or("", |(_, argument)| argument.trim())
        .to_owned()
}

/// Takes the message for every recipient the script does not refuse.
fn end_of_message(
    output: &mut TcpStream,
    inner: &Inner,
    transaction: Transaction,
    text: String,
) -> std::io::Result<()> {
    let Transaction { mail, mut recipients } = transaction;
    if inner.lmtp {
        let mut taken = Vec::new();
        for recipient in recipients {
            if say(output, inner, &format!(". {recipient}"), "250 2.0.0 taken")? {
                taken.push(recipient);
            }
        }
        recipients = taken;
    } else if !taken_before_reply(output, inner, &mail, &recipients, &text)? {
        return Ok(());
    }
    if inner.lmtp && !recipients.is_empty() {
        lock(&inner.received).push(Received { mail, recipients, text });
    }
    Ok(())
}

/// SMTP: what was taken counts as taken before the reply is written, since the other side may be
/// killed between the two.
fn taken_before_reply(
    output: &mut TcpStream,
    inner: &Inner,
    mail: &str,
    recipients: &[String],
    text: &str,
) -> std::io::Result<bool> {
    match scripted(inner, ".") {
        Some(reply) if !reply.starts_with('2') => {
            write(output, &reply)?;
            Ok(false)
        }
        reply => {
            lock(&inner.received).push(Received {
                mail: mail.to_owned(),
                recipients: recipients.to_vec(),
                text: text.to_owned(),
            });
            write(output, reply.as_deref().unwrap_or("250 2.0.0 taken"))?;
            Ok(true)
        }
    }
}

/// Writes the scripted reply or the usual one; true when it was a positive one.
fn say(output: &mut TcpStream, inner: &Inner, command: &str, usual: &str) -> std::io::Result<bool> {
    let reply = scripted(inner, command).unwrap_or_else(|| usual.to_owned());
    write(output, &reply)?;
    Ok(reply.starts_with(['2', '3']))
}

fn write(output: &mut TcpStream, reply: &str) -> std::io::Result<()> {
    if reply == "close" {
        output.shutdown(std::net::Shutdown::Both)?;
        return Err(std::io::ErrorKind::ConnectionAborted.into());
    }
    output.write_all(format!("{reply}\r\n").as_bytes())
}

/// Up to the final dot; dots are undone.
fn read_message(input: &mut impl BufRead) -> std::io::Result<String> {
    let mut text = Vec::new();
    loop {
        let mut line = Vec::new();
        if input.read_until(b'\n', &mut line)? == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        if line == b".\r\n" {
            return Ok(String::from_utf8_lossy(&text).into_owned());
        }
        text.extend_from_slice(line.strip_prefix(b".").unwrap_or(&line));
    }
}
