//! Tests of attempts against scripted servers.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::super::destination::Protocol;
use super::super::testing::{self, Act, FakeDirectory, FakeServer, greets, mailbox, say, takes};
use super::*;
use crate::delivery_services::DeliveryServices;
use crate::destination::Remote;
use crate::remote_health::WaitBound;
use crate::signed_content::OutgoingContent;
use host_config::DeliveryConfig;
use host_mail::{BodyType, Content, Endpoint, Envelope, InMemory, ReversePath};

mod exchanges;
mod login;
mod pipelining;

struct Sender {
    services: DeliveryServices,
    delivery: DeliveryConfig,
    envelope: Envelope,
    content: Arc<dyn Content>,
}

impl Sender {
    fn new(content: &'static str) -> Self {
        Self {
            services: testing::services(FakeDirectory::default()).0,
            delivery: testing::delivery(),
            envelope: Envelope::from_sender(ReversePath::Mailbox(mailbox("sender@here.example"))),
            content: Arc::new(InMemory(content.into())),
        }
    }

    async fn try_to(
        &self,
        endpoint: &Endpoint,
        protocol: Protocol,
        recipients: &[&str],
    ) -> io::Result<Vec<RecipientOutcome>> {
        let endpoint = endpoint.clone();
        self.try_remote(Remote::Server { protocol, endpoint }, recipients).await
    }

    async fn try_remote(&self, remote: Remote, recipients: &[&str]) -> io::Result<Vec<RecipientOutcome>> {
        let record = testing::message(&[]);
        let outgoing = OutgoingContent::new(self.content.clone(), &record, &self.services.signers);
        let delivery = Delivery {
            services: &self.services,
            settings: testing::settings(&self.delivery, Path::new("/nowhere")),
            envelope: &self.envelope,
            forwarding_sender: None,
            content: &self.content,
            outgoing: &outgoing,
            reports: None,
            received: host_mail::Timestamp(0),
            is_forced: false,
            is_tls_report: false,
            wait_bound: WaitBound::Remote,
        };
        let recipients: Vec<Mailbox> = recipients.iter().map(|r| mailbox(r)).collect();
        delivery
            .attempt(&mut Destination::Remote(remote), &self.envelope.sender, &recipients)
            .await
    }

    /// Sends to a server and returns the outcomes as text.
    async fn send(&self, server: &FakeServer, recipients: &[&str]) -> Vec<String> {
        let outcomes = self.try_to(&server.endpoint, Protocol::Smtp, recipients).await;
        shown(&outcomes.expect("readable"))
    }
}

fn shown(outcomes: &[RecipientOutcome]) -> Vec<String> {
    let show = |outcome: &RecipientOutcome| match outcome {
        RecipientOutcome::Delivered { reply, .. } => format!("delivered {reply}"),
        RecipientOutcome::Untried(reply) => format!("untried {reply}"),
        RecipientOutcome::Crowded(reply) => format!("crowded {reply}"),
        RecipientOutcome::Deferred(reply) => format!("deferred {reply}"),
        RecipientOutcome::Failed(failed) => {
            let remote = failed.remote.as_deref().unwrap_or("here");
            format!("{} {} by {remote}", failed.class, failed.reply)
        }
    };
    outcomes.iter().map(show).collect()
}

async fn one(script: Vec<Act>) -> Vec<String> {
    let server = FakeServer::tcp(vec![script]).await;
    let sender = Sender::new("Subject: x\r\n\r\nbody\r\n");
    sender.send(&server, &["a@far.example"]).await
}

#[tokio::test]
async fn reuses_a_connection_for_the_next_message() {
    let script = [greets(&[]), takes(), takes()].concat();
    let server = FakeServer::tcp(vec![script]).await;
    let sender = Sender::new("\r\none\r\n");
    for _ in 0..2 {
        let outcomes = sender.send(&server, &["a@far.example"]).await;
        assert_eq!(outcomes, ["delivered 250 2.0.0 queued"]);
    }
    assert_eq!(server.heard().await.matches("EHLO").count(), 1);
}

#[tokio::test]
async fn replaces_an_idle_connection_that_ends() {
    // The first connection ends while in use, the second while idle.
    let ends_in_use = [
        greets(&[]),
        takes(),
        vec![Act::Hear("MAIL"), say("421 4.4.2 idle too long")],
    ]
    .concat();
    let ends_before = [greets(&[]), takes()].concat();
    let server = FakeServer::tcp(vec![ends_in_use, ends_before, [greets(&[]), takes()].concat()]).await;
    let sender = Sender::new("\r\nx\r\n");
    for _ in 0..3 {
        let outcomes = sender.send(&server, &["a@far.example"]).await;
        assert_eq!(outcomes, ["delivered 250 2.0.0 queued"]);
    }
    assert_eq!(server.heard().await.matches("EHLO").count(), 3);
}

