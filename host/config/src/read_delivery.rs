//! Reads the table `[delivery]` with its next hops, routes and logins.

use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use toml::Value;

use super::{
    DeliveryConfig, HopKey, HopRate, HopSettings, HopTrust, KeyDigest, Listener, NextHop, Route, ServerLogin, TlsLevel,
    TlsReportConfig,
};
use crate::toml_reader::{TableReader, boolean, choice, count, duration, duration_or_never, network, parsed, text};
use crate::values::{expected, host_name, identifier, path};
use host_mail::{Endpoint, Mailbox};

/// Longest user name at a remote server, in bytes.
const MAX_USER: usize = 255;
/// Maximum number of next hops of a route or of the smart host.
const MAX_NEXT_HOPS: usize = 16;
/// Problem of a level that depends on what a domain publishes, at a server that the configuration names.
const NO_POLICY: &str = "is a level of mail exchanges: write \"verify\" or \"encrypt\" for a server";

/// Reads the table. `listeners` are those that routes may name.
pub(crate) fn read_delivery(
    mut reader: TableReader<'_>,
    base: &Path,
    listeners: &[Listener],
    default: DeliveryConfig,
) -> DeliveryConfig {
    let retry = if reader.has("retry") {
        let waits = reader.list("retry", duration);
        if waits.is_empty() {
            reader.problem("retry", "at least one wait is needed, such as [\"15m\", \"1h\"]");
        }
        waits
    } else {
        default.retry
    };
    let tls = read_tls_level(&mut reader, default.tls);
    let mut hops: Vec<Arc<HopSettings>> = Vec::new();
    for hop in reader.tables("next-hop") {
        let settings = read_hop(hop, base, &hops);
        hops.extend(settings.map(Arc::new));
    }
    let names: Vec<Arc<str>> = hops.iter().filter_map(|hop| hop.name.clone()).collect();
    let mut routes: Vec<Route> = Vec::new();
    for route in reader.tables("route") {
        let route = read_route(route, &names, listeners, &routes);
        routes.extend(route);
    }
    let smart_host = reader.or("smart-host", Vec::new(), next_hops(&names, next_hop));
    let used: Vec<&NextHop> = routes.iter().flat_map(|route| &route.to).chain(&smart_host).collect();
    let mut logins = Vec::new();
    // A login at exchanges that the DNS names would go to strangers.
    let is_server = |hop: &&Arc<HopSettings>| matches!(hop.key, HopKey::Server(_));
    let servers: Vec<Arc<str>> = hops
        .iter()
        .filter(is_server)
        .filter_map(|hop| hop.name.clone())
        .collect();
    for login in reader.tables("login") {
        let login = read_login(login, base, (&servers, &used), &logins);
        logins.extend(login);
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
        hops,
        private_exchanges: reader.list("private-exchanges", |value| network(&text(value)?)),
        tls_reports: read_tls_reports(&mut reader),
    }
}

fn read_tls_reports(reader: &mut TableReader<'_>) -> Option<TlsReportConfig> {
    if !reader.has("tls-reports") {
        return None;
    }
    let mut reader = reader.table("tls-reports");
    let contact = reader.required("contact", |value| match parsed::<Mailbox>(value)? {
        contact if contact.is_ascii() => Ok(contact),
        _ => Err("expected an address in ASCII, which every domain can answer".to_owned()),
    });
    let organization = reader.optional("organization", |value| match text(value)? {
        name if (1..=200).contains(&name.len()) && !name.contains(char::is_control) => Ok(name),
        _ => Err("expected 1 to 200 bytes, none of them a control character".to_owned()),
    });
    Some(TlsReportConfig {
        contact: contact?,
        organization,
    })
}

fn tls_level(value: &Value) -> Result<TlsLevel, String> {
    let levels = TlsLevel::ALL.map(|level| (level.name(), level));
    choice(&levels)(value)
}

/// Reads `tls`, or the key `verify-tls` of earlier releases: true is `verify`, false is `may`.
fn read_tls_level(reader: &mut TableReader<'_>, default: TlsLevel) -> TlsLevel {
    let has_both = reader.has("tls") && reader.has("verify-tls");
    let verify = reader.optional("verify-tls", boolean);
    if has_both {
        reader.problem("verify-tls", "is an earlier form of tls = \"verify\": keep tls only");
    }
    let default = verify.map_or(default, |verify| if verify { TlsLevel::Verify } else { TlsLevel::May });
    reader.or("tls", default, tls_level)
}

