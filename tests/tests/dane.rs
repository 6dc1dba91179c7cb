//! DANE (RFC 7672) with a real validating resolver, unbound, and zones that ldns has signed; and a resolver that does
//! not validate.

use std::fmt::Write as _;
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use hickory_resolver::proto::op::{Message, MessageType, OpCode, Query};
use hickory_resolver::proto::rr::{Name, RecordType};
use hickory_resolver::proto::serialize::binary::BinDecodable as _;
use posthouse_tests::tls::Authority;
use posthouse_tests::{DnsAnswer, DnsServer, Site, address, eventually, exchange, skipped, soa, tlsa, tool};
use rustls::pki_types::CertificateDer;
use rustls::server::ParsedCertificate;
use sha2::{Digest as _, Sha256};

/// Address of the exchange of all zones.
const EXCHANGE: [u8; 4] = [127, 25, 5, 1];

/// A resolver that runs until dropped.
struct Unbound {
    child: Child,
    address: SocketAddr,
}

impl Drop for Unbound {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Programs of unbound and ldns.
struct Programs {
    unbound: PathBuf,
    keygen: PathBuf,
    signzone: PathBuf,
}

fn programs() -> Option<Programs> {
    Some(Programs {
        unbound: tool("unbound")?,
        keygen: tool("ldns-keygen")?,
        signzone: tool("ldns-signzone")?,
    })
}

fn run_in(folder: &Path, program: &Path, arguments: &[&str]) -> String {
    let output = Command::new(program)
        .args(arguments)
        .current_dir(folder)
        .output()
        .expect("a program");
    assert!(output.status.success(), "{program:?} {arguments:?}: {output:?}");
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

/// Writes and signs a zone with an exchange and its TLSA record. Returns the trust anchor (DS).
fn signed_zone(folder: &Path, programs: &Programs, zone: &str, digest: &str) -> String {
    let text = format!(
        "$ORIGIN {zone}.\n$TTL 300\n@ IN SOA ns.{zone}. admin.{zone}. 1 3600 600 86400 300\n@ IN NS ns.{zone}.\n\
         ns IN A 127.0.0.1\n@ IN MX 10 mx.{zone}.\nmx IN A {}\n_25._tcp.mx IN TLSA 3 1 1 {digest}\n",
        std::net::Ipv4Addr::from(EXCHANGE)
    );
    std::fs::write(folder.join(format!("{zone}.zone")), text).expect("written");
    let key = run_in(folder, &programs.keygen, &["-a", "ECDSAP256SHA256", "-k", zone]);
    run_in(folder, &programs.signzone, &["-n", &format!("{zone}.zone"), &key]);
    std::fs::read_to_string(folder.join(format!("{key}.ds"))).expect("an anchor")
}

impl Unbound {
    /// Starts a resolver that has the signed zones, and only them, and waits until it answers.
    fn start(folder: &Path, programs: &Programs, zones: &[&str], anchors: &str) -> Self {
        let port = {
            let free = UdpSocket::bind("127.0.0.1:0").expect("a port");
            free.local_addr().expect("an address").port()
        };
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        std::fs::write(folder.join("anchors"), anchors).expect("written");
        let shown = folder.display();
        let mut text = format!(
            "server:\n interface: 127.0.0.1@{port}\n access-control: 127.0.0.0/8 allow\n do-daemonize: no\n do-not-query-localhost: no\n \
             chroot: \"\"\n username: \"\"\n directory: \"{shown}\"\n pidfile: \"\"\n use-syslog: no\n num-threads: 1\n \
             module-config: \"validator iterator\"\n trust-anchor-file: \"{shown}/anchors\"\n"
        );
        for zone in zones {
            let _ = write!(
                text,
                "auth-zone:\n name: \"{zone}\"\n zonefile: \"{shown}/{zone}.zone.signed\"\n for-downstream: no\n \
                 for-upstream: yes\n fallback-enabled: no\n"
            );
        }
        text += "remote-control:\n control-enable: no\n";
        let file = folder.join("unbound.conf");
        std::fs::write(&file, text).expect("written");
        let child = Command::new(&programs.unbound)
            .arg("-c")
            .arg(&file)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("unbound");
        let resolver = Self { child, address };
        eventually("unbound answers", || is_answered(address, zones[0]).then_some(()));
        resolver
    }
}

fn is_answered(server: SocketAddr, zone: &str) -> bool {
    let socket = UdpSocket::bind("127.0.0.1:0").expect("a port");
    let wait = std::time::Duration::from_millis(500);
    socket.set_read_timeout(Some(wait)).expect("a time-out");
    let mut query = Message::new(7, MessageType::Query, OpCode::Query);
    query.metadata.recursion_desired = true;
    let mut name = Name::from_ascii(zone).expect("a name");
    name.set_fqdn(true);
    query.add_query(Query::query(name, RecordType::SOA));
    let sent = socket.send_to(&query.to_vec().expect("a query"), server);
    let mut buffer = [0; 1500];
    let answered = sent.and_then(|_| socket.recv(&mut buffer));
    answered.is_ok_and(|length| Message::from_bytes(&buffer[..length]).is_ok_and(|reply| !reply.answers.is_empty()))
}

/// Creates the exchange: a host that accepts everything from loopback. `None` without the permission to bind port 25.
fn exchange_site(address: [u8; 4], authority: &Authority) -> Option<(Site, String)> {
    let address = SocketAddr::from((address, 25));
    if let Err(error) = TcpListener::bind(address) {
        skipped(format!("{address}: {error}"));
        return None;
    }
    let certified = authority.issue(&["unnamed.example".to_owned()], false);
    let certificate = CertificateDer::from(certified.own.as_slice());
    let parsed = ParsedCertificate::try_from(&certificate).expect("a certificate");
    let digest = Sha256::digest(parsed.subject_public_key_info().as_ref());
    let settings: toml::Table = r#"
        [accept]
        hosts = [{ network = "127.0.0.0/8", exempt = ["authentication", "encryption", "homing", "originator", "relay"] }]
    "#
    .parse()
    .expect("TOML");
    let mut site = Site::new();
    let key = site.file("hop.key", &certified.key);
    std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o600)).expect("a mode");
    site.file("hop.pem", &certified.chain);
    site.set("policy.settings", settings)
        .set("listener.address", address.to_string())
        .set("tls.certificate", "hop.pem")
        .set("tls.key", "hop.key");
    Some((site, digest.iter().map(|octet| format!("{octet:02x}")).collect()))
}

