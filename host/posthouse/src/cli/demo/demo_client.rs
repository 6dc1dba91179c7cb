//! The demo's SMTP client. Prints every line of the dialogue.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Result, ensure};

use crate::cli::demo::demo_site::PASSWORD;
use host_delivery::{Dialogue, Direction};
use host_mail::Reply;

/// Time-out of every reply.
const TIMEOUT: Duration = Duration::from_secs(30);
/// Server name for TLS. The demo's certificate is self-signed and is not verified.
const SERVER: &str = "mail.demo.example";

/// An SMTP connection to the demo's daemon.
pub(super) struct DemoClient(Dialogue);

impl DemoClient {
    /// Connects from the loopback address `from` and reads the banner. `who` is the client's name in the output.
    ///
    /// # Errors
    /// No connection, or a banner other than 220.
    pub(super) async fn connect(to: SocketAddr, from: &str, who: &str) -> Result<Self> {
        println!("    [{who} connects from {from}]");
        let (dialogue, banner) = Dialogue::connect(to, Some(from.parse()?), TIMEOUT, show).await?;
        ensure!(banner.code == 220, "the banner is {banner}");
        Ok(Self(dialogue))
    }

    pub(super) async fn hello(&mut self) -> Result<()> {
        let reply = self.command("EHLO client.example").await?;
        ensure!(reply.code == 250, "EHLO was answered {reply}");
        Ok(())
    }

    /// Sends EHLO, STARTTLS, EHLO and AUTH PLAIN as the account with `address`.
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

    /// Sends a whole transaction. Returns the first reply that is not positive, or the reply to the message.
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
        // The daemon has closed the connection after a 421.
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
