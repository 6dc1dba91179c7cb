//! MTA-STS (RFC 8461): policies that lie, are slow or too large, and attackers who hide a policy.

use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;

use hickory_resolver::proto::rr::RecordType;
use posthouse_tests::tls::Authority;
use posthouse_tests::{
    Daemon, DnsAnswer, DnsServer, Event, Sink, Site, WebAnswer, WebServer, address, exchange, text_record,
};

/// A domain with an exchange in the clear, so that an enforced policy keeps the mail, and with a host for its policy.
struct Domain {
    web: WebServer,
    dns: DnsServer,
    sink: Sink,
    site: Site,
    trusted: PathBuf,
}

impl Domain {
    /// Starts the hosts at 127.25.6.`number` and the address after it. `None` without the permission to bind the ports.
    fn start(number: u8, names: &[&str]) -> Option<Self> {
        let sink = Sink::exchange([127, 25, 6, number])?;
        let authority = Authority::new();
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let web = WebServer::start([127, 25, 6, number + 1], &authority.issue(&names, false))?;
        let dns = DnsServer::new();
        let insecure = |name: &str, kind, record| dns.set(name, kind, DnsAnswer::Insecure(vec![record]));
        insecure("far.example", RecordType::MX, exchange(10, "mx.far.example"));
        insecure("mx.far.example", RecordType::A, address([127, 25, 6, number]));
        insecure("mta-sts.far.example", RecordType::A, address([127, 25, 6, number + 1]));
        let mut site = Site::new();
        site.set("delivery.smart-host", "mx")
            .set("delivery.tls", "mta-sts")
            .set("delivery.retry", vec!["1h".to_owned()])
            .set("delivery.private-exchanges", vec!["127.25.0.0/16".to_owned()])
            .set("dns.servers", vec![dns.address().to_string()])
            .set("dns.cache-size", 0)
            .set("dns.timeout", "20s");
        let trusted = site.file("authority.pem", authority.certificate());
        let domain = Self {
            web,
            dns,
            sink,
            site,
            trusted,
        };
        domain.announce("1");
        Some(domain)
    }

    fn announce(&self, id: &str) {
        let record = DnsAnswer::Insecure(vec![text_record(&format!("v=STSv1; id={id};"))]);
        self.dns.set("_mta-sts.far.example", RecordType::TXT, record);
    }

    fn serve(&self, answer: WebAnswer) {
        self.web.answer("mta-sts.far.example", answer);
    }

    fn daemon(&self) -> Daemon {
        self.site.start_trusting(&self.trusted)
    }

    /// Sends a message and asserts that the policy keeps it in an attempt.
    fn is_kept(&self, daemon: &Daemon, subject: &str) {
        let id = daemon.submit(&["a@far.example"], subject);
        let of_message = |event: &Event| event.text("message") == id;
        let is_attempt = |event: &Event| !event.fields["next-attempt"].is_null();
        let mut found = daemon.events().take_where(2000, of_message);
        if !is_attempt(&found) {
            // The exchange is known to be unusable: only a released message is attempted.
            self.site.cli(&["queue", "release", &id]).ok();
            found = daemon
                .events()
                .take_where(2000, |event| of_message(event) && is_attempt(event));
        }
        let reply = found.text("reply");
        assert!(
            reply.starts_with("454 4.7.5 TLS with a valid certificate is required (MTA-STS)"),
            "{subject}: {reply}"
        );
        assert!(self.sink.received().is_empty());
        self.site.cli(&["queue", "delete", &id]).ok();
    }
}

fn policy(mode: &str) -> WebAnswer {
    WebAnswer::policy(&format!(
        "version: STSv1\nmode: {mode}\nmx: *.far.example\nmax_age: 604800\n"
    ))
}