/// Creates a site that asks `server` and needs DANE for the mail to `mx`.
fn sender(server: SocketAddr, level: &str) -> Site {
    let mut site = Site::new();
    site.set("delivery.smart-host", "mx")
        .set("delivery.tls", level)
        .set("delivery.retry", vec!["1h".to_owned()])
        .set("delivery.private-exchanges", vec!["127.25.0.0/16".to_owned()])
        .set("dns.servers", vec![server.to_string()])
        .set("dns.timeout", "20s")
        .set("dns.dnssec-probe", "signed.example");
    site
}

#[test]
fn validating_resolver_decides_about_signed_and_broken_zones() {
    let Some(programs) = programs() else {
        return;
    };
    let Some((hop, digest)) = exchange_site(EXCHANGE, &Authority::new()) else {
        return;
    };
    let _running = hop.start();
    let folder = hop.path();
    let zones = ["signed.example", "other-key.example", "broken.example"];
    let anchors: String = zones
        .iter()
        .map(|zone| match *zone {
            "other-key.example" => signed_zone(folder, &programs, zone, &"00".repeat(32)),
            _ => signed_zone(folder, &programs, zone, &digest),
        })
        .collect();
    // The signature of the TLSA record no longer fits.
    let file = folder.join("broken.example.zone.signed");
    let text = std::fs::read_to_string(&file).expect("a zone");
    assert!(text.contains(&digest), "{text}");
    std::fs::write(&file, text.replace(&digest, &"11".repeat(32))).expect("written");
    let unbound = Unbound::start(folder, &programs, &zones, &anchors);

    let site = sender(unbound.address, "dane-only");
    let daemon = site.start();
    daemon.submit(
        &["a@signed.example", "a@other-key.example", "a@broken.example"],
        "to signed zones",
    );
    let delivered = daemon.events().take(5007);
    assert_eq!(delivered.text("destination"), "smtp:mx.signed.example:25");
    assert_eq!(delivered.text("tls-policy"), "dane", "{delivered:?}");
    assert_eq!(delivered.fields["tls-verified"], true, "{delivered:?}");
    for (destination, reply) in [
        (
            "mx:other-key.example",
            "454 4.7.5 TLS with a certificate of the TLSA records",
        ),
        (
            "mx:broken.example",
            "451 4.4.3 looking up the TLSA records of mx.broken.example",
        ),
    ] {
        let attempt = daemon
            .events()
            .take_where(2000, |event| event.text("destination") == destination);
        assert!(attempt.text("reply").starts_with(reply), "{attempt:?}");
    }
    assert!(daemon.events().all(5161).is_empty());
}

#[test]
fn resolver_that_does_not_validate_turns_dane_off_and_stops_no_mail() {
    let hop_address = [127, 25, 5, 2];
    let Some((hop, _)) = exchange_site(hop_address, &Authority::new()) else {
        return;
    };
    let _running = hop.start();
    let dns = DnsServer::new();
    dns.set(
        "signed.example",
        RecordType::SOA,
        DnsAnswer::Insecure(vec![soa("signed.example")]),
    );
    let insecure = |name: &str, kind, record| dns.set(name, kind, DnsAnswer::Insecure(vec![record]));
    insecure("far.example", RecordType::MX, exchange(10, "mx.far.example"));
    insecure("mx.far.example", RecordType::A, address(hop_address));
    insecure("_25._tcp.mx.far.example", RecordType::TLSA, tlsa(3, 1, 1, vec![1; 32]));
    let site = sender(dns.address(), "dane");
    let daemon = site.start();
    // Told at the start, and once.
    assert!(daemon.events().take(5161).text("reason").contains("without the AD bit"));
    daemon.submit(&["a@far.example"], "as without DANE");
    let delivered = daemon.events().take(5007);
    assert!(delivered.fields["tls-policy"].is_null(), "{delivered:?}");
    assert!(daemon.events().all(5161).len() == 1);
}

#[test]
fn resolver_without_an_answer_defers() {
    let silent = UdpSocket::bind("127.0.0.1:0").expect("a port");
    let mut site = sender(silent.local_addr().expect("an address"), "dane");
    site.set("dns.timeout", "300ms");
    let daemon = site.start();
    daemon.submit(&["a@far.example"], "nothing is known");
    let attempt = daemon.events().take(2000);
    assert!(
        attempt
            .text("reply")
            .starts_with("451 4.4.3 the resolver does not tell whether it validates"),
        "{attempt:?}"
    );
}
