//! Tests of the notifier, from an answer to drafts and events, with a real spool.

use super::*;
use std::sync::Arc;

use crate::ndr::{NdrService, Notification};
use futures_util::future::BoxFuture;
use host_config::NdrFault;
use host_contract::{
    Admission, AdmissionTerms, Answered, Audience, Decide, Failure, Notice, Plan, Reason, ReturnContent, Transaction,
};
use host_events::{Captured, Event, Events};
use host_mail::SessionId;
use host_spool::{Spool, SpoolOptions};
use host_testing::NoPolicy;

/// A policy with the same plan for every failure, which faults without a plan.
struct OnePlan {
    plan: Option<Plan>,
    on_fault: NdrFault,
}

impl Decide for OnePlan {
    fn admit<'a>(&'a self, _: SessionId, _: &'a Client) -> BoxFuture<'a, Answered<Admission>> {
        let terms = Admission::Admit(AdmissionTerms::default());
        Box::pin(async { Answered::by_policy(terms, Reason::host("test")) })
    }

    fn transaction(&self, _: SessionId) -> Box<dyn Transaction> {
        Box::new(NoPolicy)
    }

    fn plan<'a>(&'a self, _: &'a Failure) -> BoxFuture<'a, Answered<Option<Plan>>> {
        let answered = Answered {
            fault: self.plan.is_none(),
            answer: self.plan.clone(),
            because: Reason::host("test"),
        };
        Box::pin(async { answered })
    }

    fn on_ndr_fault(&self) -> NdrFault {
        self.on_fault
    }
}

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
        let service = NdrService {
            policies: Arc::new(OnePlan { plan, on_fault }),
            spool: self.spool.clone(),
            events: self.events.clone(),
            hostname: "mail.example.com".to_owned(),
            administrator: mailbox("admin@example.com"),
        };
        let mut failed = failed_delivery("anna@example.org", Reply::new(550, (5, 1, 1), "no such user"), None);
        failed.why.class = class.to_owned();
        let content = Arc::new(content(text));
        let outcome = service
            .prepare(&original(), content, &[failed])
            .await
            .expect("prepared");
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
    let list = [failed_delivery("bert@example.net", Reply::bare(451, "busy"), None)];
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
