//! The table of `tests/tls-levels`: what each level of TLS does with each hop and each state of the DNS.

use std::net::{SocketAddr, TcpListener};
use std::path::Path;

use hickory_resolver::proto::rr::RecordType;
use posthouse_tests::tls::{Authority, Certified};
use posthouse_tests::{
    DnsAnswer, DnsServer, Event, Site, WebAnswer, WebServer, address, eventually, exchange, skipped, soa, text_record,
    tlsa,
};
use rustls::pki_types::CertificateDer;
use rustls::server::ParsedCertificate;
use sha2::{Digest as _, Sha256};

/// Addresses of the hops, and of the policies of MTA-STS.
const GOOD: [u8; 4] = [127, 25, 4, 1];
const BAD: [u8; 4] = [127, 25, 4, 2];
const CLEAR: [u8; 4] = [127, 25, 4, 3];
const POLICIES: [u8; 4] = [127, 25, 4, 4];

/// A row of the table.
#[derive(Debug)]
struct Row {
    number: usize,
    level: String,
    hop: String,
    by_server: bool,
    mx: String,
    a: String,
    tlsa: String,
    sts: String,
    reply: String,
    policy: String,
    event: String,
}

impl Row {
    fn domain(&self) -> String {
        format!("row{}.example", self.number)
    }

    fn exchange(&self) -> String {
        match self.mx.as_str() {
            "none" => self.domain(),
            _ => format!("mx.{}", self.domain()),
        }
    }

    fn address(&self) -> [u8; 4] {
        match self.hop.as_str() {
            "good" => GOOD,
            "bad" => BAD,
            "clear" => CLEAR,
            other => panic!("no hop {other:?}"),
        }
    }
}

fn rows() -> Vec<Row> {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("tls-levels/table.txt");
    let text = std::fs::read_to_string(file).expect("the table is part of the repository");
    let lines = text.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
    let row = |(number, line): (usize, &str)| {
        let columns: Vec<&str> = line.split_whitespace().collect();
        let [level, hop, mx, a, tlsa, sts, reply, policy, event] = columns[..] else {
            panic!("nine columns: {line}");
        };
        Row {
            number,
            level: level.to_owned(),
            hop: hop.trim_end_matches("@server").to_owned(),
            by_server: hop.ends_with("@server"),
            mx: mx.to_owned(),
            a: a.to_owned(),
            tlsa: tlsa.to_owned(),
            sts: sts.to_owned(),
            reply: reply.replace('_', " "),
            policy: policy.to_owned(),
            event: event.to_owned(),
        }
    };
    lines.enumerate().map(row).collect()
}

fn sha256(octets: &[u8]) -> Vec<u8> {
    Sha256::digest(octets).to_vec()
}

fn key_of(certificate: &[u8]) -> Vec<u8> {
    let certificate = CertificateDer::from(certificate);
    let parsed = ParsedCertificate::try_from(&certificate).expect("a certificate");
    parsed.subject_public_key_info().to_vec()
}

/// Returns an answer of the state that a column names.
fn in_state(state: &str, records: Vec<hickory_resolver::proto::rr::RData>) -> DnsAnswer {
    match state {
        "secure" => DnsAnswer::Secure(records),
        "none" => DnsAnswer::Secure(Vec::new()),
        "insecure" => DnsAnswer::Insecure(records),
        "failure" => DnsAnswer::Failure,
        "silent" => DnsAnswer::Silence,
        other => panic!("no state {other:?}"),
    }
}

