//! The least that can stand between a sender and the next host and keep its word: what any SMTP host has
//! to pay on a machine, for `tests/bench`.
//!
//! Each message is appended to one file and synced before its 250, with whatever else waits, then goes to the
//! next host on a kept connection, commands in one group, and is marked as gone. Nothing is looked at: no
//! address, no line, no rule, no limit, no time-out; nothing is logged, and after a crash nobody would send what is in the file.

use std::fs::File;
use std::io::{self, Write as _};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError, mpsc};

use clap::Parser;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, oneshot};

/// Connections to the next host, as many as the hosts beside it may have.
const CONNECTIONS: usize = 20;

/// Takes messages, keeps them in a file, and hands them on.
#[derive(Parser)]
struct Arguments {
    /// Address and port to listen at.
    at: SocketAddr,
    /// Address and port of the next host.
    to: SocketAddr,
    /// Where messages are kept; it is overwritten.
    file: PathBuf,
}

/// What the file gets, and who waits until it has it. A mark that a message is gone keeps nobody waiting.
struct Entry {
    bytes: Vec<u8>,
    kept: Option<oneshot::Sender<()>>,
}

/// What every session needs.
struct Host {
    file: mpsc::Sender<Entry>,
    to: SocketAddr,
    /// Connections to the next host that nobody uses.
    idle: Mutex<Vec<BufReader<TcpStream>>>,
    connections: Semaphore,
}

fn main() -> io::Result<()> {
    let arguments = Arguments::parse();
    let file = File::create(&arguments.file)?;
    let (entries, waiting) = mpsc::channel();
    std::thread::spawn(move || {
        if let Err(error) = keep(file, &waiting) {
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
            // Whoever breaks off has had what there is.
            tokio::spawn(serve(Arc::clone(&host), BufReader::new(stream)));
        }
    })
}

/// Appends and syncs, everything that waits at once.
fn keep(mut file: File, waiting: &mpsc::Receiver<Entry>) -> io::Result<()> {
    let mut bytes = Vec::new();
    let mut kept = Vec::new();
    while let Ok(first) = waiting.recv() {
        for entry in std::iter::once(first).chain(waiting.try_iter()) {
            bytes.extend_from_slice(&entry.bytes);
            kept.extend(entry.kept);
        }
        file.write_all(&bytes)?;
        if !kept.is_empty() {
            file.sync_data()?;
        }
        bytes.clear();
        for sender in kept.drain(..) {
            // Its session may be gone.
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
                let (sender, kept) = oneshot::channel();
                let bytes = message.to_vec();
                let entry = Entry {
                    bytes,
                    kept: Some(sender),
                };
                if host.file.send(entry).is_err() || kept.await.is_err() {
                    return Ok(());
                }
                tokio::spawn(hand_on(Arc::clone(&host), message));
                client.write_all(b"250 kept\r\n").await?;
            }
            "QUIT" => return client.write_all(b"221 bye\r\n").await,
            _ => client.write_all(b"250 ok\r\n").await?,
        }
    }
}

/// Up to the final dot, which stays.
async fn message(client: &mut BufReader<TcpStream>) -> io::Result<Vec<u8>> {
    let mut message = Vec::with_capacity(8192);
    while !message.ends_with(b"\r\n.\r\n") {
        if client.read_buf(&mut message).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
    Ok(message)
}

async fn hand_on(host: Arc<Host>, message: Arc<Vec<u8>>) -> io::Result<()> {
    // Never closed.
    let _turn = host.connections.acquire().await;
    let idle = host.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
    let kept = match idle {
        Some(next) => told(next, &message).await.ok(),
        None => None,
    };
    let next = match kept {
        Some(next) => next,
        // There was none, or the next host has closed it, as it may.
        None => told(connected(host.to).await?, &message).await?,
    };
    host.idle.lock().unwrap_or_else(PoisonError::into_inner).push(next);
    let bytes = b"gone\r\n".to_vec();
    // The file's thread ends with the process.
    let _ = host.file.send(Entry { bytes, kept: None });
    Ok(())
}

/// The connection again, once it has taken the message.
async fn told(mut next: BufReader<TcpStream>, message: &[u8]) -> io::Result<BufReader<TcpStream>> {
    next.write_all(b"MAIL FROM:<a@bench.test>\r\nRCPT TO:<b@bench.test>\r\nDATA\r\n")
        .await?;
    replies(&mut next, 3).await?;
    next.write_all(message).await?;
    replies(&mut next, 1).await?;
    Ok(next)
}

async fn connected(to: SocketAddr) -> io::Result<BufReader<TcpStream>> {
    let stream = TcpStream::connect(to).await?;
    stream.set_nodelay(true)?;
    let mut next = BufReader::new(stream);
    replies(&mut next, 1).await?;
    next.write_all(b"EHLO bare\r\n").await?;
    replies(&mut next, 1).await?;
    Ok(next)
}

/// Reads so many replies; what they say is not looked at.
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
