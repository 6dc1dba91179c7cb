//! Says to a server who this host is (RFC 4954): only within TLS, and only to one whose certificate has verified.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use crate::config::{Login, secret};
use crate::mail::Reply;

use super::client::{Connection, Refusal};
use super::outcome::Outcome;
use super::wire::WireError;

/// Longest command line (RFC 4954 section 4), its end included.
const MAX_LINE: usize = 512;

impl Connection {
    /// AUTH PLAIN (RFC 4616), or LOGIN where nothing else is offered. If it fails mail waits: that is between this host
    /// and the server, and says nothing about the message.
    pub(super) async fn log_in(&mut self, login: &Login) -> Result<(), Refusal> {
        let file = login.password_file.clone();
        let read = tokio::task::spawn_blocking(move || secret(&file)).await;
        let password = read.unwrap_or_else(|error| Err(error.to_string()));
        let password = password.map_err(|why| self.no_login(&why))?;
        let reply = if self.offers.auth_plain {
            self.auth_plain(&login.user, &password).await?
        } else if self.offers.auth_login {
            self.say_in_turn(["AUTH LOGIN", &STANDARD.encode(&login.user), &STANDARD.encode(&password)])
                .await?
        } else {
            return Err(self.no_login("neither AUTH PLAIN nor AUTH LOGIN is offered within TLS"));
        };
        match reply.code {
            235 => Ok(()),
            _ => Err(self.no_login(&reply.to_string())),
        }
    }

    async fn auth_plain(&mut self, user: &str, password: &str) -> Result<Reply, WireError> {
        let response = STANDARD.encode(format!("\0{user}\0{password}"));
        let line = format!("AUTH PLAIN {response}");
        if line.len() + 2 <= MAX_LINE {
            self.say_in_turn([&line]).await
        } else {
            self.say_in_turn(["AUTH PLAIN", &response]).await
        }
    }

    /// Each line when the one before was answered with 334; the last reply.
    async fn say_in_turn<const N: usize>(&mut self, lines: [&str; N]) -> Result<Reply, WireError> {
        let mut lines = lines.into_iter();
        let mut reply = Reply::bare(334, "");
        while reply.code == 334
            && let Some(line) = lines.next()
        {
            reply = self.ask(&format!("{line}\r\n")).await?;
        }
        Ok(reply)
    }

    /// Why nothing is said to this server.
    pub(super) fn no_login(&self, why: &str) -> Refusal {
        let text = format!("logging in at {}: {why}", self.host);
        Refusal::Outcome(Outcome::Deferred(Reply::new(454, (4, 7, 0), text)))
    }
}