#[tokio::test]
async fn does_not_repeat_sent_content_at_once() {
    let dies = vec![
        Act::Hear("MAIL"),
        say("250 ok"),
        Act::Hear("RCPT"),
        say("250 ok"),
        Act::Hear("DATA"),
        say("354 go"),
        Act::Data,
    ];
    let server = FakeServer::tcp(vec![[greets(&[]), takes(), dies].concat()]).await;
    let sender = Sender::new("\r\nx\r\n");
    sender.send(&server, &["a@far.example"]).await;
    let outcomes = sender.send(&server, &["a@far.example"]).await;
    assert_eq!(
        outcomes,
        ["deferred 451 4.4.2 talking to 127.0.0.1: connection closed by the remote"]
    );
    server.heard().await;
}

#[tokio::test]
async fn falls_back_to_helo() {
    let script = vec![
        say("220 old.example"),
        Act::Hear("EHLO"),
        say("502 5.5.1 what?"),
        Act::Hear("HELO mx.here.example"),
        say("250 old.example"),
        Act::Hear("MAIL FROM:<sender@here.example>\r\n"),
        say("250 ok"),
    ];
    let outcomes = one([script, takes()[2..].to_vec()].concat()).await;
    assert_eq!(outcomes, ["delivered 250 2.0.0 queued"]);
}

#[tokio::test]
async fn lmtp_has_a_reply_for_each_recipient() {
    let folder = tempfile::tempdir().expect("a folder");
    let script = vec![
        say("220 lmtp.example LMTP"),
        Act::Hear("LHLO mx.here.example"),
        Act::Say("250-lmtp.example\r\n250 PIPELINING\r\n".to_owned()),
        Act::Hear("MAIL"),
        Act::Hear("RCPT"),
        Act::Hear("RCPT"),
        Act::Hear("RCPT"),
        Act::Hear("RCPT"),
        Act::Say("250 ok\r\n250 ok\r\n550 5.1.1 no\r\n250 ok\r\n250 ok\r\n".to_owned()),
        Act::Hear("DATA"),
        say("354 go"),
        Act::Data,
        Act::Say("250 2.1.5 stored\r\n552 5.2.2 full\r\n".to_owned()),
    ];
    let server = FakeServer::unix(folder.path().join("lmtp"), vec![script]);
    let recipients = ["a@here.example", "b@here.example", "c@here.example", "d@here.example"];
    let sender = Sender::new("\r\nx\r\n");
    let outcomes = sender.try_to(&server.endpoint, Protocol::Lmtp, &recipients).await;
    let outcomes = shown(&outcomes.expect("readable"));
    let remote = folder.path().join("lmtp");
    assert_eq!(outcomes[0], "delivered 250 2.1.5 stored");
    assert_eq!(
        outcomes[1],
        format!("address-not-found 550 5.1.1 no by {}", remote.display())
    );
    assert_eq!(
        outcomes[2],
        format!("protocol-error 552 5.2.2 full by {}", remote.display())
    );
    assert!(outcomes[3].starts_with("deferred 451 4.4.2"), "{}", outcomes[3]);
}

#[tokio::test]
async fn classifies_bad_greetings() {
    for (script, expected) in [
        (vec![say("554 5.7.1 blocked today")], "deferred 554 5.7.1 blocked today"),
        (vec![say("421 4.3.2 later")], "deferred 421 4.3.2 later"),
        (vec![say("521 no mail")], "protocol-error 521 no mail by 127.0.0.1"),
        (vec![], "deferred 451 4.4.2 connection closed by the remote"),
        (
            vec![say("SSH-2.0-OpenSSH")],
            "deferred 451 4.4.2 not an SMTP reply: \"SSH-2.0-OpenSSH\"",
        ),
        (
            vec![say("250 too early")],
            "deferred 451 4.4.2 unexpected reply: 250 too early",
        ),
        (
            vec![Act::Flood("2")],
            "deferred 451 4.4.2 a reply line is longer than 2048 bytes",
        ),
        (
            vec![Act::Flood("220-x\r\n")],
            "deferred 451 4.4.2 a reply has more than 128 lines",
        ),
    ] {
        assert_eq!(one(script).await, [expected]);
    }
}

