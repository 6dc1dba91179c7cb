//! Reads the tables `listener`: each alone, then the names and addresses of all.

use std::collections::HashSet;
use std::net::SocketAddr;
use std::path::Path;

use super::{Extension, Listener, ListenerTls, SaslMechanism, SaslMechanisms};
use crate::listener_warnings::overlap;
use crate::toml_reader::{TableReader, boolean, choice, network, parsed, text};
use crate::values::{identifier, path};

const TLS_MODES: [(&str, ListenerTls); 3] = [
    ("off", ListenerTls::Off),
    ("starttls", ListenerTls::StartTls),
    ("implicit", ListenerTls::Implicit),
];

pub(crate) fn read_listeners(root: &mut TableReader<'_>, base: &Path) -> Vec<Listener> {
    let mut names = HashSet::new();
    let mut addresses = HashSet::new();
    let mut listeners: Vec<Listener> = Vec::new();
    let readers = root.tables("listener");
    if readers.is_empty() {
        root.problem("listener", "at least one listener is needed");
    }
    for mut reader in readers {
        let Some(listener) = read_listener(&mut reader, base) else {
            continue;
        };
        let (name, address) = (&listener.name, listener.address);
        if !names.insert(name.clone()) {
            reader.problem("name", format!("there is a listener {name:?} already"));
        }
        if let Some(other) = listeners.iter().find(|other| overlap(other.address, address)) {
            let text = format!("{address} and {} cannot be opened together: remove one", other.address);
            reader.problem("address", text);
        }
        // Port 0 lets the system choose a free port: two listeners never collide there.
        if address.port() != 0 && !addresses.insert(address) {
            reader.problem("address", format!("another listener has {address} already"));
        }
        listeners.push(listener);
    }
    listeners
}

fn read_listener(reader: &mut TableReader<'_>, base: &Path) -> Option<Listener> {
    let name = reader.required("name", identifier);
    let address = reader.required("address", parsed::<SocketAddr>);
    let proxies = reader.list("proxies", |value| network(&text(value)?));
    let tls = reader.or("tls", ListenerTls::StartTls, choice(&TLS_MODES));
    let auth = reader.or("auth", true, boolean);
    let mechanisms = read_mechanisms(reader, auth);
    let auth_without_tls = reader.or("auth-without-tls", false, boolean);
    let client_ca = reader.optional("client-ca", path(base));
    if tls == ListenerTls::Off && client_ca.is_some() {
        reader.problem("client-ca", "has no effect while tls is \"off\": remove one of them");
    }
    let undeclared_eight_bit = reader.or("undeclared-eight-bit", true, boolean);
    let strict_hello = reader.or("strict-hello", false, boolean);
    let bare_addresses = reader.or("bare-addresses", false, boolean);
    let xclient = reader.list("xclient", |value| network(&text(value)?));
    let extensions = Extension::ALL.map(|extension| (extension.keyword(), extension));
    let disabled_extensions = reader.list("disabled-extensions", choice(&extensions));
    let require_authentication = reader.or("require-authentication", false, boolean);
    let require_encryption = reader.or("require-encryption", false, boolean);
    if tls == ListenerTls::Off && require_encryption {
        reader.problem("require-encryption", "nobody can meet this while tls is \"off\"");
    }
    if !auth && require_authentication {
        reader.problem("require-authentication", "no client can meet this while auth is false");
    }
    if !auth && auth_without_tls {
        reader.problem(
            "auth-without-tls",
            "has no effect while auth is false: remove one of them",
        );
    }
    if auth && tls == ListenerTls::Off && require_authentication && !auth_without_tls {
        reader.problem(
            "require-authentication",
            "nobody can meet this: tls is \"off\" and auth-without-tls is not true",
        );
    }
    Some(Listener {
        name: name?,
        address: address?,
        proxies,
        tls,
        auth,
        mechanisms,
        auth_without_tls,
        client_ca,
        undeclared_eight_bit,
        strict_hello,
        bare_addresses,
        xclient,
        disabled_extensions,
        require_authentication,
        require_encryption,
    })
}

fn read_mechanisms(reader: &mut TableReader<'_>, auth: bool) -> Option<SaslMechanisms> {
    const KEY: &str = "auth-mechanisms";
    if !reader.has(KEY) {
        return None;
    }
    let known = SaslMechanism::ALL.map(|mechanism| (mechanism.name(), mechanism));
    let mechanisms = reader.list(KEY, choice(&known));
    match (auth, mechanisms.is_empty()) {
        (false, _) => reader.problem(KEY, "has no effect while auth is false: remove one of them"),
        (true, true) => reader.problem(KEY, "offers nothing: write auth = false for a listener without AUTH"),
        (true, false) => {}
    }
    Some(mechanisms.into_iter().collect())
}