fn publish(row: &Row, dns: &DnsServer, authority: &Authority, own: &Certified) {
    let (domain, exchange_name) = (row.domain(), row.exchange());
    dns.set(
        &domain,
        RecordType::MX,
        in_state(&row.mx, vec![exchange(10, &exchange_name)]),
    );
    // A row whose answers are secure has secure answers for what is missing, too.
    dns.set(
        &exchange_name,
        RecordType::A,
        in_state(&row.a, vec![address(row.address())]),
    );
    let six = if row.a == "secure" { "secure" } else { "insecure" };
    dns.set(&exchange_name, RecordType::AAAA, in_state(six, Vec::new()));
    let name = format!("_25._tcp.{exchange_name}");
    let ee = || tlsa(3, 1, 1, sha256(&key_of(&own.own)));
    let wrong = || tlsa(3, 1, 1, vec![9; 32]);
    let answer = match row.tlsa.as_str() {
        "-" => DnsAnswer::Secure(Vec::new()),
        "ee" => DnsAnswer::Secure(vec![ee()]),
        "ee-full" => DnsAnswer::Secure(vec![tlsa(3, 0, 0, own.own.clone())]),
        "ee-wrong" => DnsAnswer::Secure(vec![wrong()]),
        "ee-two" => DnsAnswer::Secure(vec![wrong(), ee()]),
        "ta" => DnsAnswer::Secure(vec![tlsa(2, 0, 1, sha256(&authority.der()))]),
        "ta-wrong" => DnsAnswer::Secure(vec![tlsa(2, 0, 1, vec![9; 32])]),
        "unusable" => DnsAnswer::Secure(vec![tlsa(0, 0, 1, sha256(&own.own))]),
        "unsigned" => DnsAnswer::Insecure(vec![wrong()]),
        "failure" => DnsAnswer::Failure,
        "silent" => DnsAnswer::Silence,
        other => panic!("no records {other:?}"),
    };
    dns.set(&name, RecordType::TLSA, answer);
}

fn publish_policy(row: &Row, dns: &DnsServer, web: &WebServer) {
    let (domain, exchange_name) = (row.domain(), row.exchange());
    let host = format!("mta-sts.{domain}");
    let policy = |mode: &str, mx: &str| {
        let text = format!("version: STSv1\r\nmode: {mode}\r\nmx: {mx}\r\nmax_age: 86400\r\n");
        web.answer(&host, WebAnswer::policy(&text));
    };
    match row.sts.as_str() {
        "-" => return,
        "enforce" => policy("enforce", &exchange_name),
        "enforce-other" => policy("enforce", "mx.other.example"),
        "testing" => policy("testing", &format!("*.{domain}")),
        "testing-other" => policy("testing", "mx.other.example"),
        "mode-none" => policy("none", &exchange_name),
        // The host has no such file.
        "unfetchable" => {}
        "failure" => return dns.set(&format!("_mta-sts.{domain}"), RecordType::TXT, DnsAnswer::Failure),
        other => panic!("no policy {other:?}"),
    }
    let announcement = DnsAnswer::Insecure(vec![text_record("v=STSv1; id=1;")]);
    dns.set(&format!("_mta-sts.{domain}"), RecordType::TXT, announcement);
    dns.set(&host, RecordType::A, DnsAnswer::Insecure(vec![address(POLICIES)]));
}

/// Creates a host that accepts everything from loopback, at these listeners, with a certificate.
fn hop(listeners: &[([u8; 4], &str)], certified: &Certified) -> Site {
    let settings: toml::Table = r#"
        [accept]
        hosts = [{ network = "127.0.0.0/8", exempt = ["authentication", "encryption", "homing", "originator", "relay"] }]
    "#
    .parse()
    .expect("TOML");
    let mut site = Site::new();
    let tables = listeners.iter().map(|(address, tls)| {
        let mut table = toml::Table::new();
        table.insert("name".to_owned(), format!("at-{}", address[3]).into());
        table.insert(
            "address".to_owned(),
            SocketAddr::from((*address, 25)).to_string().into(),
        );
        table.insert("tls".to_owned(), (*tls).into());
        toml::Value::Table(table)
    });
    let key = site.file("hop.key", &certified.key);
    std::fs::set_permissions(&key, std::os::unix::fs::PermissionsExt::from_mode(0o600)).expect("a mode");
    site.file("hop.pem", &certified.chain);
    site.set("policy.settings", settings)
        .set("listener", toml::Value::Array(tables.collect()))
        .set("tls.certificate", "hop.pem")
        .set("tls.key", "hop.key")
        .set("delivery.smart-host", "127.25.4.9:25");
    site
}

