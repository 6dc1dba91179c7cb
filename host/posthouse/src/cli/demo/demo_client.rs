//! A client of the demo: every line it says and hears is printed.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Result, ensure};

use crate::cli::demo::demo_site::PASSWORD;
use host_delivery::{Dialogue, Direction};
use host_mail::Reply;

const PATIENCE: Duration = Duration::from_secs(30);
/// The name its certificate is asked for; the demo's is self-signed and any is taken.
const SERVER: &str = "mail.demo.example";

/// One connection.
pub(super) struct DemoClient(Dialogue);

impl DemoClient {
    /// Connects from a loopback address of choice and reads the banner.
    pub(super) async fn connect(to: SocketAddr, from: &str, who: &str) -> Result<Self> {
        println!("    [{who} connects from {from}]");
        let (dialogue, banner) = Dialogue::connect(to, Some(from.parse()?), PATIENCE, show).await?;
        ensure!(banner.code == 220, "the banner is {banner}");
        Ok(Self(dialogue))
    }

    pub(super) async fn hello(&mut self) -> Result<()> {
        let reply = self.command("EHLO client.example").await?;
        ensure!(reply.code == 250, "EHLO was answered {reply}");
        Ok(())
    }

    /// EHLO, STARTTLS, EHLO, AUTH PLAIN as the account that owns `address`.
    pub(super) async fn log_in(&mut self, address: &str) -> Result<()> {
        self.hello().await?;
        let reply = self.0.start_tls(SERVER).await?;
        ensure!(reply.code == 220, "STARTTLS was answered {reply}");
        println!("    [TLS from here]");
        self.hello().await?;
        let reply = self.0.auth_plain(address, PASSWORD).await?;
        ensure!(reply.code == 235, "AUTH was answered {reply}");
        Ok(())
    }

    /// A whole transaction. Returns the first reply that is not positive, or the last.
    pub(super) async fn submit(&mut self, from: &str, to: &str, subject: &str, text: &str) -> Result<Reply> {
        for line in [format!("MAIL FROM:<{from}>"), format!("RCPT TO:<{to}>")] {
            let reply = self.command(&line).await?;
            if !reply.is_positive() {
                return Ok(reply);
            }
        }
        let message = format!(
            "From: <{from}>\r\nTo: <{to}>\r\nSubject: {subject}\r\nMessage-ID: <demo@client.example>\r\n\r\n{text}\r\n"
        );
        Ok(self.0.data(&message).await?)
    }

    /// Sends a line and reads its reply.
    pub(super) async fn command(&mut self, line: &str) -> Result<Reply> {
        Ok(self.0.command(line).await?)
    }

    pub(super) async fn quit(mut self) {
        // After 421 the other side has gone already.
        let _ = self.command("QUIT").await;
    }
}

fn show(direction: Direction, line: &str) {
    let side = match direction {
        Direction::Out => 'C',
        Direction::In => 'S',
    };
    println!("    {side}: {line}");
}
