use hickory_resolver::proto::rr::rdata::{A, CNAME, MX, TLSA};

use super::*;
use host_testing::dns_server::{Has, Server, name};

fn tlsa(data: Vec<u8>) -> RData {
    RData::TLSA(TLSA::new(3.into(), 1.into(), 1.into(), data))
}

#[tokio::test]
async fn tells_secure_and_insecure_answers() {
    let address = || RData::A(A([192, 0, 2, 1].into()));
    let server = Server::start([
        (
            "signed.example",
            Has::Secure(vec![RData::MX(MX::new(10, name("mx.signed.example.")))]),
        ),
        ("mx.signed.example", Has::Secure(vec![address()])),
        ("_25._tcp.mx.signed.example", Has::Secure(vec![tlsa(vec![7; 32])])),
        ("plain.example", Has::Records(vec![address()])),
        ("_25._tcp.plain.example", Has::Records(vec![tlsa(vec![7; 32])])),
        (
            "alias.example",
            Has::Secure(vec![RData::CNAME(CNAME(name("mx.signed.example.")))]),
        ),
        ("bogus.example", Has::Failure),
        ("silent.example", Has::Silence),
    ])
    .await;
    let resolver = SecureResolver::new(server.settings());
    let exchanges = resolver.exchanges("signed.example").await;
    assert_eq!(exchanges, Ok((vec![(10, "mx.signed.example".to_owned())], true)));
    assert!(
        resolver
            .addresses("mx.signed.example")
            .await
            .is_ok_and(|found| found.is_secure)
    );
    assert!(
        resolver
            .addresses("plain.example")
            .await
            .is_ok_and(|found| !found.is_secure)
    );
    assert_eq!(
        resolver
            .tlsa("_25._tcp.mx.signed.example")
            .await
            .map(|found| found.len()),
        Ok(1)
    );
    assert_eq!(
        resolver.tlsa("_25._tcp.plain.example").await,
        Ok(Vec::new()),
        "insecure records count as none"
    );
    assert_eq!(resolver.tlsa("_25._tcp.none.example").await, Ok(Vec::new()));
    let alias = resolver
        .records("alias.example", RecordType::A)
        .await
        .expect("an answer");
    assert_eq!(alias.canonical_name, "mx.signed.example");
    for name in ["bogus.example", "silent.example"] {
        assert!(resolver.addresses(name).await.is_err(), "{name}");
        assert!(resolver.tlsa(name).await.is_err(), "{name}");
    }
    assert!(matches!(resolver.tlsa("a..b").await, Err(NoRecords::BadName(_))));
}

#[tokio::test]
async fn large_answers_come_over_tcp() {
    let records = (0..60).map(|octet| tlsa(vec![octet; 32])).collect();
    let server = Server::start([("_25._tcp.many.example", Has::Secure(records))]).await;
    let resolver = SecureResolver::new(server.settings());
    assert_eq!(
        resolver.tlsa("_25._tcp.many.example").await.map(|found| found.len()),
        Ok(60)
    );
}

#[tokio::test]
async fn probes_whether_the_resolver_validates() {
    let soa = || {
        use hickory_resolver::proto::rr::rdata::SOA;
        RData::SOA(SOA::new(name("a.example."), name("b.example."), 1, 1, 1, 1, 1))
    };
    for (has, expected) in [
        (Has::Secure(vec![soa()]), Some(Validation::Working)),
        (Has::Records(vec![soa()]), None),
        (Has::Secure(Vec::new()), None),
    ] {
        let server = Server::start([("signed.example", has)]).await;
        let mut settings = server.settings();
        settings.dnssec_probe = "signed.example".to_owned();
        let found = SecureResolver::new(settings).validation().await;
        match expected {
            Some(expected) => assert_eq!(found, expected),
            None => assert!(matches!(found, Validation::Missing(_)), "{found:?}"),
        }
    }
    let server = Server::start([("signed.example", Has::Failure)]).await;
    let mut settings = server.settings();
    settings.dnssec_probe = "signed.example".to_owned();
    let found = SecureResolver::new(settings.clone()).validation().await;
    assert!(matches!(found, Validation::Unknown(_)), "{found:?}");
    settings.servers = vec!["192.0.2.53:53".parse().expect("an address")];
    let found = SecureResolver::new(settings).validation().await;
    assert!(matches!(found, Validation::Missing(_)), "{found:?}");
}
