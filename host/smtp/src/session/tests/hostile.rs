//! Clients that violate the protocol: each gets a clear reply, and no accepted message is lost.

use std::time::Duration;

use super::host::Host;
use host_events::Event;
use host_mail::BodyType;

#[tokio::test]
async fn refuses_a_client_that_sends_before_the_greeting() {
    let host = Host::new(|_| {}).await;
    let (mut client, start) = host.connect_unserved().await;
    client.send("EHLO eager.example\r\n").await;
    start();
    let rest = client.rest().await;
    assert!(
        rest.starts_with("220 mail.example.org ") && rest.contains("\r\n554 5.5.1 "),
        "{rest}"
    );
    assert_eq!(rest.matches("\r\n").count(), 2, "{rest}");
    host.event(5017).await;
}

#[tokio::test]
async fn refuses_a_line_without_end() {
    let host = Host::new(|_| {}).await;
    let mut client = host.greeted().await;
    client.send(vec![b'x'; 100_000]).await;
    let rest = client.rest().await;
    assert!(rest.starts_with("500 5.5.2 Line too long"), "{rest}");
}

#[tokio::test]
async fn refuses_bare_lf_in_a_command() {
    let host = Host::new(|_| {}).await;
    let mut client = host.greeted().await;
    client.send("NOOP\nMAIL FROM:<smuggled@example.org>\r\n").await;
    let rest = client.rest().await;
    assert!(
        rest.starts_with("500 5.5.2 Lines end with CR LF") && rest.matches("\r\n").count() == 1,
        "{rest}"
    );
}

#[tokio::test]
async fn discards_a_message_cut_off_by_a_disconnect() {
    let host = Host::new(|_| {}).await;
    let mut client = host.greeted().await;
    client
        .play(&[
            ("MAIL FROM:<>", "250"),
            ("RCPT TO:<bob@example.org>", "250"),
            ("DATA", "354"),
        ])
        .await;
    client.send("Subject: half a mess").await;
    drop(client);
    let Event::SessionAborted { reason, .. } = host.event(5017).await else {
        panic!("another event")
    };
    assert_eq!(reason, "connection lost within a transaction");
    assert!(host.spooled().is_empty());
}

#[tokio::test]
async fn discards_a_message_cut_off_by_a_timeout() {
    let host = Host::new(|config| config.timeouts.data = Duration::from_millis(50)).await;
    let mut client = host.greeted().await;
    client
        .play(&[
            ("MAIL FROM:<>", "250"),
            ("RCPT TO:<bob@example.org>", "250"),
            ("DATA", "354"),
        ])
        .await;
    client.send("Subject: half a mess").await;
    assert!(client.rest().await.starts_with("421 4.4.2 "));
    assert!(host.spooled().is_empty());
}

#[tokio::test]
async fn refuses_defective_messages_at_the_final_dot() {
    let mut host = Host::new(|config| config.limits.message_size = 100_000).await;
    host.listener.undeclared_eight_bit = false;
    let mut client = host.greeted().await;
    let long_line = [&b"Subject: "[..], &[b'x'; 990]].concat();
    for (parameters, message, expected) in [
        ("", &b"Subject: x\r\n\r\nbare\nLF"[..], "554 5.6.0 Bare LF in line 3"),
        (
            "",
            b"x\n.\nMAIL FROM:<smuggled@example.org>",
            "554 5.6.0 Bare LF in line 1",
        ),
        (
            "",
            b"x\r\n.\rMAIL FROM:<smuggled@example.org>",
            "554 5.6.0 Bare CR in line 2",
        ),
        (" BODY=8BITMIME", b"Subject: x\r\n\r\n\0", "554 5.6.0 NUL in line 3"),
        ("", "Subject: ä".as_bytes(), "554 5.6.3 "),
        ("", &long_line, "500 5.6.0 Line 1 is too long"),
        (
            "",
            &[b"Subject: x\r\n\r\n", &b"0123456789\r\n".repeat(10_000)[..]].concat(),
            "552 5.3.4 ",
        ),
        (
            "",
            b" folded: at once\r\n\r\n",
            "554 5.6.0 Message begins with a folded line",
        ),
    ] {
        let reply = client.deliver(parameters, message).await;
        assert!(reply.starts_with(expected), "expected {expected}, got {reply}");
        assert!(host.spooled().is_empty(), "{expected}");
    }
    let refused = host
        .captured
        .events()
        .iter()
        .filter(|event| event.entry().id == 5010)
        .count();
    assert_eq!(refused, 5, "an event for each of the first");
    // The connection remains usable.
    let reply = client.deliver(" BODY=8BITMIME", "Subject: x\r\n\r\nä").await;
    assert!(reply.starts_with("250 "), "{reply}");
    assert_eq!(host.spooled().len(), 1);
    client.play(&[("QUIT", "221")]).await;
    let Event::RefusalsSummed { count, last_stage, .. } = host.event(5096).await else {
        panic!("another event")
    };
    assert_eq!((count, last_stage.as_str()), (3, "message"));
}

