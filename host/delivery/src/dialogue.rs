//! An SMTP client that is driven command by command and shows every line, for the demonstration and for tests.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use rustls::pki_types::ServerName;
use tokio::net::TcpSocket;
use tokio::time::timeout;

use host_mail::Reply;

use crate::authenticate::plain;
use crate::client_tls::opportunistic;
use crate::client_wire::{ClientWire, WireError};
use crate::dot_stuffing::DotStuffer;

/// Direction of a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// Client to server.
    Out,
    /// Server to client.
    In,
}

/// Callback for each line of a dialogue, without the line end.
type Show = Box<dyn FnMut(Direction, &str) + Send>;

/// A dialogue with a server. Secrets are shown as `***`.
pub struct Dialogue {
    wire: Option<ClientWire>,
    show: Show,
    timeout: Duration,
}

impl Dialogue {
    /// Connects and reads the banner. `from` is the local address to connect from; `None` lets the system choose.
    /// `limit` bounds connecting and each later step: a send, a reply or a TLS handshake.
    pub async fn connect(
        server: SocketAddr,
        from: Option<IpAddr>,
        limit: Duration,
        show: impl FnMut(Direction, &str) + Send + 'static,
    ) -> Result<(Self, Reply), WireError> {
        let connecting = async {
            let socket = if server.is_ipv4() {
                TcpSocket::new_v4()?
            } else {
                TcpSocket::new_v6()?
            };
            if let Some(from) = from {
                socket.bind(SocketAddr::new(from, 0))?;
            }
            socket.connect(server).await
        };
        let stream = timeout(limit, connecting).await.map_err(|_| timed_out())??;
        let mut dialogue = Self {
            wire: Some(ClientWire::new(stream)),
            show: Box::new(show),
            timeout: limit,
        };
        let banner = dialogue.reply().await?;
        Ok((dialogue, banner))
    }

    /// Sends a command, given without CRLF, and returns the reply.
    pub async fn command(&mut self, line: &str) -> Result<Reply, WireError> {
        self.secret(line, line).await
    }

    /// Sends a command like [`Self::command`], but shows `shown` in place of the line.
    pub async fn secret(&mut self, line: &str, shown: &str) -> Result<Reply, WireError> {
        (self.show)(Direction::Out, shown);
        self.send(format!("{line}\r\n").as_bytes()).await?;
        self.reply().await
    }

    /// Logs in with AUTH PLAIN (RFC 4616) and an initial response. The response is shown as `***`.
    pub async fn auth_plain(&mut self, user: &str, password: &str) -> Result<Reply, WireError> {
        let response = plain(user, password);
        self.secret(&format!("AUTH PLAIN {response}"), "AUTH PLAIN ***").await
    }

    /// Sends STARTTLS and, after a 220, runs the handshake. Accepts every certificate. The caller repeats EHLO.
    pub async fn start_tls(&mut self, name: &str) -> Result<Reply, WireError> {
        let reply = self.command("STARTTLS").await?;
        if reply.code != 220 {
            return Ok(reply);
        }
        let name = ServerName::try_from(name.to_owned()).map_err(std::io::Error::other)?;
        let connector = opportunistic().map_err(std::io::Error::other)?;
        let wire = self.wire.take().ok_or(WireError::Closed)?;
        let handshake = wire.start_tls(&connector, name);
        let (wire, _) = timeout(self.timeout, handshake).await.map_err(|_| timed_out())??;
        self.wire = Some(wire);
        Ok(reply)
    }

    /// Sends DATA, the message (with any line ends) and the final dot. Returns the last reply, or the refusal of DATA.
    pub async fn data(&mut self, message: &str) -> Result<Reply, WireError> {
        let go = self.command("DATA").await?;
        if go.code != 354 {
            return Ok(go);
        }
        let (mut stuffer, mut octets) = (DotStuffer::new(), Vec::new());
        stuffer.push(message.as_bytes(), &mut octets);
        stuffer.finish(&mut octets);
        for line in String::from_utf8_lossy(&octets).lines() {
            (self.show)(Direction::Out, line);
        }
        self.send(&octets).await?;
        self.reply().await
    }

    /// Reads a reply without sending a command, such as a 421 before the server closes the connection.
    pub async fn reply(&mut self) -> Result<Reply, WireError> {
        let wire = self.wire.as_mut().ok_or(WireError::Closed)?;
        let reply = timeout(self.timeout, wire.reply()).await.map_err(|_| timed_out())??;
        let mut octets = Vec::new();
        reply.write_to(&mut octets);
        for line in String::from_utf8_lossy(&octets).lines() {
            (self.show)(Direction::In, line);
        }
        Ok(reply)
    }

    async fn send(&mut self, octets: &[u8]) -> Result<(), WireError> {
        let wire = self.wire.as_mut().ok_or(WireError::Closed)?;
        timeout(self.timeout, wire.send(octets))
            .await
            .map_err(|_| timed_out())?
    }
}

fn timed_out() -> WireError {
    WireError::Io(std::io::Error::new(std::io::ErrorKind::TimedOut, "timed out"))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use parking_lot::Mutex;

    use super::super::testing::{Act, FakeServer, say};
    use super::*;
    use host_mail::Endpoint;

    #[tokio::test]
    async fn shows_every_line_but_no_secret() {
        let server = FakeServer::tcp(vec![vec![
            say("220 hi"),
            Act::Hear("AUTH PLAIN AGFubmEAc2VjcmV0"),
            say("235 2.7.0 welcome"),
            Act::Hear("STARTTLS"),
            say("220 go"),
            Act::Tls,
            Act::Hear("DATA"),
            say("354 go"),
            Act::Data,
            Act::Say("250-one\r\n250 two\r\n".to_owned()),
        ]])
        .await;
        let Endpoint::Tcp(host, port) = &server.endpoint else {
            panic!("TCP");
        };
        let address = SocketAddr::new(host.parse().expect("an address"), *port);
        let shown: Arc<Mutex<Vec<String>>> = Arc::default();
        let lines = shown.clone();
        let show = move |who: Direction, line: &str| {
            let who = if who == Direction::Out { "C" } else { "S" };
            lines.lock().push(format!("{who}: {line}"));
        };
        let from = Some(IpAddr::from([127, 0, 0, 2]));
        let limit = Duration::from_secs(10);
        let (mut dialogue, banner) = Dialogue::connect(address, from, limit, show).await.expect("greeted");
        assert_eq!(banner.code, 220);
        assert_eq!(dialogue.auth_plain("anna", "secret").await.expect("a reply").code, 235);
        assert_eq!(dialogue.start_tls("fake.example").await.expect("a reply").code, 220);
        assert_eq!(dialogue.data("Subject: x\n\n.\n").await.expect("a reply").code, 250);
        let shown = shown.lock().join("\n");
        assert_eq!(
            shown,
            "S: 220 hi\nC: AUTH PLAIN ***\nS: 235 2.7.0 welcome\nC: STARTTLS\nS: 220 go\nC: DATA\nS: 354 go\nC: Subject: x\nC: \nC: ..\nC: .\nS: 250-one\nS: 250 two"
        );
        assert!(server.heard().await.ends_with("Subject: x\r\n\r\n..\r\n.\r\n"));
    }
}
