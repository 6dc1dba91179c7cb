//! Tests of the resolver against a DNS server on loopback.

use hickory_resolver::proto::rr::rdata::{A, AAAA, MX, PTR};

use super::*;
use host_testing::dns_server::{Has, Server, name, txt};

fn address(text: &str) -> IpAddr {
    text.parse().expect("an address")
}

fn four(text: &str) -> RData {
    RData::A(A(text.parse().expect("IPv4")))
}

async fn zone() -> Server {
    Server::start([
        (
            "mail.example",
            Has::Records(vec![
                four("192.0.2.1"),
                RData::AAAA(AAAA("2001:db8::1".parse().expect("IPv6"))),
                txt("one"),
                txt(&"long ".repeat(100)),
                RData::MX(MX::new(20, name("Second.mail.example."))),
                RData::MX(MX::new(10, name("first.mail.example."))),
            ]),
        ),
        (
            "no-mail.example",
            Has::Records(vec![RData::MX(MX::new(0, Name::root()))]),
        ),
        // Too many records for a datagram: the resolver repeats the question over TCP.
        (
            "many.example",
            Has::Records((0..200).map(|n| four(&format!("192.0.2.{n}"))).collect()),
        ),
        (
            "1.2.0.192.in-addr.arpa",
            Has::Records(vec![RData::PTR(PTR(name("Mail.Example.")))]),
        ),
        ("broken.example", Has::Failure),
        ("silent.example", Has::Silence),
    ])
    .await
}

#[tokio::test]
async fn finds_each_kind_of_record() {
    let server = zone().await;
    let dns = Resolver::new(server.settings());
    assert_eq!(
        dns.addresses("MAIL.example.").await,
        Ok(vec![address("192.0.2.1"), address("2001:db8::1")])
    );
    assert_eq!(
        dns.exchanges("mail.example").await,
        Ok(vec![
            (10, "first.mail.example".to_owned()),
            (20, "second.mail.example".to_owned())
        ])
    );
    assert_eq!(
        dns.texts("mail.example").await,
        Ok(vec!["one".to_owned(), "long ".repeat(100)])
    );
    for same in ["192.0.2.1", "::ffff:192.0.2.1"] {
        assert_eq!(dns.names(address(same)).await, Ok(vec!["mail.example".to_owned()]));
    }
    assert_eq!(dns.exchanges("no-mail.example").await, Ok(vec![(0, ".".to_owned())]));
}

#[tokio::test]
async fn answers_with_an_empty_list_for_missing_names_and_records() {
    let server = zone().await;
    let dns = Resolver::new(server.settings());
    assert_eq!(dns.addresses("nobody.example").await, Ok(Vec::new()));
    assert_eq!(dns.exchanges("many.example").await, Ok(Vec::new()));
    assert_eq!(dns.texts("nobody.example").await, Ok(Vec::new()));
    assert_eq!(dns.names(address("192.0.2.9")).await, Ok(Vec::new()));
}

#[tokio::test]
async fn reports_failure_and_silence_as_unavailable() {
    let server = zone().await;
    let dns = Resolver::new(DnsConfig {
        timeout: Duration::from_millis(100),
        ..server.settings()
    });
    for name in ["broken.example", "silent.example"] {
        let answer = dns.addresses(name).await;
        assert!(matches!(answer, Err(NoRecords::Unavailable(_))), "{name}: {answer:?}");
    }
}

#[tokio::test]
async fn caches_answers_and_bounds_the_number_of_records() {
    let server = zone().await;
    let dns = Resolver::new(server.settings());
    assert_eq!(server.asked(), 0);
    assert_eq!(
        dns.addresses("many.example").await.map(|found| found.len()),
        Ok(MAX_RECORDS)
    );
    let asked = server.asked();
    assert_eq!(dns.texts("mail.example").await.map(|found| found.len()), Ok(2));
    assert_eq!(dns.texts("mail.example").await.map(|found| found.len()), Ok(2));
    assert_eq!(server.asked(), asked + 1);
}

#[tokio::test]
async fn refuses_invalid_names_without_asking() {
    let server = zone().await;
    let dns = Resolver::new(server.settings());
    let long = "a".repeat(64);
    let deep = "abc.".repeat(64);
    for bad in [
        "",
        ".",
        "a..b",
        "a b",
        "ä.example",
        "a\0b",
        "*.example",
        "a/b",
        &long,
        &deep,
    ] {
        let answer = dns.texts(bad).await;
        assert!(matches!(answer, Err(NoRecords::BadName(_))), "{bad:?}: {answer:?}");
    }
    assert_eq!(server.asked(), 0);
}