#[tokio::test]
async fn classifies_refusals_in_each_step() {
    let upto = |n: usize, last: &str| [greets(&[]), takes()[..n].to_vec(), vec![say(last)]].concat();
    for (script, expected) in [
        (
            upto(1, "550 5.7.1 not you"),
            "protocol-error 550 5.7.1 not you by 127.0.0.1",
        ),
        (upto(1, "354 what"), "deferred 451 4.4.2 unexpected reply: 354 what"),
        (upto(3, "550 unknown"), "address-not-found 550 unknown by 127.0.0.1"),
        (upto(3, "421 4.3.2 going"), "deferred 421 4.3.2 going"),
        (upto(5, "554 5.5.1 no"), "protocol-error 554 5.5.1 no by 127.0.0.1"),
        (upto(5, "250 odd"), "deferred 451 4.4.2 unexpected reply: 250 odd"),
        (upto(7, "554 5.4.6 loop"), "loop 554 5.4.6 loop by 127.0.0.1"),
        (upto(7, "354 again"), "deferred 451 4.4.2 unexpected reply: 354 again"),
    ] {
        assert_eq!(one(script).await, [expected]);
    }
}

#[tokio::test]
async fn silent_remote_times_out() {
    let server = FakeServer::tcp(vec![vec![say("220 hi"), Act::Silence]]).await;
    let mut sender = Sender::new("\r\nx\r\n");
    sender.delivery.reply_timeout = Duration::from_millis(50);
    let outcomes = sender.send(&server, &["a@far.example"]).await;
    assert_eq!(outcomes, ["deferred 451 4.4.2 connection failed: timed out"]);
}

#[tokio::test]
async fn refuses_messages_that_need_missing_extensions() {
    let mut sender = Sender::new("Subject: é\r\n\r\nx\r\n");
    sender.envelope.body = BodyType::EightBitMime;
    let server = FakeServer::tcp(vec![greets(&[])]).await;
    let outcomes = sender.send(&server, &["a@far.example"]).await;
    assert_eq!(
        outcomes,
        ["conversion-failed 554 5.6.3 127.0.0.1 does not take 8-bit messages by here"]
    );

    let server = FakeServer::tcp(vec![greets(&["8BITMIME", "SIZE 5"])]).await;
    let outcomes = sender.send(&server, &["a@far.example"]).await;
    assert!(outcomes[0].starts_with("protocol-error 552 5.3.4"), "{outcomes:?}");

    sender.envelope.smtputf8 = true;
    let server = FakeServer::tcp(vec![greets(&["8BITMIME"])]).await;
    let outcomes = sender.send(&server, &["a@far.example"]).await;
    assert!(outcomes[0].starts_with("conversion-failed 553 5.6.7"), "{outcomes:?}");
}

#[tokio::test]
async fn only_utf8_recipients_fail_without_smtputf8() {
    let server = FakeServer::tcp(vec![[greets(&[]), takes()].concat()]).await;
    let sender = Sender::new("Subject: plain\r\n\r\nx\r\n");
    let outcomes = sender.send(&server, &["jörg@far.example", "a@far.example"]).await;
    assert!(outcomes[0].starts_with("conversion-failed 553 5.6.7"), "{outcomes:?}");
    assert_eq!(outcomes[1], "delivered 250 2.0.0 queued");

    let mut takes = takes();
    takes[0] = Act::Hear("MAIL FROM:<sender@here.example> SMTPUTF8\r\n");
    let server = FakeServer::tcp(vec![[greets(&["SMTPUTF8"]), takes].concat()]).await;
    let outcomes = sender.send(&server, &["jörg@far.example"]).await;
    assert_eq!(outcomes, ["delivered 250 2.0.0 queued"]);
}

fn offers_tls() -> Vec<Act> {
    [greets(&["STARTTLS"]), vec![Act::Hear("STARTTLS"), say("220 go ahead")]].concat()
}

#[tokio::test]
async fn opportunistic_tls_accepts_any_certificate() {
    let within = [greets(&[])[1..].to_vec(), takes()].concat();
    let outcomes = one([offers_tls(), vec![Act::Tls], within].concat()).await;
    assert_eq!(outcomes, ["delivered 250 2.0.0 queued"]);
}

#[tokio::test]
async fn required_tls_needs_a_valid_certificate() {
    let server = FakeServer::tcp(vec![[offers_tls(), vec![Act::Tls]].concat()]).await;
    let mut sender = Sender::new("\r\nx\r\n");
    sender.delivery.tls = host_config::TlsLevel::Verify;
    let outcomes = sender.send(&server, &["a@far.example"]).await;
    assert!(outcomes[0].starts_with("deferred 454 4.7.5"), "{outcomes:?}");
    assert!(server.heard().await.ends_with("[no TLS]"));
}