fn read_hop(mut reader: TableReader<'_>, base: &Path, known: &[Arc<HopSettings>]) -> Option<HopSettings> {
    let name: Option<Arc<str>> = reader.optional("name", identifier).map(Arc::from);
    let key = reader.required("server", hop_key);
    let tls = reader.optional("tls", tls_level);
    let implicit_tls = reader.optional("implicit-tls", boolean);
    let authorities = reader.optional("ca-file", path(base));
    let keys = reader.list("pinned-keys", key_digest);
    let source_addresses = reader.list("source-addresses", parsed::<IpAddr>);
    let hello = reader.optional("hello", host_name);
    let weight = reader.optional("weight", count(1..=1000));
    let connections = reader.optional("connections", count(1..=10_000));
    let rate = HopRate {
        messages: reader.optional("messages-per-minute", count(1..=1_000_000)),
        recipients: reader.optional("recipients-per-minute", count(1..=1_000_000)),
    };
    let key = key?;
    if name.as_deref() == Some("mx") {
        reader.problem("name", "\"mx\" means the mail exchanges: write another name");
    }
    if let Some(name) = &name
        && known.iter().any(|other| other.name.as_ref() == Some(name))
    {
        reader.problem("name", format!("there is a next hop {name:?} already"));
    }
    if name.is_none() && known.iter().any(|other| other.name.is_none() && other.key == key) {
        reader.problem(
            "server",
            format!("there are settings for {} already: give one a name", shown(&key)),
        );
    }
    if name.is_some() && matches!(key, HopKey::Domain(_)) {
        reader.problem("name", "the exchanges of a domain have no name: write server = \"mx\"");
    }
    if matches!(key, HopKey::Server(_)) && tls.is_some_and(|tls| tls != tls.of_server()) {
        reader.problem("tls", NO_POLICY);
    }
    if implicit_tls == Some(true) && tls == Some(TlsLevel::None) {
        reader.problem("implicit-tls", "cannot be true while tls is \"none\"");
    }
    if implicit_tls == Some(true) && !matches!(key, HopKey::Server(_)) {
        reader.problem("implicit-tls", "mail exchanges have STARTTLS only");
    }
    if authorities.is_some() && !keys.is_empty() {
        reader.problem("ca-file", "has no effect beside pinned-keys: remove one of them");
    }
    for family in [IpAddr::is_ipv4, IpAddr::is_ipv6] {
        if source_addresses.iter().filter(|address| family(address)).count() > 1 {
            reader.problem("source-addresses", "expected at most one IPv4 and one IPv6 address");
        }
    }
    Some(HopSettings {
        name,
        key,
        tls,
        implicit_tls,
        trust: match authorities {
            _ if !keys.is_empty() => HopTrust::Keys(keys),
            Some(file) => HopTrust::File(file),
            None => HopTrust::System,
        },
        source_addresses,
        hello,
        weight,
        connections,
        rate,
    })
}

fn shown(key: &HopKey) -> String {
    match key {
        HopKey::Server(server) => server.to_string(),
        HopKey::Domain(domain) => format!("mx:{domain}"),
        HopKey::Exchanges => "mx".to_owned(),
    }
}

/// Reads `host:port`, `mx`, or `mx:` with a domain.
fn hop_key(value: &Value) -> Result<HopKey, String> {
    let text = text(value)?;
    match text.strip_prefix("mx") {
        Some("") => Ok(HopKey::Exchanges),
        Some(rest) if rest.starts_with(':') && rest[1..].parse::<u16>().is_err() => {
            host_name(&Value::from(&rest[1..])).map(HopKey::Domain)
        }
        _ => tcp_endpoint(value).map(HopKey::Server),
    }
}

/// Reads the SHA-256 digest of a public key, in base64.
fn key_digest(value: &Value) -> Result<KeyDigest, String> {
    let text = text(value)?;
    let bare = text.strip_prefix("sha256//").unwrap_or(&text);
    let octets = STANDARD.decode(bare).ok().and_then(|octets| octets.try_into().ok());
    octets.ok_or_else(|| format!("{text:?} is no SHA-256 digest of a public key in base64, which has 44 characters"))
}

