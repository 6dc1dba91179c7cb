//! Handling of a message by disposition.

use std::sync::Arc;

use super::host::Host;
use crate::session::accept_message::ReceivedMessage;
use crate::session::refusal_events::RefusalEvents;
use host_contract::{Answered, Disposition, Edit, Reason};
use host_mail::{Client, Envelope, HeaderBlock, Mailbox, Reply, ReversePath, SessionId};
use host_spool::State;

const MESSAGE: &str = "Subject: x\r\nX-Secret: y\r\n\r\nbody\r\n";

fn mailbox(text: &str) -> Mailbox {
    text.parse().expect("valid")
}

/// Submits a message with two recipients, as if the policy had answered `disposition`.
async fn settle(host: &Host, disposition: Disposition) -> Reply {
    let client = Client {
        helo: Some("client.example".into()),
        ..Client::new("test", ([192, 0, 2, 1], 4711).into())
    };
    let mut envelope = Envelope::from_sender(ReversePath::Mailbox(mailbox("anna@example.org")));
    envelope.recipients = vec![mailbox("bob@example.org"), mailbox("carl@example.org")];
    let refusals = RefusalEvents::new(SessionId::generate(), host.context.events.clone());
    let message = ReceivedMessage {
        context: &host.context,
        refusals: &refusals,
        client: &client,
        extended: true,
        forwarded: None,
        envelope: &envelope,
    };
    let mut draft = host.context.spool.draft().expect("room");
    draft.write(MESSAGE.as_bytes()).await.expect("room");
    let because = Reason {
        policy: "test".into(),
        rule: "account-match".into(),
        entry: None,
    };
    let header = HeaderBlock::read(&*draft.content()).expect("readable");
    let answered = Answered {
        answer: disposition,
        because,
        fault: false,
    };
    message.apply(answered, draft, &header.into()).await
}

#[tokio::test]
async fn applies_edits_to_an_accepted_message() {
    let host = Host::new(|_| {}).await;
    let edits = vec![
        Edit::AddHeader("X-Added".into(), "z".into()),
        Edit::RemoveHeader("x-secret".into()),
        Edit::RemoveRecipient(mailbox("carl@example.org")),
        Edit::AddRecipient(mailbox("dora@example.org")),
    ];
    let reply = settle(&host, Disposition::Accept(edits)).await;
    let message = host.spooled().remove(0);
    assert_eq!(reply.to_string(), format!("250 2.0.0 Ok, queued as {}", message.id));
    assert_eq!(message.state, State::Queued);
    assert_eq!(
        message.expires,
        message.received.after(host.context.config.delivery.expire)
    );
    let recipients: Vec<_> = message.recipients.iter().map(|one| one.address.as_str()).collect();
    assert_eq!(recipients, ["bob@example.org", "dora@example.org"]);
    assert_eq!(
        message.envelope.recipients.len(),
        2,
        "the envelope stays as it was given"
    );
    let content = String::from_utf8(host.content()).expect("text");
    assert!(
        content.starts_with("X-Added: z\r\nReceived: from client.example ([192.0.2.1])\r\n\tby mail.example.org"),
        "{content}"
    );
    assert!(!content.contains("\tfor <"), "two recipients: no name in the trace");
    assert!(
        content.ends_with("\r\nPosthouse-Redirected: by mail.example.org policy test\r\nSubject: x\r\n\r\nbody\r\n"),
        "{content}"
    );
    assert_eq!(host.captured.ids(), [5006]);
}

#[tokio::test]
async fn spools_failed_and_quarantined_messages() {
    for (disposition, state, events) in [
        (Disposition::Fail("not-homed".into()), "failing", &[5006][..]),
        (Disposition::Quarantine("turf".into()), "quarantined", &[5006, 4192]),
    ] {
        let host = Host::new(|_| {}).await;
        assert_eq!(settle(&host, disposition).await.code, 250);
        let message = host.spooled().remove(0);
        match &message.state {
            State::Failing { class, because } => assert_eq!(
                (state, &class[..], &because.rule[..]),
                ("failing", "not-homed", "account-match")
            ),
            State::Quarantined { folder, .. } => assert_eq!((state, &folder[..]), ("quarantined", "turf")),
            other => panic!("{other:?}"),
        }
        assert!(host.content().ends_with(MESSAGE.as_bytes()));
        assert_eq!(host.captured.ids(), events);
    }
}

#[tokio::test]
async fn acknowledges_a_discarded_message() {
    let all = ["bob@example.org", "carl@example.org"].map(|one| Edit::RemoveRecipient(mailbox(one)));
    for disposition in [Disposition::Discard, Disposition::Accept(all.to_vec())] {
        let host = Host::new(|_| {}).await;
        assert_eq!(settle(&host, disposition).await.code, 250);
        assert!(host.spooled().is_empty());
        assert_eq!(host.captured.ids(), [4192]);
    }
}

#[tokio::test]
async fn refused_message_is_not_spooled_and_emits_events() {
    for reply in [Reply::new(554, (5, 7, 1), "No"), Reply::new(451, (4, 7, 1), "Later")] {
        let host = Host::new(|_| {}).await;
        let disposition = match reply.code {
            554 => Disposition::Reject(reply.clone()),
            _ => Disposition::Defer(reply.clone()),
        };
        assert_eq!(settle(&host, disposition).await, reply);
        assert!(host.spooled().is_empty());
        assert_eq!(host.captured.ids(), [4151, 5010]);
    }
}

#[tokio::test]
async fn spools_a_large_message_unchanged() {
    let host = Host::new(|_| {}).await;
    let mut client = host.greeted().await;
    let line = b"0123456789012345678901234567890123456789012345678901234567890123456789\r\n";
    let body = line.repeat(40_000);
    let message = [&b"Subject: large\r\n\r\n..stuffed\r\n"[..], &body].concat();
    let reply = client.deliver("", &message).await;
    assert!(reply.starts_with("250 "), "{reply}");
    let content = host.content();
    let start = content
        .windows(9)
        .position(|window| window == b"Subject: ")
        .expect("the header");
    let expected = [&b"Subject: large\r\n\r\n.stuffed\r\n"[..], &body, b"\r\n"].concat();
    assert!(content[start..] == expected[..], "not what was sent");
    assert!(
        content[..start].windows(6).any(|window| window == b"\tfor <"),
        "one recipient is named"
    );
}

#[tokio::test]
async fn concurrent_sessions_do_not_mix_messages() {
    let host = Arc::new(Host::new(|_| {}).await);
    let sessions = (0..20).map(|number| {
        let host = Arc::clone(&host);
        tokio::spawn(async move {
            let mut client = host.greeted().await;
            for _ in 0..5 {
                let reply = client.deliver("", format!("Subject: {number}\r\n\r\n{number}")).await;
                assert!(reply.starts_with("250 "), "{reply}");
            }
        })
    });
    for session in sessions.collect::<Vec<_>>() {
        session.await.expect("a session");
    }
    let spooled = host.spooled();
    assert_eq!(spooled.len(), 100);
    for message in spooled {
        let (_, content) = host.context.spool.get(message.id).expect("readable").expect("there");
        let text = String::from_utf8(content.read(0, 4096).expect("readable").to_vec()).expect("text");
        let subject = text
            .split("Subject: ")
            .nth(1)
            .and_then(|rest| rest.split("\r\n").next())
            .expect("a subject");
        assert!(text.ends_with(&format!("\r\n\r\n{subject}\r\n")), "{text}");
    }
}
