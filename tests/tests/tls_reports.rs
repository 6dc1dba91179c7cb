//! Reports about TLS sessions (RFC 8460): counted, kept over a restart, and sent after the end of the day, also to a
//! domain whose policy the report's own session does not meet.

use std::io::Read as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use flate2::read::GzDecoder;
use hickory_resolver::proto::rr::RecordType;
use posthouse_tests::tls::Authority;
use posthouse_tests::{DnsAnswer, DnsServer, Sink, Site, WebAnswer, WebServer, address, exchange, text_record};
use serde_json::{Value, json};

/// Returns the document in the attachment of a report.
fn document(message: &str) -> Value {
    let (_, attachment) = message
        .split_once("Content-Type: application/tlsrpt+gzip")
        .expect("an attachment");
    let (_, content) = attachment.split_once("\r\n\r\n").expect("a header");
    let packed: String = content.lines().take_while(|line| !line.starts_with("--")).collect();
    let packed = STANDARD.decode(packed).expect("base64");
    let mut text = String::new();
    GzDecoder::new(packed.as_slice())
        .read_to_string(&mut text)
        .expect("gzip");
    serde_json::from_str(&text).expect("JSON")
}

/// Puts the counts of the host back by a day, as if the day had ended.
fn end_the_day(site: &Site) -> u64 {
    let file = site.path().join("data/tls-reports.json");
    let text = std::fs::read_to_string(&file).expect("counts");
    let mut days: Value = serde_json::from_str(&text).expect("JSON");
    let day = days[0]["day"].as_u64().expect("a day") - 1;
    days[0]["day"] = day.into();
    std::fs::write(&file, days.to_string()).expect("written");
    day
}

#[test]
fn failures_of_a_day_are_reported_once_and_in_spite_of_the_policy() {
    let Some(sink) = Sink::exchange([127, 25, 7, 1]) else {
        return;
    };
    let authority = Authority::new();
    let certified = authority.issue(&["mta-sts.far.example".to_owned()], false);
    let Some(web) = WebServer::start([127, 25, 7, 2], &certified) else {
        return;
    };
    let policy = "version: STSv1\nmode: enforce\nmx: mx.far.example\nmax_age: 604800\n";
    web.answer("mta-sts.far.example", WebAnswer::policy(policy));
    let dns = DnsServer::new();
    for (name, kind, record) in [
        ("far.example", RecordType::MX, exchange(10, "mx.far.example")),
        ("mx.far.example", RecordType::A, address([127, 25, 7, 1])),
        ("mta-sts.far.example", RecordType::A, address([127, 25, 7, 2])),
        ("_mta-sts.far.example", RecordType::TXT, text_record("v=STSv1; id=1;")),
        (
            "_smtp._tls.far.example",
            RecordType::TXT,
            text_record("v=TLSRPTv1; rua=https://far.example/tls,mailto:tls@far.example"),
        ),
    ] {
        dns.set(name, kind, DnsAnswer::Insecure(vec![record]));
    }
    let mut site = Site::new();
    site.set("delivery.smart-host", "mx")
        .set("delivery.tls", "published")
        .set("delivery.retry", vec!["1h".to_owned()])
        .set("delivery.private-exchanges", vec!["127.25.0.0/16".to_owned()])
        .set("delivery.tls-reports.contact", "postmaster@posthouse.test")
        .set("delivery.tls-reports.organization", "Posthouse")
        .set("dns.servers", vec![dns.address().to_string()])
        .set("dns.dnssec-probe", "signed.example")
        .set("dns.timeout", "20s");
    dns.set(
        "signed.example",
        RecordType::SOA,
        DnsAnswer::Secure(vec![posthouse_tests::soa("signed.example")]),
    );
    let trusted = site.file("authority.pem", authority.certificate());
    let daemon = site.start_trusting(&trusted);
    let id = daemon.submit(&["a@far.example"], "kept");
    let attempt = daemon.events().take(2000);
    assert!(attempt.text("reply").contains("(MTA-STS)"), "{attempt:?}");
    site.cli(&["queue", "delete", &id]).ok();
    assert!(daemon.events().all(5166).is_empty(), "the day has not ended");
    drop(daemon.stop());
    let day = end_the_day(&site);

    let daemon = site.start_trusting(&trusted);
    let report = sink.expect("TLS-Report-Domain: far.example");
    assert_eq!(report.mail.split(' ').next(), Some("<postmaster@posthouse.test>"));
    assert_eq!(report.recipients, ["<tls@far.example>"]);
    let found = document(&report.text);
    assert_eq!(found["organization-name"], "Posthouse");
    assert_eq!(
        found["report-id"],
        format!("{}.far.example@mx.posthouse.test", day * 86400)
    );
    assert_eq!(
        found["policies"],
        json!([{
            "policy": {
                "policy-type": "sts",
                "policy-string": ["version: STSv1", "mode: enforce", "mx: mx.far.example", "max_age: 604800"],
                "policy-domain": "far.example",
                "mx-host": ["mx.far.example"],
            },
            "summary": { "total-successful-session-count": 0, "total-failure-session-count": 1 },
            "failure-details": [{
                "result-type": "starttls-not-supported",
                "receiving-mx-hostname": "mx.far.example",
                "receiving-ip": "127.25.7.1",
                "failed-session-count": 1,
                "failure-reason-code": "STARTTLS is not offered",
            }],
        }])
    );
    let sent = daemon.events().take(5166);
    assert_eq!(
        (sent.text("to"), sent.text("failures")),
        ("tls@far.example".to_owned(), "1".to_owned())
    );
    daemon.events().take(5007);
    drop(daemon.stop());
    // Neither the reported day nor the session of the report is left.
    let counts = std::fs::read_to_string(site.path().join("data/tls-reports.json")).expect("counts");
    assert_eq!(counts, "[]");
    assert_eq!(sink.received().len(), 1);
}