fn read_route(
    mut reader: TableReader<'_>,
    names: &[Arc<str>],
    listeners: &[Listener],
    known: &[Route],
) -> Option<Route> {
    let domain = reader.optional("domain", host_name);
    let sender_domain = reader.optional("sender-domain", host_name);
    let account = reader.optional("account", account);
    let listener = reader.optional("listener", identifier);
    let lmtp = reader.or("protocol", false, choice(&[("smtp", false), ("lmtp", true)]));
    let hold = reader.or("hold", false, boolean);
    let read = next_hops(names, if lmtp { lmtp_server } else { next_hop });
    let to = match hold {
        true => reader.optional("to", read),
        false => reader.required("to", read),
    };
    let to = to.unwrap_or_default();
    let tls = reader.optional("tls", tls_level);
    let etrn = reader.or("etrn", false, boolean);
    if etrn && domain.is_none() {
        reader.problem("etrn", "needs a domain, by which clients ask for the mail");
    }
    let keys = ["domain", "sender-domain", "account", "listener"];
    let Some(key) = keys.into_iter().find(|key| reader.has(key)) else {
        reader.problem("domain", "is missing, and so are sender-domain, account and listener");
        return None;
    };
    if tls.is_some_and(|tls| tls != tls.of_server()) && to.iter().any(|hop| matches!(hop, NextHop::Server(_))) {
        reader.problem("tls", NO_POLICY);
    }
    if let Some(listener) = &listener
        && !listeners.iter().any(|known| known.name == *listener)
    {
        reader.problem("listener", format!("there is no listener {listener:?}"));
    }
    let route = Route {
        domain,
        sender_domain,
        account,
        listener,
        to,
        lmtp,
        tls,
        hold,
        etrn,
    };
    let conditions = |route: &Route| {
        let Route {
            domain,
            sender_domain,
            account,
            listener,
            ..
        } = route.clone();
        (domain, sender_domain, account, listener)
    };
    if known.iter().any(|other| conditions(other) == conditions(&route)) {
        match &route {
            Route {
                domain: Some(domain),
                sender_domain: None,
                account: None,
                listener: None,
                ..
            } => reader.problem("domain", format!("there is a route for {domain} already")),
            _ => reader.problem(key, "there is a route with these conditions already"),
        }
    }
    Some(route)
}

/// Reads the name of an account, in lower case.
fn account(value: &Value) -> Result<String, String> {
    match text(value)? {
        empty if empty.is_empty() => Err("expected the name of an account".to_owned()),
        name => Ok(name.to_lowercase()),
    }
}

fn read_login(
    mut reader: TableReader<'_>,
    base: &Path,
    (names, used): (&[Arc<str>], &[&NextHop]),
    known: &[ServerLogin],
) -> Option<ServerLogin> {
    let server = reader.required("server", |value| match named(value, names) {
        Some(name) => Ok(name),
        None => tcp_endpoint(value).map(NextHop::Server),
    });
    let user = reader.required("user", user_name);
    let password_file = reader.required("password-file", path(base));
    let server = server?;
    if known.iter().any(|login| login.server == server) {
        reader.problem("server", format!("there is a login at {server} already"));
    }
    if !used.contains(&&server) {
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

/// Returns a reader of a next hop or a list of next hops, each the name of a next hop or what `read` reads.
fn next_hops(
    names: &[Arc<str>],
    read: fn(&Value) -> Result<NextHop, String>,
) -> impl Fn(&Value) -> Result<Vec<NextHop>, String> {
    move |value| {
        let one = |value: &Value| named(value, names).map_or_else(|| read(value), Ok);
        let hops = match value {
            Value::Array(items) => items.iter().map(one).collect::<Result<Vec<_>, _>>()?,
            single => vec![one(single)?],
        };
        let is_doubled = |(index, hop): (usize, &NextHop)| hops[..index].contains(hop);
        match hops.len() {
            0 => Err("expected at least one next hop".to_owned()),
            1..=MAX_NEXT_HOPS if hops.iter().enumerate().any(is_doubled) => {
                Err("a next hop is there twice: a named one has its weight in [[delivery.next-hop]]".to_owned())
            }
            1..=MAX_NEXT_HOPS => Ok(hops),
            _ => Err(expected(&format!("at most {MAX_NEXT_HOPS} next hops"), value)),
        }
    }
}

fn named(value: &Value, names: &[Arc<str>]) -> Option<NextHop> {
    let name = names.iter().find(|name| value.as_str() == Some(name));
    name.cloned().map(NextHop::Named)
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
