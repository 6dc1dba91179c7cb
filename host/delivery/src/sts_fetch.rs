//! Fetching an MTA-STS policy over HTTPS (RFC 8461 section 3.3): bounded in time and size, without redirects, from a
//! host whose certificate verifies.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::header::{CONTENT_TYPE, HOST, HeaderValue};
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use ipnet::IpNet;
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use host_directory::dns::Resolver;

use super::sts_policy::StsPolicy;
use crate::inside_addresses::is_inside;
use crate::tls_reports::TlsReports;

/// Limit on a fetch, from the lookup of the host to the last octet.
const TIMEOUT: Duration = Duration::from_secs(10);
/// Largest policy, in bytes.
const MAX_SIZE: usize = 64 << 10;
/// Maximum number of addresses that are tried.
const MAX_ADDRESSES: usize = 4;
/// TCP port of policies.
const PORT: u16 = 443;
const PATH: &str = "/.well-known/mta-sts.txt";

/// Surroundings of fetches.
#[derive(Clone, Copy)]
pub(super) struct StsFetcher<'a> {
    pub(super) resolver: &'a Resolver,
    /// Counts of failures to fetch.
    pub(super) reports: &'a TlsReports,
    /// Connector that verifies certificates.
    pub(super) connector: &'a TlsConnector,
    /// Networks inside this site that may have policies.
    pub(super) private_networks: &'a [IpNet],
}

impl StsFetcher<'_> {
    /// Fetches the policy of a domain in ASCII.
    pub(super) async fn fetch(self, domain: &str) -> Result<StsPolicy, String> {
        let fetching = timeout(TIMEOUT, self.fetch_text(domain)).await;
        let text = fetching.unwrap_or_else(|_| Err(format!("not complete within {} s", TIMEOUT.as_secs())))?;
        StsPolicy::parse(&text)
    }

    async fn fetch_text(self, domain: &str) -> Result<String, String> {
        let host = format!("mta-sts.{domain}");
        let found = self.resolver.addresses(&host).await.map_err(|why| why.to_string())?;
        let outside = |address: &IpAddr| {
            let address = address.to_canonical();
            !is_inside(address) || self.private_networks.iter().any(|network| network.contains(&address))
        };
        let mut last = format!("{host} has no address outside this site");
        let name = ServerName::try_from(host.clone()).map_err(|error| error.to_string())?;
        for address in found.into_iter().filter(outside).take(MAX_ADDRESSES) {
            let stream = match TcpStream::connect(SocketAddr::new(address, PORT)).await {
                Ok(stream) => stream,
                Err(error) => {
                    last = format!("connecting to {address}: {error}");
                    continue;
                }
            };
            let stream = self.connector.connect(name.clone(), stream).await;
            return ask(stream.map_err(|error| error.to_string())?, &host).await;
        }
        Err(last)
    }
}

/// Sends the request and returns the text of the policy.
async fn ask(stream: tokio_rustls::client::TlsStream<TcpStream>, host: &str) -> Result<String, String> {
    let failed = |error: hyper::Error| error.to_string();
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
        .await
        .map_err(failed)?;
    // The connection makes progress in a task, which ends with the set. It may fail after the answer: many servers close
    // without the alert that TLS wants.
    let mut progress = JoinSet::new();
    progress.spawn(connection);
    let request = Request::get(PATH).header(HOST, host).body(Empty::<Bytes>::new());
    let request = request.map_err(|error| error.to_string())?;
    let answer = async {
        let response = sender.send_request(request).await.map_err(failed)?;
        check(&response)?;
        let body = Limited::new(response.into_body(), MAX_SIZE).collect().await;
        let body = body.map_err(|error| error.to_string())?.to_bytes();
        String::from_utf8(body.to_vec()).map_err(|_| "the policy is not UTF-8".to_owned())
    };
    answer.await
}

fn check(response: &Response<hyper::body::Incoming>) -> Result<(), String> {
    // Redirects are not followed (RFC 8461 section 3.3).
    if response.status() != StatusCode::OK {
        return Err(format!("the answer is {}", response.status()));
    }
    let kind = response
        .headers()
        .get(CONTENT_TYPE)
        .map(HeaderValue::as_bytes)
        .unwrap_or_default();
    let kind = kind.split(|byte| *byte == b';').next().unwrap_or_default();
    match kind.trim_ascii().eq_ignore_ascii_case(b"text/plain") {
        true => Ok(()),
        false => Err(format!("the type of the answer is {:?}", String::from_utf8_lossy(kind))),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use rcgen::{CertificateParams, KeyPair};
    use rustls::ServerConfig;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;
    use tokio_rustls::TlsAcceptor;

    use super::*;
    use crate::client_tls::opportunistic;

    /// Asks a server that answers with `reply` and closes without the alert of TLS.
    async fn answer(reply: String) -> Result<String, String> {
        let key = KeyPair::generate().expect("a key");
        let params = CertificateParams::new(vec!["mta-sts.far.example".to_owned()]).expect("a name");
        let certificate = params.self_signed(&key).expect("a certificate").der().clone();
        let key = rustls::pki_types::PrivateKeyDer::try_from(key.serialize_der()).expect("a key");
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_no_client_auth()
            .with_single_cert(vec![certificate], key)
            .expect("a server");
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let serving = tokio::spawn(async move {
            let (stream, _) = listener.accept().await.expect("a client");
            let mut stream = TlsAcceptor::from(Arc::new(config)).accept(stream).await.expect("TLS");
            let mut request = vec![0; 4096];
            let length = stream.read(&mut request).await.expect("a request");
            let request = String::from_utf8_lossy(&request[..length]).into_owned();
            // The client may refuse an answer before its end.
            let _ = stream.write_all(reply.as_bytes()).await;
            let _ = stream.flush().await;
            request
        });
        let stream = TcpStream::connect(address).await.expect("connected");
        let name = ServerName::try_from("mta-sts.far.example").expect("a name");
        let stream = opportunistic().expect("TLS").connect(name, stream).await.expect("TLS");
        let answer = ask(stream, "mta-sts.far.example").await;
        let request = serving.await.expect("served").to_ascii_lowercase();
        assert!(
            request.starts_with("get /.well-known/mta-sts.txt http/1.1\r\n"),
            "{request}"
        );
        assert!(request.contains("\r\nhost: mta-sts.far.example\r\n"), "{request}");
        answer
    }

    fn reply(status: &str, kind: &str, body: &str) -> String {
        format!(
            "HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        )
    }

    #[tokio::test]
    async fn takes_a_bounded_text_without_redirects() {
        let text = "version: STSv1\n";
        assert_eq!(
            answer(reply("200 OK", "Text/Plain; charset=utf-8", text))
                .await
                .as_deref(),
            Ok(text)
        );
        let largest = "x".repeat(MAX_SIZE);
        assert!(answer(reply("200 OK", "text/plain", &largest)).await.is_ok());
        for (wrong, reason) in [
            (reply("302 Found", "text/plain", text), "302"),
            (reply("200 OK", "text/html", text), "text/html"),
            (reply("200 OK", "text/plain", &format!("{largest}x")), "limit exceeded"),
            ("lies\r\n".to_owned(), ""),
            (String::new(), ""),
        ] {
            let error = answer(wrong).await.expect_err("refused");
            assert!(error.contains(reason), "{error}");
        }
    }
}
