//! The client of the control socket.

use std::path::{Path, PathBuf};

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::{Method, Request, Response};
use hyper_util::rt::TokioIo;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::net::UnixStream;

use crate::control::api::ApiFailure;
use host_config::Problem;

/// Failure of a request to the daemon.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// Connection refused: no daemon listens on the socket.
    #[error("no daemon listens on {socket}: {error}\nIs posthouse running? --config or --socket says where to look.")]
    NotRunning {
        /// Path of the socket.
        socket: PathBuf,
        /// Error of the connection attempt.
        error: std::io::Error,
    },
    /// The daemon refused the request.
    #[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))]
    Refused(Vec<Problem>),
    /// The daemon closed the connection, or its answer could not be parsed.
    #[error("the daemon's answer was not understood: {0}")]
    Protocol(String),
}

impl From<hyper::Error> for ClientError {
    fn from(error: hyper::Error) -> Self {
        Self::Protocol(error.to_string())
    }
}

/// A client of the daemon behind a socket. Every request opens a connection of its own.
#[derive(Debug, Clone)]
pub struct ControlClient {
    socket: PathBuf,
}

impl ControlClient {
    /// Makes a client without connecting.
    pub fn new(socket: impl Into<PathBuf>) -> Self {
        Self { socket: socket.into() }
    }

    /// Path of the daemon's socket.
    pub fn socket(&self) -> &Path {
        &self.socket
    }

    /// Sends GET and parses the answer.
    pub async fn get<T: DeserializeOwned>(&self, target: &str) -> Result<T, ClientError> {
        self.ask(Method::GET, target, None::<&()>).await
    }

    /// Sends POST with a JSON body and parses the answer.
    pub async fn post<T: DeserializeOwned>(&self, target: &str, body: &impl Serialize) -> Result<T, ClientError> {
        self.ask(Method::POST, target, Some(body)).await
    }

    /// Sends DELETE and parses the answer.
    pub async fn delete<T: DeserializeOwned>(&self, target: &str) -> Result<T, ClientError> {
        self.ask(Method::DELETE, target, None::<&()>).await
    }

    /// Sends GET and returns the answer's lines as a stream.
    pub async fn lines(&self, target: &str) -> Result<Lines, ClientError> {
        let response = self.send(Method::GET, target, None::<&()>).await?;
        Ok(Lines {
            body: response.into_body(),
            rest: Vec::new(),
        })
    }

    async fn ask<T: DeserializeOwned>(
        &self,
        method: Method,
        target: &str,
        body: Option<&impl Serialize>,
    ) -> Result<T, ClientError> {
        let response = self.send(method, target, body).await?;
        let bytes = response.into_body().collect().await?.to_bytes();
        serde_json::from_slice(&bytes).map_err(|error| ClientError::Protocol(error.to_string()))
    }

    async fn send(
        &self,
        method: Method,
        target: &str,
        body: Option<&impl Serialize>,
    ) -> Result<Response<Incoming>, ClientError> {
        let stream = UnixStream::connect(&self.socket)
            .await
            .map_err(|error| ClientError::NotRunning {
                socket: self.socket.clone(),
                error,
            })?;
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
        tokio::spawn(connection);
        let protocol = |error: &dyn std::fmt::Display| ClientError::Protocol(error.to_string());
        let bytes = body.map(serde_json::to_vec).transpose().map_err(|e| protocol(&e))?;
        let request = Request::builder()
            .method(method)
            .uri(target)
            .header("host", "posthouse")
            .header("content-type", "application/json")
            .body(Full::new(Bytes::from(bytes.unwrap_or_default())))
            .map_err(|e| protocol(&e))?;
        let response = sender.send_request(request).await?;
        if response.status().is_success() {
            return Ok(response);
        }
        let status = response.status();
        let bytes = response.into_body().collect().await?.to_bytes();
        Err(match serde_json::from_slice::<ApiFailure>(&bytes) {
            Ok(failure) => ClientError::Refused(failure.problems),
            Err(_) => ClientError::Protocol(format!("{status}: {}", String::from_utf8_lossy(&bytes))),
        })
    }
}

/// Lines of a streamed answer.
pub struct Lines {
    body: Incoming,
    rest: Vec<u8>,
}

impl Lines {
    /// Returns the next line without the line feed, or `None` at the end of the answer. Text after the last line feed
    /// is dropped. Cancel safe.
    pub async fn next(&mut self) -> Result<Option<String>, ClientError> {
        loop {
            if let Some(end) = self.rest.iter().position(|b| *b == b'\n') {
                let line: Vec<u8> = self.rest.drain(..=end).collect();
                return Ok(Some(String::from_utf8_lossy(&line[..end]).into_owned()));
            }
            match self.body.frame().await {
                None => return Ok(None),
                Some(frame) => {
                    if let Ok(data) = frame?.into_data() {
                        self.rest.extend_from_slice(&data);
                    }
                }
            }
        }
    }
}

/// Builds `path?key=value&…` from the pairs that have a value; values are percent-encoded.
pub fn query(path: &str, pairs: &[(&str, Option<String>)]) -> String {
    let mut out = path.to_owned();
    let mut separator = '?';
    for (key, value) in pairs {
        if let Some(value) = value {
            out.push(separator);
            out.push_str(key);
            out.push('=');
            for byte in value.bytes() {
                match byte {
                    b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' => out.push(char::from(byte)),
                    other => out.push_str(&format!("%{other:02X}")),
                }
            }
            separator = '&';
        }
    }
    out
}
