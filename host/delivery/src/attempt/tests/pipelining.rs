//! Tests of pipelining (RFC 2920).

use super::*;

const PIPELINING: &[&str] = &["PIPELINING", "8BITMIME", "SIZE 1000000"];

#[tokio::test]
async fn pipelines_recipients_with_separate_outcomes() {
    let mut script = greets(PIPELINING);
    script.extend([
        Act::Hear("MAIL FROM:<sender@here.example> SIZE=26 BODY=8BITMIME\r\n"),
        Act::Hear("RCPT TO:<a@far.example>\r\n"),
        Act::Hear("RCPT TO:<b@far.example>\r\n"),
        Act::Hear("RCPT TO:<c@far.example>\r\n"),
        Act::Say("250 ok\r\n250 ok\r\n550-5.1.1 who\r\n550 5.1.1 is that?\r\n450 4.2.1 busy\r\n".to_owned()),
        Act::Hear("DATA\r\n"),
        say("354 go"),
        Act::Data,
        say("250 2.0.0 queued as 1"),
    ]);
    let server = FakeServer::tcp(vec![script]).await;
    let mut sender = Sender::new("Subject: x\r\n\r\n.dot\r\n.\r\nend");
    sender.envelope.body = BodyType::EightBitMime;
    let outcomes = sender
        .send(&server, &["a@far.example", "b@far.example", "c@far.example"])
        .await;
    assert_eq!(
        outcomes,
        [
            "delivered 250 2.0.0 queued as 1",
            "address-not-found 550 5.1.1 who / is that? by 127.0.0.1",
            "deferred 450 4.2.1 busy",
        ]
    );
    assert!(
        server
            .heard()
            .await
            .ends_with("DATA\r\nSubject: x\r\n\r\n..dot\r\n..\r\nend\r\n.\r\n")
    );
}

#[tokio::test]
async fn splits_more_than_100_recipients() {
    let recipients: Vec<String> = (0..150).map(|n| format!("r{n}@far.example")).collect();
    let recipients: Vec<&str> = recipients.iter().map(String::as_str).collect();
    let transaction = |n: usize| {
        let rcpt = vec![Act::Hear("RCPT"), say("250 ok")].into_iter().cycle().take(2 * n);
        let head = vec![Act::Hear("MAIL"), say("250 ok")].into_iter();
        head.chain(rcpt).chain(takes()[4..].to_vec()).collect::<Vec<_>>()
    };
    let server = FakeServer::tcp(vec![
        [greets(&["PIPELINING"]), transaction(100), transaction(50)].concat(),
    ])
    .await;
    let outcomes = Sender::new("\r\nx\r\n").send(&server, &recipients).await;
    assert_eq!(outcomes.len(), 150);
    assert!(outcomes.iter().all(|outcome| outcome.starts_with("delivered")));
}

/// Reads MAIL, RCPT and DATA, and then sends all replies.
fn pipelined(replies: &str) -> Vec<Act> {
    vec![
        Act::Hear("MAIL FROM:"),
        Act::Hear("RCPT TO:"),
        Act::Hear("DATA"),
        Act::Say(replies.to_owned()),
    ]
}

#[tokio::test]
async fn pipelines_all_commands_before_the_content() {
    let taken = || [pipelined("250 ok\r\n250 ok\r\n354 go\r\n"), takes()[6..].to_vec()].concat();
    let server = FakeServer::tcp(vec![[greets(PIPELINING), taken(), taken()].concat()]).await;
    let sender = Sender::new("\r\nx\r\n");
    for _ in 0..2 {
        let outcomes = sender.send(&server, &["a@far.example"]).await;
        assert_eq!(outcomes, ["delivered 250 2.0.0 queued"]);
    }
    assert_eq!(server.heard().await.matches("EHLO").count(), 1);
}

#[tokio::test]
async fn classifies_refusals_within_a_group() {
    for (replies, expected) in [
        (
            "550 5.7.1 not you\r\n503 no\r\n503 no\r\n",
            "protocol-error 550 5.7.1 not you by 127.0.0.1",
        ),
        (
            "250 ok\r\n550 unknown\r\n503 5.5.1 nobody\r\n",
            "address-not-found 550 unknown by 127.0.0.1",
        ),
        (
            "250 ok\r\n250 ok\r\n554 5.5.1 no\r\n",
            "protocol-error 554 5.5.1 no by 127.0.0.1",
        ),
        ("250 ok\r\n421 4.3.2 going\r\n", "deferred 421 4.3.2 going"),
        (
            "250 ok\r\n250 ok\r\n",
            "deferred 451 4.4.2 talking to 127.0.0.1: connection closed by the remote",
        ),
    ] {
        assert_eq!(one([greets(PIPELINING), pipelined(replies)].concat()).await, [expected]);
    }
}

#[tokio::test]
async fn sends_empty_message_if_data_is_accepted_without_recipients() {
    let script = [
        greets(PIPELINING),
        pipelined("250 ok\r\n550 5.1.1 unknown\r\n354 go\r\n"),
        vec![Act::Hear(".\r\n"), say("554 5.5.1 nobody wants it")],
    ];
    let server = FakeServer::tcp(vec![script.concat()]).await;
    let outcomes = Sender::new("Subject: x\r\n\r\nx\r\n")
        .send(&server, &["a@far.example"])
        .await;
    assert_eq!(outcomes, ["address-not-found 550 5.1.1 unknown by 127.0.0.1"]);
    assert!(!server.heard().await.contains("Subject"));
}

#[tokio::test]
async fn replaces_an_idle_connection_that_ends_within_a_group() {
    let taken = || [pipelined("250 ok\r\n250 ok\r\n354 go\r\n"), takes()[6..].to_vec()].concat();
    let ends = [greets(PIPELINING), taken(), pipelined("421 4.4.2 idle too long\r\n")].concat();
    let server = FakeServer::tcp(vec![ends, [greets(PIPELINING), taken()].concat()]).await;
    let sender = Sender::new("\r\nx\r\n");
    for _ in 0..2 {
        let outcomes = sender.send(&server, &["a@far.example"]).await;
        assert_eq!(outcomes, ["delivered 250 2.0.0 queued"]);
    }
    assert_eq!(server.heard().await.matches("EHLO").count(), 2);
}
