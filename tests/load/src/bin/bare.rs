//! A minimal durable SMTP relay, for `tests/bench`: the lower bound of the cost of any SMTP host on a machine.
//!
//! Each message is appended to a file and synced by group commit before the 250, then sent to the next host over a
//! reused connection with the commands in a single group, and marked as sent. The relay checks no addresses, lines,
//! rules or limits, has no time-outs, logs nothing, and does not send the messages of the file after a crash.

use std::fs::File;
use std::io::{self, Write as _};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, mpsc};

use clap::Parser;
use parking_lot::Mutex;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, oneshot};

/// Maximum number of connections to the next host, the same as for the hosts under comparison.
const CONNECTIONS: usize = 20;

/// Accepts messages, appends each message to a file, and relays each message to the next host.
#[derive(Parser)]
struct Arguments {
    /// Address and port to listen at.
    at: SocketAddr,
    /// Address and port of the next host.
    to: SocketAddr,
    /// File that keeps the messages; overwritten.
    file: PathBuf,
}

/// An append to the file. The sender, if any, is notified after the sync; a mark that a message was sent has no sender.
struct Entry {
    bytes: Vec<u8>,
    synced: Option<oneshot::Sender<()>>,
}

/// State shared by all sessions.
struct Host {
    file: mpsc::Sender<Entry>,
    to: SocketAddr,
    /// Idle connections to the next host.
    idle: Mutex<Vec<BufReader<TcpStream>>>,
    connections: Semaphore,
}

fn main() -> io::Result<()> {
    let arguments = Arguments::parse();
    let file = File::create(&arguments.file)?;
    let (entries, waiting) = mpsc::channel();
    std::thread::spawn(move || {
        if let Err(error) = write_entries(file, &waiting) {
            eprintln!("{error}");
            std::process::exit(1);
        }
    });
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        let host = Arc::new(Host {
            file: entries,
            to: arguments.to,
            idle: Mutex::default(),
            connections: Semaphore::new(CONNECTIONS),
        });
        let listener = TcpListener::bind(arguments.at).await?;
        loop {
            let (stream, _) = listener.accept().await?;
            stream.set_nodelay(true)?;
            // An error is the end of the session.
            tokio::spawn(serve(Arc::clone(&host), BufReader::new(stream)));
        }
    })
}

/// Group commit: appends all waiting entries, and syncs once for the batch.
fn write_entries(mut file: File, waiting: &mpsc::Receiver<Entry>) -> io::Result<()> {
    let mut bytes = Vec::new();
    let mut synced = Vec::new();
    while let Ok(first) = waiting.recv() {
        for entry in std::iter::once(first).chain(waiting.try_iter()) {
            bytes.extend_from_slice(&entry.bytes);
            synced.extend(entry.synced);
        }
        file.write_all(&bytes)?;
        if !synced.is_empty() {
            file.sync_data()?;
        }
        bytes.clear();
        for sender in synced.drain(..) {
            // The session may have ended.
            let _ = sender.send(());
        }
    }
    Ok(())
}

async fn serve(host: Arc<Host>, mut client: BufReader<TcpStream>) -> io::Result<()> {
    let mut line = String::new();
    client.write_all(b"220 bare\r\n").await?;
    loop {
        line.clear();
        if client.read_line(&mut line).await? == 0 {
            return Ok(());
        }
        match line.get(..4).unwrap_or_default().to_ascii_uppercase().as_str() {
            "DATA" => {
                client.write_all(b"354 go on\r\n").await?;
                let message = Arc::new(message(&mut client).await?);
                let (sender, synced) = oneshot::channel();
                let bytes = message.to_vec();
                let entry = Entry {
                    bytes,
                    synced: Some(sender),
                };
                if host.file.send(entry).is_err() || synced.await.is_err() {
                    return Ok(());
                }
                tokio::spawn(relay(Arc::clone(&host), message));
                client.write_all(b"250 kept\r\n").await?;
            }
            "QUIT" => return client.write_all(b"221 bye\r\n").await,
            _ => client.write_all(b"250 ok\r\n").await?,
        }
    }
}

/// Reads a message up to and including the final dot.
async fn message(client: &mut BufReader<TcpStream>) -> io::Result<Vec<u8>> {
    let mut message = Vec::with_capacity(8192);
    while !message.ends_with(b"\r\n.\r\n") {
        if client.read_buf(&mut message).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
    Ok(message)
}

async fn relay(host: Arc<Host>, message: Arc<Vec<u8>>) -> io::Result<()> {
    // The semaphore is never closed.
    let _permit = host.connections.acquire().await;
    let idle = host.idle.lock().pop();
    let reused = match idle {
        Some(next) => send(next, &message).await.ok(),
        None => None,
    };
    let next = match reused {
        Some(next) => next,
        // No idle connection, or the next host has closed the connection.
        None => send(connect(host.to).await?, &message).await?,
    };
    host.idle.lock().push(next);
    let bytes = b"gone\r\n".to_vec();
    // The writer thread lives as long as the process.
    let _ = host.file.send(Entry { bytes, synced: None });
    Ok(())
}

/// Sends a message and returns the connection for reuse.
async fn send(mut next: BufReader<TcpStream>, message: &[u8]) -> io::Result<BufReader<TcpStream>> {
    next.write_all(b"MAIL FROM:<a@bench.test>\r\nRCPT TO:<b@bench.test>\r\nDATA\r\n")
        .await?;
    replies(&mut next, 3).await?;
    next.write_all(message).await?;
    replies(&mut next, 1).await?;
    Ok(next)
}

async fn connect(to: SocketAddr) -> io::Result<BufReader<TcpStream>> {
    let stream = TcpStream::connect(to).await?;
    stream.set_nodelay(true)?;
    let mut next = BufReader::new(stream);
    replies(&mut next, 1).await?;
    next.write_all(b"EHLO bare\r\n").await?;
    replies(&mut next, 1).await?;
    Ok(next)
}

/// Reads `count` replies and ignores the reply codes.
async fn replies(next: &mut BufReader<TcpStream>, count: usize) -> io::Result<()> {
    let mut line = String::new();
    let mut read = 0;
    while read < count {
        line.clear();
        if next.read_line(&mut line).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        read += usize::from(line.as_bytes().get(3) == Some(&b' '));
    }
    Ok(())
}