/// Returns what is wrong with the outcome of a row, or nothing.
fn problem(row: &Row, delivered: &[Event], attempts: &[Event], others: &[Event]) -> Option<String> {
    let recipient = format!("a@{}", row.domain());
    let is_of = |event: &&Event| event.text("recipients").contains(&format!("\"{recipient}\""));
    let mut found = Vec::new();
    match (delivered.iter().find(is_of), attempts.iter().find(is_of)) {
        (Some(event), None) => {
            let way = if event.fields["tls-version"].is_null() {
                "clear"
            } else {
                "tls"
            };
            let policy = event.fields["tls-policy"].as_str().unwrap_or("-").to_owned();
            if (way, &policy) != (row.reply.as_str(), &row.policy) {
                found.push(format!("delivered: {way}, policy {policy}"));
            }
        }
        (None, Some(event)) if event.text("reply").starts_with(&row.reply) => {}
        (_, Some(event)) => found.push(event.text("reply")),
        (None, None) => found.push("no outcome".to_owned()),
    }
    let of_host = |event: &&Event| {
        event.fields["host"] == row.exchange() || (event.id == 5165 && event.fields["domain"] == row.domain())
    };
    let mut ids: Vec<String> = others
        .iter()
        .filter(of_host)
        .map(|event| event.id.to_string())
        .collect();
    ids.dedup();
    let wanted: Vec<String> = (row.event != "-").then(|| row.event.clone()).into_iter().collect();
    if ids != wanted {
        found.push(format!("events {ids:?}"));
    }
    (!found.is_empty()).then(|| format!("{row:?}\n    {}", found.join("; ")))
}

#[test]
fn each_level_has_its_reply_and_event_in_each_state_of_the_dns() {
    if let Err(error) = TcpListener::bind(SocketAddr::from((POLICIES, 25))) {
        skipped(format!("port 25 of {POLICIES:?}: {error}"));
        return;
    }
    let rows = rows();
    let authority = Authority::new();
    let names = |prefix: &str| {
        rows.iter()
            .map(|row| format!("{prefix}{}", row.domain()))
            .collect::<Vec<_>>()
    };
    let good = authority.issue(&[names("mx."), names("")].concat(), false);
    let bad = authority.issue(&["bad.example".to_owned()], true);
    let Some(web) = WebServer::start(POLICIES, &authority.issue(&names("mta-sts."), false)) else {
        return;
    };
    let hops = [
        hop(&[(GOOD, "starttls"), (CLEAR, "off")], &good),
        hop(&[(BAD, "starttls")], &bad),
    ];
    let _running = hops.each_ref().map(Site::start);
    let dns = DnsServer::new();
    dns.set(
        "signed.example",
        RecordType::SOA,
        DnsAnswer::Secure(vec![soa("signed.example")]),
    );
    let mut site = Site::new();
    let mut tables = String::new();
    for row in &rows {
        let own = if row.hop == "bad" { &bad } else { &good };
        let to = if row.by_server {
            SocketAddr::from((row.address(), 25)).to_string()
        } else {
            publish(row, &dns, &authority, own);
            publish_policy(row, &dns, &web);
            "mx".to_owned()
        };
        tables += &format!(
            "[[delivery.next-hop]]\nname = \"hop{}\"\nserver = \"{to}\"\ntls = \"{}\"\n\
             [[delivery.route]]\ndomain = \"{}\"\nto = \"hop{0}\"\n",
            row.number,
            row.level,
            row.domain()
        );
    }
    site.add(&tables)
        .set("delivery.retry", vec!["1h".to_owned()])
        .set("delivery.private-exchanges", vec!["127.25.0.0/16".to_owned()])
        .set("dns.servers", vec![dns.address().to_string()])
        .set("dns.timeout", "8s")
        .set("dns.dnssec-probe", "signed.example");
    let trusted = site.file("authority.pem", authority.certificate());
    let daemon = site.start_trusting(&trusted);
    let recipients: Vec<String> = rows.iter().map(|row| format!("a@{}", row.domain())).collect();
    let recipients: Vec<&str> = recipients.iter().map(String::as_str).collect();
    daemon.submit(&recipients, "to each row");
    let outcomes = || {
        let (delivered, attempts) = (daemon.events().all(5007), daemon.events().all(2000));
        let all = delivered.iter().chain(&attempts);
        let count: usize = all
            .map(|event| event.fields["recipients"].as_array().map_or(0, Vec::len))
            .sum();
        (count >= rows.len()).then_some((delivered, attempts))
    };
    let (delivered, attempts) = eventually("an outcome for each row", outcomes);
    let others: Vec<Event> = [5105, 5163, 5165]
        .iter()
        .flat_map(|id| daemon.events().all(*id))
        .collect();
    let problems: Vec<String> = rows
        .iter()
        .filter_map(|row| problem(row, &delivered, &attempts, &others))
        .collect();
    assert!(
        problems.is_empty(),
        "{} of {} rows:\n{}",
        problems.len(),
        rows.len(),
        problems.join("\n")
    );
    assert!(rows.len() >= 40, "{} rows", rows.len());
}
