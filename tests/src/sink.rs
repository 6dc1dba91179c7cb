//! A mail host that answers as it is told: SMTP, or LMTP (RFC 2033).

use std::io::{BufRead, BufReader, ErrorKind, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

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
    /// Connections now, and how many there may be; 0 is any number.
    connections: AtomicUsize,
    at_most: AtomicUsize,
    /// How long the answer to the end of a message takes.
    hesitation: Mutex<Duration>,
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

    /// One at port 25 of a loopback address, where a domain's exchanges are; none for who may not listen there.
    pub fn exchange(address: [u8; 4]) -> Option<Self> {
        match TcpListener::bind(SocketAddr::from((address, 25))) {
            Ok(listener) => Some(Self::serving(listener, false)),
            Err(error) if error.kind() == ErrorKind::PermissionDenied => {
                eprintln!("SKIPPED: port 25 of {address:?}: {error}");
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
                // Replies are small and each is waited for.
                let _ = stream.set_nodelay(true);
                // The other side may vanish at any point: that is its test's subject, not ours.
                std::thread::spawn(move || {
                    let others = inner.connections.fetch_add(1, Ordering::Relaxed);
                    drop(serve(stream, &inner, others));
                    inner.connections.fetch_sub(1, Ordering::Relaxed);
                });
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

    /// Greets whoever has more than so many connections with 421; there may be any number of 0.
    pub fn at_most(&self, connections: usize) {
        self.inner.at_most.store(connections, Ordering::Relaxed);
    }

    /// Takes so long to answer the end of a message.
    pub fn hesitate(&self, time: Duration) {
        *lock(&self.inner.hesitation) = time;
    }

    /// What it took so far.
    pub fn received(&self) -> Vec<Received> {
        lock(&self.inner.received).clone()
    }

    /// What `look` makes of each message so far, without copying them.
    pub fn collect<T, C: FromIterator<T>>(&self, look: impl FnMut(&Received) -> T) -> C {
        lock(&self.inner.received).iter().map(look).collect()
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
fn serve(stream: TcpStream, inner: &Inner, others: usize) -> std::io::Result<()> {
    stream.set_read_timeout(Some(PATIENCE))?;
    let mut conversation = Conversation {
        input: BufReader::new(stream.try_clone()?),
        output: stream,
        inner,
        transaction: Transaction::default(),
    };
    if (1..=others).contains(&inner.at_most.load(Ordering::Relaxed)) {
        return conversation.write("421 4.7.0 you have enough connections");
    }
    conversation.say("CONNECT", "220 sink.example ready")?;
    while conversation.command()? {}
    Ok(())
}

struct Conversation<'a> {
    input: BufReader<TcpStream>,
    output: TcpStream,
    inner: &'a Inner,
    transaction: Transaction,
}

impl Conversation<'_> {
    /// Takes one command; false when it was the last.
    fn command(&mut self) -> std::io::Result<bool> {
        let mut line = String::new();
        if self.input.read_line(&mut line)? == 0 {
            return Ok(false);
        }
        let line = line.trim_end();
        lock(&self.inner.commands).push(line.to_owned());
        let verb = line.split([' ', ':']).next().unwrap_or("").to_ascii_uppercase();
        let usual = match verb.as_str() {
            "EHLO" | "LHLO" => {
                "250-sink.example\r\n250-PIPELINING\r\n250-8BITMIME\r\n250-SMTPUTF8\r\n250 ENHANCEDSTATUSCODES"
            }
            "HELO" | "NOOP" | "RSET" => "250 2.0.0 ok",
            "MAIL" => "250 2.1.0 sender taken",
            "RCPT" => "250 2.1.5 recipient taken",
            "DATA" if self.transaction.recipients.is_empty() => "503 5.5.1 no recipients",
            "DATA" => "354 go on",
            "QUIT" => "221 2.0.0 bye",
            _ => "502 5.5.1 not here",
        };
        if self.say(line, usual)? {
            self.apply(&verb, line)?;
        }
        Ok(verb != "QUIT")
    }

    /// What a command does once it has been answered well.
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
                let text = read_message(&mut self.input)?;
                self.end_of_message(text)?;
            }
            _ => {}
        }
        Ok(())
    }

    /// Takes the message for every recipient the script does not refuse. What was taken counts as
    /// taken before the reply is written: the other side may be killed between the two.
    fn end_of_message(&mut self, text: String) -> std::io::Result<()> {
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
        let hesitation = *lock(&self.inner.hesitation);
        std::thread::sleep(hesitation);
        if !recipients.is_empty() {
            lock(&self.inner.received).push(Received { mail, recipients, text });
        }
        replies.iter().try_for_each(|reply| self.write(reply))
    }

    /// Writes the scripted reply or the usual one; true when it was a positive one.
    fn say(&mut self, command: &str, usual: &str) -> std::io::Result<bool> {
        let reply = scripted(self.inner, command).unwrap_or_else(|| usual.to_owned());
        self.write(&reply)?;
        Ok(reply.starts_with(['2', '3']))
    }

    fn write(&mut self, reply: &str) -> std::io::Result<()> {
        if reply == "close" {
            self.output.shutdown(std::net::Shutdown::Both)?;
            return Err(std::io::ErrorKind::ConnectionAborted.into());
        }
        self.output.write_all(format!("{reply}\r\n").as_bytes())
    }
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