#[tokio::test]
async fn opportunistic_tls_falls_back_to_plaintext() {
    let broken = [offers_tls(), vec![Act::Silence]].concat();
    let clear = [greets(&["STARTTLS"]), takes()].concat();
    let server = FakeServer::tcp(vec![broken, clear]).await;
    let mut sender = Sender::new("\r\nx\r\n");
    sender.delivery.connect_timeout = Duration::from_millis(200);
    let outcomes = sender.send(&server, &["a@far.example"]).await;
    assert_eq!(outcomes, ["delivered 250 2.0.0 queued"]);
}

#[tokio::test]
async fn refuses_data_injected_before_tls() {
    let mut script = greets(&["STARTTLS"]);
    script.extend([
        Act::Hear("STARTTLS"),
        Act::Say("220 go\r\n250 injected\r\n".to_owned()),
        Act::Silence,
    ]);
    let outcomes = one(script).await;
    assert!(
        outcomes[0].contains("data in the clear after its reply to STARTTLS"),
        "{outcomes:?}"
    );
}

#[tokio::test]
async fn refused_starttls_continues_in_plaintext_unless_tls_is_required() {
    let refused = [
        greets(&["STARTTLS"]),
        vec![Act::Hear("STARTTLS"), say("454 4.7.0 not now")],
    ]
    .concat();
    assert_eq!(
        one([refused.clone(), takes()].concat()).await,
        ["delivered 250 2.0.0 queued"]
    );
    let server = FakeServer::tcp(vec![refused]).await;
    let mut sender = Sender::new("\r\nx\r\n");
    sender.delivery.tls = host_config::TlsLevel::Verify;
    let outcomes = sender.send(&server, &["a@far.example"]).await;
    assert!(outcomes[0].starts_with("deferred 454 4.7.5"), "{outcomes:?}");
}

/// Content whose end cannot be read.
struct TruncatedContent(Bytes);

impl Content for TruncatedContent {
    fn size(&self) -> u64 {
        self.0.len() as u64 + 100_000
    }

    fn read(&self, offset: u64, length: usize) -> io::Result<Bytes> {
        if offset < self.0.len() as u64 {
            return InMemory(self.0.clone()).read(offset, length);
        }
        Err(io::Error::other("bad sector"))
    }
}

#[tokio::test]
async fn unreadable_message_gets_no_final_dot() {
    let server = FakeServer::tcp(vec![[greets(&[]), takes()].concat()]).await;
    let mut sender = Sender::new("");
    sender.content = Arc::new(TruncatedContent(Bytes::from_static(b"\r\nhalf\r\n")));
    let result = sender
        .try_to(&server.endpoint, Protocol::Smtp, &["a@far.example"])
        .await;
    assert!(result.is_err());
    assert!(server.heard().await.ends_with("half\r\n[cut off]"));
}

#[tokio::test]
async fn sends_large_messages_in_chunks() {
    let server = FakeServer::tcp(vec![[greets(&[]), takes()].concat()]).await;
    let body = format!("\r\n{}", ".0123456789\r\n".repeat(50_000));
    let mut sender = Sender::new("");
    sender.content = Arc::new(InMemory(body.clone().into()));
    let outcomes = sender.send(&server, &["a@far.example"]).await;
    assert_eq!(outcomes, ["delivered 250 2.0.0 queued"]);
    let heard = server.heard().await;
    let data = heard.split_once("DATA\r\n").expect("data").1;
    assert!(data == body.replace("\r\n.", "\r\n..") + ".\r\n");
}

#[tokio::test]
async fn unreachable_remote_is_not_retried_at_once() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let port = listener.local_addr().expect("an address").port();
    drop(listener);
    let endpoint = Endpoint::Tcp("127.0.0.1".to_owned(), port);
    let sender = Sender::new("\r\nx\r\n");
    let first = sender
        .try_to(&endpoint, Protocol::Smtp, &["a@far.example"])
        .await
        .expect("readable");
    assert!(matches!(&first[0], RecipientOutcome::Deferred(reply) if reply.to_string().starts_with("451 4.4.1")));
    let _back = tokio::net::TcpListener::bind(("127.0.0.1", port))
        .await
        .expect("the port");
    let second = sender
        .try_to(&endpoint, Protocol::Smtp, &["b@far.example"])
        .await
        .expect("readable");
    assert!(
        matches!((&first[0], &second[0]), (RecipientOutcome::Deferred(first), RecipientOutcome::Untried(second)) if first == second)
    );
}

#[tokio::test]
async fn host_without_address_defers() {
    let endpoint = Endpoint::Tcp("nowhere.invalid".to_owned(), 25);
    let sender = Sender::new("\r\nx\r\n");
    let outcomes = sender
        .try_to(&endpoint, Protocol::Smtp, &["a@far.example"])
        .await
        .expect("readable");
    assert!(shown(&outcomes)[0].starts_with("deferred 451 4.4.3"), "{outcomes:?}");
}
