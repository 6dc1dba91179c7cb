//! Says to a server who this host is (RFC 4954): only within TLS, and only to one whose certificate has verified.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use tokio::time::Instant;

use crate::config::{Login, secret};
use crate::mail::Reply;

use super::client::{Connection, Refusal};
use super::outcome::Outcome;
use super::wire::WireError;

/// Longest command line (RFC 4954 section 4), its end included.
const MAX_LINE: usize = 512;
/// A password that was refused is not said again for so long: servers lock accounts, and shut out hosts, that insist.
const RESPITE: Duration = Duration::from_secs(15 * 60);
/// So much of a secret in a reply is a repetition of it.
const TELLING: usize = 8;

/// A name and its password.
#[derive(Clone, Copy)]
pub(super) struct Credentials<'a> {
    pub(super) user: &'a str,
    pub(super) password: &'a str,
}

/// Passwords that were refused, and what was said to each: the last at each server.
#[derive(Default)]
pub(super) struct Refused(Mutex<HashMap<Login, (String, Outcome, Instant)>>);

impl Refused {
    /// The password as it is in its file now, unless it was refused not long ago.
    pub(super) async fn password(&self, login: &Login) -> Result<String, Outcome> {
        let file = login.password_file.clone();
        let read = tokio::task::spawn_blocking(move || secret(&file)).await;
        let password = read.unwrap_or_else(|error| Err(error.to_string()));
        let password = password.map_err(|why| no_login(&login.server.host(), &why))?;
        let refused = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match refused.get(login) {
            Some((known, outcome, at)) if *known == password && at.elapsed() < RESPITE => Err(outcome.clone()),
            _ => Ok(password),
        }
    }

    pub(super) fn note(&self, login: &Login, password: String, outcome: Outcome) {
        let mut refused = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        refused.insert(login.clone(), (password, outcome, Instant::now()));
    }
}

impl Connection {
    /// AUTH PLAIN (RFC 4616), or LOGIN where nothing else is offered. If it fails mail waits: that is between this host
    /// and the server, and says nothing about the message.
    pub(super) async fn log_in(&mut self, credentials: Credentials<'_>) -> Result<(), Refusal> {
        let Credentials { user, password } = credentials;
        let reply = if self.offers.auth_plain {
            self.auth_plain(user, password).await?
        } else if self.offers.auth_login {
            self.say_in_turn(["AUTH LOGIN", &STANDARD.encode(user), &STANDARD.encode(password)])
                .await?
        } else {
            let why = "neither AUTH PLAIN nor AUTH LOGIN is offered within TLS";
            return Err(Refusal::Outcome(no_login(&self.host, why)));
        };
        if reply.code == 235 {
            return Ok(());
        }
        let outcome = no_login(&self.host, &hushed(reply.clone(), credentials).to_string());
        Err(match reply.is_permanent() {
            true => Refusal::Login(outcome),
            false => Refusal::Outcome(outcome),
        })
    }

    async fn auth_plain(&mut self, user: &str, password: &str) -> Result<Reply, WireError> {
        let response = plain(user, password);
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
}

fn plain(user: &str, password: &str) -> String {
    STANDARD.encode(format!("\0{user}\0{password}"))
}

/// Some servers repeat what they do not understand; the reply goes into events, records and reports.
fn hushed(mut reply: Reply, Credentials { user, password }: Credentials<'_>) -> Reply {
    let secrets = [password.to_owned(), STANDARD.encode(password), plain(user, password)];
    let repeats = |secret: &String| {
        let beginning = secret
            .char_indices()
            .nth(TELLING - 1)
            .map(|(at, last)| &secret[..at + last.len_utf8()]);
        beginning.is_some_and(|beginning| reply.text.contains(beginning))
    };
    if secrets.iter().any(repeats) {
        reply.text = "(the reply repeats what was sent)".to_owned();
    }
    reply
}

/// Why nothing is sent to this server.
pub(super) fn no_login(host: &str, why: &str) -> Outcome {
    Outcome::Deferred(Reply::new(454, (4, 7, 0), format!("logging in at {host}: {why}")))
}
