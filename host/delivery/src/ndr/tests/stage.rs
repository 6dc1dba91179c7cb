//! Tests of the notifier, from an answer to drafts and events, with a real spool.

use super::*;
use crate::ndr::Notification;
use crate::ndr::notifier::Notifier;
use host_config::NdrFault;
use host_contract::{Answered, Audience, Notice, Plan, Reason, ReturnContent};
use host_events::{Captured, Event, Events};
use host_spool::{Spool, SpoolOptions};

struct NotifierFixture {
    _folder: tempfile::TempDir,
    spool: Spool,
    events: Events,
    captured: Captured,
}

impl NotifierFixture {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("folder");
        let (events, captured) = Events::capture();
        let options = SpoolOptions {
            low_water: u64::MAX,
            ..SpoolOptions::default()
        };
        let spool = Spool::open(folder.path(), options, Events::discard()).expect("spool");
        Self {
            _folder: folder,
            spool,
            events,
            captured,
        }
    }

    /// Carries out an answer about a message with `text`, and commits the notices.
    async fn run(
        &self,
        text: &str,
        class: &str,
        plan: Option<Plan>,
        on_fault: NdrFault,
    ) -> Option<Vec<(Message, String)>> {
        let (original, content) = (original(), content(text));
        let header = header(&content);
        let administrator = mailbox("admin@example.com");
        let notifier = Notifier {
            spool: &self.spool,
            events: &self.events,
            hostname: "mail.example.com",
            administrator: &administrator,
            on_fault,
            original: &original,
            content: &content,
            header: &header,
        };
        let answered = Answered {
            fault: plan.is_none(),
            answer: plan,
            because: Reason::host("test"),
        };
        let outcome = notifier
            .carry_out(&failure(&original, class), answered)
            .await
            .expect("carried out");
        let Notification::Notices(notices) = outcome else {
            return None;
        };
        let mut put = Vec::new();
        for (draft, message) in notices {
            let id = message.id;
            draft.commit(message).await.expect("commit");
            let (message, content) = self.spool.get(id).expect("get").expect("message");
            let bytes = content.read(0, usize::MAX).expect("read");
            put.push((message, String::from_utf8_lossy(&bytes).into_owned()));
        }
        Some(put)
    }
}

fn notice(to: Audience, content: ReturnContent) -> Notice {
    Notice {
        to,
        content,
        remark: None,
    }
}

#[tokio::test]
async fn notices_have_the_null_reverse_path() {
    let fixture = NotifierFixture::new();
    let text = format!("Subject: x\r\n\r\n{}", "line\r\n".repeat(60_000));
    let plan = vec![
        notice(Audience::Sender, ReturnContent::Full),
        notice(Audience::Administrator, ReturnContent::Headers),
    ];
    let put = fixture
        .run(&text, "expired", Some(plan), NdrFault::Freeze)
        .await
        .expect("notices");
    let to: Vec<_> = put
        .iter()
        .map(|(message, _)| message.recipients[0].address.as_str())
        .collect();
    assert_eq!(to, ["bert@example.net", "admin@example.com"]);
    for (message, _) in &put {
        assert!(message.notification && message.envelope.sender == ReversePath::Null);
        assert!(message.expires > message.due && message.client.is_none());
    }
    assert!(
        put[0].1.contains(&text),
        "streamed whole, beyond what a draft keeps in memory"
    );
    assert!(!put[1].1.contains("line\r\n"));
    assert_eq!(fixture.captured.ids(), [5008, 5008]);
}

#[tokio::test]
async fn large_original_is_returned_as_headers() {
    let fixture = NotifierFixture::new();
    let text = format!("Subject: x\r\n\r\n{}", "line\r\n".repeat(200_000));
    let plan = vec![notice(Audience::Sender, ReturnContent::Full)];
    let put = fixture
        .run(&text, "expired", Some(plan), NdrFault::Freeze)
        .await
        .expect("notices");
    let words: Vec<_> = put[0].1.split_whitespace().collect();
    assert!(words.join(" ").contains("too large to be returned whole") && put[0].0.size < 10_000);
}

#[tokio::test]
async fn empty_plan_emits_an_event_with_the_reason() {
    let fixture = NotifierFixture::new();
    let put = fixture
        .run("\r\n", "expired", Some(Vec::new()), NdrFault::Freeze)
        .await
        .expect("notices");
    assert!(put.is_empty());
    match &fixture.captured.events()[..] {
        [Event::NobodyTold { because, about, .. }] => {
            assert_eq!((because.as_str(), about.len()), ("host/test", 1));
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn fault_leads_to_standard_report_or_freeze() {
    let fixture = NotifierFixture::new();
    let put = fixture
        .run("\r\n", "not-homed", None, NdrFault::StandardReport)
        .await
        .expect("notices");
    assert_eq!(put.len(), 1, "the administrator, and no backscatter");
    assert_eq!(put[0].0.recipients[0].address, mailbox("admin@example.com"));
    assert!(fixture.run("\r\n", "not-homed", None, NdrFault::Freeze).await.is_none());
    assert_eq!(fixture.captured.ids(), [4120, 5008, 4120]);
}

#[tokio::test]
async fn undeliverable_notice_is_dropped_with_an_event() {
    let fixture = NotifierFixture::new();
    let plan = vec![notice(
        Audience::Address(mailbox("anna@example.org")),
        ReturnContent::Nothing,
    )];
    let put = fixture
        .run("\r\n", "address-not-found", Some(plan), NdrFault::Freeze)
        .await
        .expect("notices");
    assert!(put.is_empty());
    assert_eq!(fixture.captured.ids(), [4123]);
}

#[test]
fn sends_no_report_about_a_notification() {
    let (events, captured) = Events::capture();
    let list = [(
        mailbox("bert@example.net"),
        failed("expired", Reply::bare(451, "busy"), None),
    )];
    crate::ndr::drop_notification(&events, &original(), &list);
    match &captured.events()[..] {
        [Event::NotificationDropped { to, reason, .. }] => {
            assert_eq!(
                (to.as_str(), reason.as_str()),
                ("bert@example.net", "a notification failed: 451 busy")
            );
        }
        other => panic!("{other:?}"),
    }
}
