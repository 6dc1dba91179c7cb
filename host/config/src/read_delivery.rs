//! Reads the table `delivery`: next hops by route, the logins at them, and their TLS levels.

use std::collections::HashSet;
use std::path::Path;

use host_mail::Endpoint;
use toml::Value;

use super::{DeliveryConfig, NextHop, Route, ServerLogin, ServerTls, TlsLevel};
use crate::toml_reader::{TableReader, boolean, choice, count, duration, duration_or_never, network, parsed, text};
use crate::values::{host_name, path};

/// Longest user name at a remote server, in bytes.
const MAX_USER: usize = 255;
/// Values of the keys `tls` of delivery.
const TLS_LEVELS: [(&str, TlsLevel); 4] = [
    ("none", TlsLevel::None),
    ("may", TlsLevel::May),
    ("encrypt", TlsLevel::Encrypt),
    ("verify", TlsLevel::Verify),
];
pub(crate) fn read_delivery(mut reader: TableReader<'_>, base: &Path, default: DeliveryConfig) -> DeliveryConfig {
    let retry = if reader.has("retry") {
        let waits = reader.list("retry", duration);
        if waits.is_empty() {
            reader.problem("retry", "at least one wait is needed, such as [\"15m\", \"1h\"]");
        }
        waits
    } else {
        default.retry
    };
    let mut domains = HashSet::new();
    let mut routes = Vec::new();
    for route in reader.tables("route") {
        routes.extend(read_route(route, &mut domains));
    }
    let smart_host = reader.optional("smart-host", next_hop);
    let next_hops: Vec<&NextHop> = routes.iter().map(|route| &route.to).chain(&smart_host).collect();
    let mut logins = Vec::new();
    for login in reader.tables("login") {
        logins.extend(read_login(login, base, &next_hops, &logins));
    }
    let tls = read_tls_level(&mut reader, default.tls);
    let mut server_tls = Vec::new();
    for server in reader.tables("next-hop") {
        server_tls.extend(read_server_tls(server, &server_tls));
    }
    DeliveryConfig {
        smart_host,
        routes,
        logins,
        retry,
        expire: reader.or("expire", default.expire, duration),
        delay_notice: reader.or("delay-notice", default.delay_notice, duration_or_never),
        concurrency: reader.or("concurrency", default.concurrency, count(1..=10_000)),
        connections: reader.or("connections", default.connections, count(1..=100_000)),
        per_destination: reader.or("per-destination", default.per_destination, count(1..=10_000)),
        connect_timeout: reader.or("connect-timeout", default.connect_timeout, duration),
        reply_timeout: reader.or("reply-timeout", default.reply_timeout, duration),
        tls,
        server_tls,
        private_exchanges: reader.list("private-exchanges", |value| network(&text(value)?)),
    }
}

/// Reads `tls`, or the key `verify-tls` of earlier releases: true is `verify`, false is `may`.
fn read_tls_level(reader: &mut TableReader<'_>, default: TlsLevel) -> TlsLevel {
    let has_both = reader.has("tls") && reader.has("verify-tls");
    let verify = reader.optional("verify-tls", boolean);
    if has_both {
        reader.problem("verify-tls", "is an earlier form of tls = \"verify\": keep tls only");
    }
    let default = verify.map_or(default, |verify| if verify { TlsLevel::Verify } else { TlsLevel::May });
    reader.or("tls", default, choice(&TLS_LEVELS))
}

fn read_server_tls(mut reader: TableReader<'_>, known: &[ServerTls]) -> Option<ServerTls> {
    let server = reader.required("server", tcp_endpoint);
    let tls = reader.required("tls", choice(&TLS_LEVELS));
    let server = server?;
    if known.iter().any(|other| other.server == server) {
        reader.problem("server", format!("there is a level for {server} already"));
    }
    Some(ServerTls { server, tls: tls? })
}

fn read_route(mut reader: TableReader<'_>, domains: &mut HashSet<String>) -> Option<Route> {
    let domain = reader.required("domain", host_name);
    let lmtp = reader.or("protocol", false, choice(&[("smtp", false), ("lmtp", true)]));
    let to = reader.required("to", if lmtp { lmtp_server } else { next_hop });
    let tls = reader.optional("tls", choice(&TLS_LEVELS));
    let etrn = reader.or("etrn", false, boolean);
    let domain = domain?;
    if !domains.insert(domain.clone()) {
        reader.problem("domain", format!("there is a route for {domain} already"));
    }
    Some(Route {
        domain,
        to: to?,
        lmtp,
        tls,
        etrn,
    })
}

fn read_login(
    mut reader: TableReader<'_>,
    base: &Path,
    next_hops: &[&NextHop],
    known: &[ServerLogin],
) -> Option<ServerLogin> {
    let server = reader.required("server", tcp_endpoint);
    let user = reader.required("user", user_name);
    let password_file = reader.required("password-file", path(base));
    let server = server?;
    if known.iter().any(|login| login.server == server) {
        reader.problem("server", format!("there is a login at {server} already"));
    }
    if !next_hops.contains(&&NextHop::Server(server.clone())) {
        reader.problem(
            "server",
            format!("no mail is sent to {server}: neither smart-host nor a route's \"to\" is so written"),
        );
    }
    Some(ServerLogin {
        server,
        user: user?,
        password_file: password_file?,
    })
}

fn user_name(value: &Value) -> Result<String, String> {
    let user = text(value)?;
    if user.is_empty() || user.len() > MAX_USER || user.contains(char::is_control) {
        return Err(format!(
            "expected 1 to {MAX_USER} bytes, none of them a control character"
        ));
    }
    Ok(user)
}

/// Reads `host:port`, or `mx` for the mail exchanges of each domain.
fn next_hop(value: &Value) -> Result<NextHop, String> {
    match text(value)?.as_str() {
        "mx" => Ok(NextHop::Exchanges),
        _ => tcp_endpoint(value).map(NextHop::Server),
    }
}

fn lmtp_server(value: &Value) -> Result<NextHop, String> {
    parsed(value).map(NextHop::Server)
}

/// Reads a TCP endpoint; SMTP is not spoken over Unix sockets.
fn tcp_endpoint(value: &Value) -> Result<Endpoint, String> {
    match parsed::<Endpoint>(value)? {
        Endpoint::Unix(path) => Err(format!("expected host:port, found the socket {}", path.display())),
        tcp => Ok(tcp),
    }
}
