//! Tests of verification against a DNS zone on loopback.

use std::sync::Arc;

use base64::Engine as _;
use bytes::Bytes;
use mail_auth::common::crypto::Ed25519Key;
use mail_auth::common::headers::HeaderWriter as _;
use mail_auth::dkim::DkimSigner;

use super::*;
use host_mail::InMemory;
use host_mail::ReversePath;
use host_testing::dns_server::{Has, Server, txt};

const MESSAGE_TEXT: &str = "From: Anna <anna@signed.example>\r\nTo: bert@example.org\r\nSubject: hello\r\n\
                            Date: Sun, 22 Nov 2026 20:00:00 +0000\r\nMessage-ID: <1@signed.example>\r\n\r\nHello.\r\n";

/// Returns a message with `count` signatures of signed.example, and the DNS record of the key.
fn signed(count: usize) -> (String, String) {
    let key = || {
        static KEY: std::sync::OnceLock<Vec<u8>> = std::sync::OnceLock::new();
        let der = KEY.get_or_init(|| Ed25519Key::generate_pkcs8().expect("a key"));
        Ed25519Key::from_pkcs8_der(der).expect("the key")
    };
    let header: String = (0..count)
        .map(|_| {
            let signer = DkimSigner::from_key(key()).domain("signed.example").selector("s");
            let signature = signer.headers(["From", "Subject"]).sign(MESSAGE_TEXT.as_bytes());
            signature.expect("a signature").to_header()
        })
        .collect();
    let public = base64::engine::general_purpose::STANDARD.encode(key().public_key());
    (
        format!("{header}{MESSAGE_TEXT}"),
        format!("v=DKIM1; k=ed25519; p={public}"),
    )
}

async fn zone(record: &str) -> Server {
    Server::start([
        (
            "signed.example",
            Has::Records(vec![txt("v=spf1 ip4:192.0.2.0/24 -all")]),
        ),
        ("s._domainkey.signed.example", Has::Records(vec![txt(record)])),
        ("_dmarc.signed.example", Has::Records(vec![txt("v=DMARC1; p=reject")])),
        ("broken.example", Has::Failure),
        ("_dmarc.broken.example", Has::Failure),
        ("s._domainkey.broken.example", Has::Failure),
    ])
    .await
}

fn from(address: &str, sender: &str) -> Arrival {
    let sender = match sender {
        "" => ReversePath::Null,
        mailbox => ReversePath::Mailbox(mailbox.parse().expect("a mailbox")),
    };
    Arrival {
        address: address.parse().expect("an address"),
        helo: Some("signed.example".to_owned()),
        sender,
    }
}

fn view(raw: impl Into<Bytes>, received: Arrival) -> MessageView {
    MessageView::new(Arc::new(InMemory(raw.into()))).received_from(received)
}

/// `method=outcome domain` of each finding, sorted.
async fn found(server: &Server, message: &MessageView) -> Vec<String> {
    let verifier = Verifier::new("mail.example.org".to_owned());
    let findings = verifier.findings(&Resolver::new(server.settings()), message).await;
    let line = |f: &Finding| format!("{}={} {}", f.method, f.outcome, f.domain.as_deref().unwrap_or("-"));
    let mut all: Vec<String> = findings.iter().map(line).collect();
    all.sort();
    all
}

#[tokio::test(flavor = "multi_thread")]
async fn signed_message_from_an_authorised_host_passes() {
    let (raw, record) = signed(1);
    let server = zone(&record).await;
    let message = view(raw, from("192.0.2.7", "anna@signed.example"));
    assert_eq!(
        found(&server, &message).await,
        [
            "arc=none -",
            "dkim=pass signed.example",
            "dmarc=pass signed.example",
            "spf=pass signed.example"
        ]
    );
    assert!(server.asked() > 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn altered_message_from_another_host_fails() {
    let (raw, record) = signed(1);
    let server = zone(&record).await;
    let body = raw.replace("Hello.", "Good-bye.");
    let header = raw.replace("Subject: hello", "Subject: good-bye");
    for changed in [body, header] {
        let message = view(changed, from("198.51.100.7", "anna@signed.example"));
        assert_eq!(
            found(&server, &message).await,
            [
                "arc=none -",
                "dkim=fail signed.example",
                "dmarc=fail signed.example",
                "spf=fail signed.example"
            ]
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn unauthenticated_mail_has_outcome_none() {
    let server = zone("").await;
    let raw = "From: a@plain.example\r\n\r\nHello.\r\n";
    let message = view(raw, from("192.0.2.7", "a@plain.example"));
    assert_eq!(
        found(&server, &message).await,
        [
            "arc=none -",
            "dkim=none -",
            "dmarc=none plain.example",
            "spf=none plain.example"
        ]
    );
    // The null reverse-path is judged by the HELO name.
    let bounce = view(raw, from("192.0.2.7", ""));
    assert!(
        found(&server, &bounce)
            .await
            .contains(&"spf=pass signed.example".to_owned())
    );
    let strange = view("no header at all", from("192.0.2.7", "a@plain.example"));
    assert_eq!(found(&server, &strange).await.len(), 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn dns_failure_is_a_temporary_error() {
    let (raw, _) = signed(1);
    let server = zone("").await;
    let raw = raw.replace("signed.example", "broken.example");
    let message = view(raw, from("192.0.2.7", "anna@broken.example"));
    assert_eq!(
        found(&server, &message).await,
        [
            "arc=none -",
            "dkim=temperror broken.example",
            "dmarc=temperror broken.example",
            "spf=temperror broken.example"
        ]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn verifies_at_most_the_maximum_number_of_signatures() {
    let (raw, record) = signed(MAX_SIGNATURES + 3);
    let server = zone(&record).await;
    let found = found(&server, &view(raw, from("192.0.2.7", "anna@signed.example"))).await;
    let passed = found.iter().filter(|text| text.starts_with("dkim=pass")).count();
    assert_eq!(passed, MAX_SIGNATURES);
    assert!(found.contains(&"dkim=policy -".to_owned()), "{found:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn oversized_message_is_verified_by_spf_alone() {
    let (mut raw, record) = signed(1);
    let server = zone(&record).await;
    raw.push_str(&"x".repeat(usize::try_from(MAX_MESSAGE).expect("small")));
    let raw = Bytes::from(raw);
    let home = view(raw.clone(), from("192.0.2.7", "anna@signed.example"));
    assert_eq!(
        found(&server, &home).await,
        [
            "arc=policy -",
            "dkim=policy -",
            "dmarc=pass signed.example",
            "spf=pass signed.example"
        ]
    );
    let elsewhere = view(raw, from("198.51.100.7", "anna@signed.example"));
    assert!(
        found(&server, &elsewhere)
            .await
            .contains(&"dmarc=temperror signed.example".to_owned())
    );
}