#[tokio::test]
async fn undeclared_octets_above_127_are_taken_as_8bitmime() {
    let host = Host::new(|_| {}).await;
    let mut client = host.greeted().await;
    for (parameters, message, body) in [
        ("", "Subject: x\r\n\r\nä", BodyType::EightBitMime),
        ("", "Subject: ä\r\n\r\nx", BodyType::EightBitMime),
        (" BODY=7BIT", "Subject: x\r\n\r\nä", BodyType::EightBitMime),
        ("", "Subject: x\r\n\r\na", BodyType::SevenBit),
    ] {
        let reply = client.deliver(parameters, message).await;
        assert!(reply.starts_with("250 "), "{reply}");
        let id = reply.rsplit(' ').next().unwrap_or_default().trim_end().to_owned();
        let spooled = host.spooled();
        let message = spooled
            .iter()
            .find(|message| message.id.to_string() == id)
            .expect("spooled");
        assert_eq!(message.envelope.body, body);
    }
}

#[tokio::test]
async fn refuses_a_message_with_too_many_hops() {
    let host = Host::new(|config| config.limits.hops = 3).await;
    let mut client = host.greeted().await;
    let reply = client
        .deliver("", format!("{}\r\nx", "Received: from a by b\r\n".repeat(3)))
        .await;
    assert!(reply.starts_with("250 "), "{reply}");
    let reply = client
        .deliver("", format!("{}\r\nx", "Received: from a by b\r\n".repeat(4)))
        .await;
    assert!(reply.starts_with("554 5.4.6 "), "{reply}");
    let Event::HopCountExceeded { hops, limit, .. } = host.event(4098).await else {
        panic!("another event")
    };
    assert_eq!((hops, limit), (4, 3));
    assert_eq!(host.spooled().len(), 1);
}

#[tokio::test]
async fn defers_recipients_beyond_the_limit() {
    let host = Host::new(|config| config.limits.recipients = 100).await;
    let mut client = host.greeted().await;
    client.play(&[("MAIL FROM:<>", "250")]).await;
    for number in 0..150 {
        let reply = client.say(&format!("RCPT TO:<r{number}@example.org>")).await;
        assert!(
            reply.starts_with(if number < 100 { "250" } else { "452 4.5.3" }),
            "{number}: {reply}"
        );
    }
    client.play(&[("DATA", "354")]).await;
    client.send("Subject: x\r\n\r\nx\r\n.\r\n").await;
    assert!(client.reply().await.starts_with("250 "));
    assert_eq!(host.spooled()[0].recipients.len(), 100);
    let count = host.captured.ids().iter().filter(|id| **id == 3041).count();
    assert_eq!(count, 1);
}

#[tokio::test]
async fn defers_mail_while_the_disk_is_full() {
    let host = Host::new(|config| config.low_water = u64::MAX).await;
    let mut client = host.greeted().await;
    client
        .play(&[("MAIL FROM:<>", "452 4.3.1"), ("RCPT TO:<bob@example.org>", "503")])
        .await;
}

#[tokio::test]
async fn defers_mail_while_the_disk_is_behind() {
    let host = Host::new(|config| config.overload.disk = Duration::ZERO).await;
    let mut client = host.greeted().await;
    {
        let _pending = host.context.spool.hold_up();
        client.play(&[("MAIL FROM:<>", "451 4.3.2"), ("NOOP", "250")]).await;
    }
    assert!(client.deliver("", "Subject: later\r\n").await.starts_with("250 "));
    assert_eq!(
        host.captured
            .ids()
            .iter()
            .filter(|id| matches!(id, 5064 | 5065))
            .count(),
        2
    );
}
