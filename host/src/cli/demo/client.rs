//! A small SMTP client that prints every line it sends and receives.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncWrite, AsyncWriteExt, BufStream};
use tokio::net::TcpSocket;
use tokio::time::timeout;
use tokio_rustls::rustls::pki_types::ServerName;

use super::stage::PASSWORD;
use crate::delivery::opportunistic;

const PATIENCE: Duration = Duration::from_secs(30);

trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Stream for T {}

/// One connection, shown under the name of who holds it.
pub(super) struct Client {
    stream: BufStream<Box<dyn Stream>>,
    who: &'static str,
}

impl Client {
    /// Connects from a loopback address of choice and reads the banner.
    pub(super) async fn connect(to: SocketAddr, from: &str, who: &'static str) -> Result<Self> {
        let socket = TcpSocket::new_v4()?;
        socket.bind(SocketAddr::new(from.parse()?, 0))?;
        let stream = timeout(PATIENCE, socket.connect(to)).await??;
        println!("    [{who} connects from {from}]");
        let mut client = Self {
            stream: BufStream::new(Box::new(stream)),
            who,
        };
        client.expect("220").await?;
        Ok(client)
    }

    pub(super) async fn hello(&mut self) -> Result<()> {
        let reply = self.command("EHLO client.example").await?;
        if reply.starts_with("250") {
            Ok(())
        } else {
            bail!("EHLO was answered {reply}")
        }
    }

    /// EHLO, STARTTLS, EHLO, AUTH PLAIN as the account that owns `address`.
    pub(super) async fn log_in(&mut self, address: &str) -> Result<()> {
        self.hello().await?;
        let reply = self.command("STARTTLS").await?;
        if !reply.starts_with("220") {
            bail!("STARTTLS was answered {reply}");
        }
        self.upgrade().await?;
        self.hello().await?;
        let token = STANDARD.encode(format!("\0{address}\0{PASSWORD}"));
        self.show('C', "AUTH PLAIN ********");
        self.send(&format!("AUTH PLAIN {token}\r\n")).await?;
        self.expect("235").await
    }

    async fn upgrade(&mut self) -> Result<()> {
        let (placeholder, _) = tokio::io::duplex(1);
        let plain = std::mem::replace(&mut self.stream, BufStream::new(Box::new(placeholder))).into_inner();
        let name = ServerName::try_from("demo.example").context("a constant name")?;
        let secure = timeout(PATIENCE, opportunistic()?.connect(name, plain)).await??;
        println!("    [{} speaks TLS from here]", self.who);
        self.stream = BufStream::new(Box::new(secure));
        Ok(())
    }

    /// A whole transaction. Returns the first reply that is not positive, or the last.
    pub(super) async fn submit(&mut self, from: &str, to: &[&str], subject: &str, text: &str) -> Result<String> {
        let mut reply = self.command(&format!("MAIL FROM:<{from}>")).await?;
        for recipient in to {
            if !reply.starts_with('2') {
                return Ok(reply);
            }
            reply = self.command(&format!("RCPT TO:<{recipient}>")).await?;
        }
        if reply.starts_with('2') {
            reply = self.command("DATA").await?;
        }
        if !reply.starts_with('3') {
            return Ok(reply);
        }
        let to = to.join(", ");
        for line in [
            &format!("From: <{from}>"),
            &format!("To: {to}"),
            &format!("Subject: {subject}"),
            "Message-ID: <demo@client.example>",
            "",
            text,
        ] {
            self.show('C', line);
            self.send(&format!("{line}\r\n")).await?;
        }
        self.command(".").await
    }

    /// Sends a line, returns the reply's lines joined by ` / `.
    pub(super) async fn command(&mut self, line: &str) -> Result<String> {
        self.show('C', line);
        self.send(&format!("{line}\r\n")).await?;
        self.reply().await
    }

    pub(super) async fn quit(mut self) -> Result<()> {
        // After 421 the other side has gone already.
        let _ = self.command("QUIT").await;
        Ok(())
    }

    async fn expect(&mut self, code: &str) -> Result<()> {
        let reply = self.reply().await?;
        if reply.starts_with(code) {
            Ok(())
        } else {
            bail!("expected {code}, got {reply}")
        }
    }

    async fn send(&mut self, text: &str) -> Result<()> {
        self.stream.write_all(text.as_bytes()).await?;
        Ok(self.stream.flush().await?)
    }

    async fn reply(&mut self) -> Result<String> {
        let mut lines = Vec::new();
        loop {
            let mut line = String::new();
            let read = timeout(PATIENCE, self.stream.read_line(&mut line))
                .await
                .context("no reply in time")??;
            if read == 0 {
                bail!("the connection was closed after {lines:?}");
            }
            let line = line.trim_end().to_owned();
            self.show('S', &line);
            let last = line.as_bytes().get(3) != Some(&b'-');
            lines.push(line);
            if last {
                return Ok(lines.join(" / "));
            }
        }
    }

    fn show(&self, side: char, line: &str) {
        println!("    {side}: {line}");
    }
}
