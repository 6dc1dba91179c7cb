//! An SMTP load generator for `tests/bench/pressure.py`: open-loop with a fixed rate of new clients, regardless of the
//! host's progress, or closed-loop with a fixed number of concurrent clients.
//!
//! Each client has an address of its own within 127.0.0.0/8, sends a message with pipelined commands (RFC 2920) and
//! quits. A client that is not greeted in time gives up. The program has a single thread and runs for `--seconds`;
//! connections that are open at that time are dropped. The result is printed as a line of JSON.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::rc::Rc;
use std::time::Duration;

use clap::{ArgGroup, Parser};
use posthouse_load::{latency, message};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};
use tokio::task::LocalSet;
use tokio::time::{Instant, sleep, timeout};

/// Interval between two checks for clients that are due.
const TICK: Duration = Duration::from_millis(2);
/// Pause of a client after a local error, so that retries do not aggravate a shortage of resources.
const ERROR_PAUSE: Duration = Duration::from_millis(20);

/// Opens connections to an SMTP host and prints the outcomes as JSON.
#[derive(Parser)]
#[command(group = ArgGroup::new("how many").required(true))]
struct Arguments {
    /// Address and port of the host.
    to: SocketAddr,
    /// New connections per second.
    #[arg(long, group = "how many")]
    rate: Option<f64>,
    /// Concurrent connections; each is replaced by a new connection when finished.
    #[arg(long, group = "how many")]
    at_once: Option<u32>,
    /// Duration of the run in seconds.
    #[arg(long, default_value_t = 5.0)]
    seconds: f64,
    /// Seconds that a client waits for the greeting.
    #[arg(long, default_value_t = 2.0)]
    patience: f64,
    /// Bytes of each message's body.
    #[arg(long, default_value_t = 4096)]
    size: usize,
    /// Forward-path.
    #[arg(long, default_value = "target@example.org")]
    recipient: String,
}

/// State and results shared by all clients.
struct Rush {
    to: SocketAddr,
    patience: Duration,
    /// Octets sent after the greeting, each group with the expected start of the last reply.
    dialogue: [(Vec<u8>, &'static str); 3],
    begun: Cell<u32>,
    found: RefCell<Found>,
}

#[derive(Default)]
struct Found {
    latencies: Vec<Duration>,
    refused: BTreeMap<String, usize>,
    gave_up: usize,
}

enum Ended {
    Taken,
    GaveUp,
    Refused(String),
}

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let arguments = Arguments::parse();
    let commands = format!(
        "MAIL FROM:<source@bench.test>\r\nRCPT TO:<{}>\r\nDATA\r\n",
        arguments.recipient
    );
    let rush = Rc::new(Rush {
        to: arguments.to,
        patience: Duration::from_secs_f64(arguments.patience),
        dialogue: [
            (b"EHLO rush.bench.test\r\n".to_vec(), "250 "),
            (commands.into_bytes(), "354 "),
            ([message(arguments.size), b"QUIT\r\n".to_vec()].concat(), "221 "),
        ],
        begun: Cell::default(),
        found: RefCell::default(),
    });
    let (start, lasts) = (Instant::now(), Duration::from_secs_f64(arguments.seconds));
    let clients = LocalSet::new();
    let all = async {
        match arguments.rate {
            Some(rate) => begin(&rush, start, rate).await,
            None => {
                for _ in 0..arguments.at_once.unwrap_or(1) {
                    tokio::task::spawn_local(one_after_another(Rc::clone(&rush)));
                }
                std::future::pending().await
            }
        }
    };
    let _ = timeout(lasts, clients.run_until(all)).await;
    let elapsed = start.elapsed();
    drop(clients);
    println!("{}", report(&rush, elapsed));
}

/// Starts clients at a fixed rate. Never returns.
async fn begin(rush: &Rc<Rush>, start: Instant, rate: f64) {
    let mut begun = 0.0;
    loop {
        while begun < start.elapsed().as_secs_f64() * rate {
            begun += 1.0;
            let rush = Rc::clone(rush);
            tokio::task::spawn_local(async move { client(&rush).await });
        }
        sleep(TICK).await;
    }
}

async fn one_after_another(rush: Rc<Rush>) {
    loop {
        client(&rush).await;
    }
}

/// Runs a client and records the outcome.
async fn client(rush: &Rush) {
    let start = Instant::now();
    rush.begun.set(rush.begun.get() + 1);
    let ended = match one_message(rush, rush.begun.get()).await {
        Ok(ended) => ended,
        Err(error) => {
            sleep(ERROR_PAUSE).await;
            Ended::Refused(error.to_string())
        }
    };
    let mut found = rush.found.borrow_mut();
    match ended {
        Ended::Taken => found.latencies.push(start.elapsed()),
        Ended::GaveUp => found.gave_up += 1,
        Ended::Refused(reply) => *found.refused.entry(reply).or_default() += 1,
    }
}

async fn one_message(rush: &Rush, number: u32) -> io::Result<Ended> {
    let greeted = timeout(rush.patience, async {
        let mut stream = connect(rush.to, number).await?;
        let refused = reply(&mut stream, "220 ").await?;
        io::Result::Ok((stream, refused))
    });
    let Ok(greeted) = greeted.await else {
        return Ok(Ended::GaveUp);
    };
    let (mut stream, mut refused) = greeted?;
    for (octets, code) in &rush.dialogue {
        if refused.is_none() {
            stream.write_all(octets).await?;
            refused = reply(&mut stream, code).await?;
        }
    }
    Ok(refused.map_or(Ended::Taken, Ended::Refused))
}

/// Connects from a local address that was not used recently, because ports of closed connections stay unavailable for a
/// while (TIME_WAIT).
async fn connect(to: SocketAddr, number: u32) -> io::Result<TcpStream> {
    let [_, _, second, third] = (number % 60_000 + 256).to_be_bytes();
    let socket = TcpSocket::new_v4()?;
    socket.bind((Ipv4Addr::new(127, second, third, 1), 0).into())?;
    socket.set_nodelay(true)?;
    socket.connect(to).await
}

/// Reads until the last line begins with `code`. A line with a negative reply is returned, at any position.
async fn reply(stream: &mut TcpStream, code: &str) -> io::Result<Option<String>> {
    let mut received = Vec::with_capacity(1024);
    loop {
        if stream.read_buf(&mut received).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let Some(lines) = received.strip_suffix(b"\r\n") else {
            continue;
        };
        let mut lines = lines.split(|byte| *byte == b'\n');
        if let Some(negative) = lines.clone().find(|line| matches!(line.first(), Some(b'4' | b'5'))) {
            return Ok(Some(String::from_utf8_lossy(negative).trim_end().to_owned()));
        }
        if lines.next_back().is_some_and(|last| last.starts_with(code.as_bytes())) {
            return Ok(None);
        }
    }
}

fn report(rush: &Rush, elapsed: Duration) -> Value {
    let mut found = rush.found.borrow_mut();
    json!({
        "begun": rush.begun.get(),
        "accepted": found.latencies.len(),
        "refused": found.refused,
        "gave up": found.gave_up,
        "seconds": elapsed.as_secs_f64(),
        "latency": latency(&mut found.latencies),
    })
}