#[test]
fn cached_policy_outlives_what_an_attacker_can_suppress() {
    let Some(domain) = Domain::start(1, &["mta-sts.far.example"]) else {
        return;
    };
    domain.serve(policy("enforce"));
    let daemon = domain.daemon();
    domain.is_kept(&daemon, "enforced");
    let fetched = daemon.events().take(5164);
    assert_eq!(
        (fetched.text("mode"), fetched.text("id")),
        ("enforce".to_owned(), "1".to_owned())
    );
    assert_eq!(domain.web.requests(), 1);
    domain.is_kept(&daemon, "from the cache");
    assert_eq!(domain.web.requests(), 1);
    // The announcement vanishes, and cannot be looked up; the cache on the disk survives a restart.
    domain
        .dns
        .set("_mta-sts.far.example", RecordType::TXT, DnsAnswer::Insecure(Vec::new()));
    drop(daemon.stop());
    let daemon = domain.daemon();
    domain.is_kept(&daemon, "announcement vanished");
    domain
        .dns
        .set("_mta-sts.far.example", RecordType::TXT, DnsAnswer::Failure);
    domain.is_kept(&daemon, "announcement fails");
    // A newer policy that cannot be fetched leaves the old one in force.
    domain.announce("2");
    domain.serve(WebAnswer::Reply {
        status: "500 Internal Server Error",
        fields: String::new(),
        body: String::new(),
    });
    domain.is_kept(&daemon, "newer policy not fetched");
    let failed = daemon.events().take(5165);
    assert_eq!(failed.text("kept"), "1", "{failed:?}");
    // The domain takes its policy back.
    drop(daemon.stop());
    domain.serve(policy("none"));
    let daemon = domain.daemon();
    daemon.submit(&["a@far.example"], "taken back");
    domain.sink.expect("taken back");
    assert_eq!(daemon.events().take(5164).text("mode"), "none");
}

#[test]
fn policy_that_is_not_served_as_it_must_be_does_not_count() {
    let Some(domain) = Domain::start(3, &["mta-sts.far.example"]) else {
        return;
    };
    let right = "version: STSv1\nmode: enforce\nmx: mx.far.example\nmax_age: 604800\n";
    let reply = |status, fields: &str, body: &str| WebAnswer::Reply {
        status,
        fields: fields.to_owned(),
        body: body.to_owned(),
    };
    let plain = "Content-Type: text/plain\r\n";
    let redirect = format!("{plain}Location: https://mta-sts.far.example/other\r\n");
    let large = format!("{right}{}", "x: y\n".repeat(220_000));
    for (answer, reason) in [
        (reply("302 Found", &redirect, right), "the answer is 302"),
        (reply("404 Not Found", plain, right), "the answer is 404"),
        (reply("200 OK", "Content-Type: text/html\r\n", right), "text/html"),
        (reply("200 OK", "", right), "the type of the answer"),
        (reply("200 OK", plain, &large), "limit exceeded"),
        (reply("200 OK", plain, "version: STSv2\nmode: enforce\n"), "STSv1"),
        (
            reply("200 OK", plain, "<html>lies</html>\n"),
            "no pair of key and value",
        ),
        (WebAnswer::Silence, "not complete within 10 s"),
    ] {
        domain.serve(answer);
        // A failed fetch is remembered: each answer has a daemon of its own.
        let daemon = domain.daemon();
        daemon.submit(&["a@far.example"], reason);
        domain.sink.expect(&format!("Subject: {reason}"));
        let failed = daemon.events().take(5165);
        assert!(failed.text("reason").contains(reason), "{reason}: {failed:?}");
        assert_eq!(failed.fields["kept"], serde_json::Value::Null);
        drop(daemon.stop());
    }
}

#[test]
fn policy_from_a_host_with_another_name_or_inside_the_site_does_not_count() {
    let Some(domain) = Domain::start(5, &["www.far.example"]) else {
        return;
    };
    domain.serve(policy("enforce"));
    let daemon = domain.daemon();
    daemon.submit(&["a@far.example"], "wrong certificate");
    domain.sink.expect("wrong certificate");
    let failed = daemon.events().take(5165);
    assert!(failed.text("reason").contains("certificate"), "{failed:?}");
    assert_eq!(domain.web.requests(), 0);
    drop(daemon.stop());
    let inside = TcpListener::bind(SocketAddr::from(([127, 26, 6, 1], 0))).expect("a port");
    let address = address([127, 26, 6, 1]);
    domain
        .dns
        .set("mta-sts.far.example", RecordType::A, DnsAnswer::Insecure(vec![address]));
    let daemon = domain.daemon();
    daemon.submit(&["a@far.example"], "inside the site");
    domain.sink.expect("inside the site");
    let failed = daemon.events().take(5165);
    assert!(
        failed.text("reason").contains("no address outside this site"),
        "{failed:?}"
    );
    drop(inside);
}

#[test]
fn announcement_that_cannot_be_looked_up_defers_without_a_cached_policy() {
    let Some(domain) = Domain::start(7, &["mta-sts.far.example"]) else {
        return;
    };
    domain
        .dns
        .set("_mta-sts.far.example", RecordType::TXT, DnsAnswer::Failure);
    let daemon = domain.daemon();
    daemon.submit(&["a@far.example"], "unknown");
    let attempt = daemon.events().take(2000);
    assert!(
        attempt
            .text("reply")
            .starts_with("451 4.4.3 looking up the MTA-STS policy of far.example"),
        "{attempt:?}"
    );
}
