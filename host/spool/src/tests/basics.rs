//! Tests of every transition in the table of states.

use super::*;
use crate::buffer_budget::BASE_BUFFER;
use crate::draft::PIECE;
use host_contract::Reason;

#[tokio::test]
async fn put_claim_and_settle_remove_the_message() {
    let folder = tempfile::tempdir().expect("folder");
    let spool = open(folder.path());
    let id = put(&spool, b"Subject: x\r\n\r\nhello\r\n").await;
    assert_eq!(spool.counts().queued, 1);
    assert_eq!(spool.next_due(), Some(Timestamp(1000)));
    assert!(spool.claim_due(Timestamp(999), 10).is_empty(), "not yet due");

    let claim = claim_one(&spool);
    assert_eq!((claim.message().id, claim.message().size), (id, 21));
    assert_eq!(all(&*claim.content()), b"Subject: x\r\n\r\nhello\r\n");
    assert!(
        spool.claim_due(Timestamp(u64::MAX), 10).is_empty(),
        "the message is claimed"
    );
    assert_eq!((spool.counts().queued, spool.counts().claimed), (1, 1));

    spool.settle(claim, None, Vec::new()).await.expect("settle");
    assert_eq!(spool.counts(), Counts::default());
    assert!(spool.get(id).expect("get").is_none());
    close(spool).await;
    assert_eq!(open(folder.path()).counts(), Counts::default());
}

#[tokio::test]
async fn dropped_claim_is_due_as_before() {
    let folder = tempfile::tempdir().expect("folder");
    let spool = open(folder.path());
    put(&spool, b"x").await;
    spool.changed().await;
    drop(claim_one(&spool));
    spool.changed().await;
    assert_eq!(spool.next_due(), Some(Timestamp(1000)));
    assert_eq!(spool.counts().claimed, 0);
}

#[tokio::test]
async fn claim_returns_the_current_record_not_the_cached_one() {
    let folder = tempfile::tempdir().expect("folder");
    let spool = open(folder.path());
    let id = put(&spool, b"x").await;
    assert!(spool.release(id).await.expect("release"));
    let claim = claim_one(&spool);
    assert!(claim.message().due > Timestamp(1000));
    let changed = Message {
        attempts: 7,
        ..claim.message().clone()
    };
    spool.settle(claim, Some(changed), Vec::new()).await.expect("settle");
    let claim = claim_one(&spool);
    assert_eq!(claim.message().attempts, 7);
    assert_eq!(all(&*claim.content()), b"x");
}

#[tokio::test]
async fn claim_reads_messages_back_that_exceed_the_cache() {
    let folder = tempfile::tempdir().expect("folder");
    let spool = open(folder.path());
    let bytes = pattern(PIECE);
    for _ in 0..40 {
        put(&spool, &bytes).await;
    }
    let kept = spool.inner.shared.recent_writes().count();
    assert!((1..40).contains(&kept), "{kept}");
    let claims = spool.claim_due(Timestamp(1000), 100);
    assert_eq!(claims.len(), 40);
    for claim in claims {
        assert!(all(&*claim.content()) == bytes);
    }
    assert_eq!(spool.inner.shared.recent_writes().count(), 0);
}

#[tokio::test]
async fn claims_alternate_between_oldest_and_newest_within_the_limit() {
    let folder = tempfile::tempdir().expect("folder");
    let spool = open(folder.path());
    for due in [30, 10, 20, 40] {
        put_as(&spool, b"x", |message| message.due = Timestamp(due)).await;
    }
    let claims = spool.claim_due(Timestamp(30), 2);
    let due: Vec<_> = claims.iter().map(|claim| claim.message().due.0).collect();
    assert_eq!(due, [10, 30], "a message that is not yet due is not claimed");
    assert_eq!(spool.claim_due(Timestamp(30), 2).len(), 1);
}

#[tokio::test]
async fn settle_writes_record_and_notices_in_one_batch() {
    let folder = tempfile::tempdir().expect("folder");
    let spool = open(folder.path());
    let id = put(&spool, b"original").await;
    let claim = claim_one(&spool);
    let mut next = claim.message().clone();
    next.attempts = 1;
    next.due = Timestamp(2000);
    let mut draft = spool.notice_draft();
    draft.write(&pattern(3 * PIECE)).await.expect("write");
    let notice = Message {
        notification: true,
        ..message(draft.id())
    };
    let notice_id = notice.id;
    spool
        .settle(claim, Some(next), vec![(draft, notice)])
        .await
        .expect("settle");
    close(spool).await;

    let spool = open(folder.path());
    let (first, second) = (claim_one(&spool), claim_one(&spool));
    assert!(first.message().notification && first.message().id == notice_id);
    assert_eq!(all(&*first.content()), pattern(3 * PIECE));
    assert_eq!((second.message().id, second.message().attempts), (id, 1));
    assert_eq!(second.message().size, 8);
}

#[tokio::test]
async fn failed_settle_gives_the_claim_back() {
    let folder = tempfile::tempdir().expect("folder");
    let spool = open(folder.path());
    let id = put(&spool, b"x").await;
    let other = message(MessageId::generate());
    assert!(spool.settle(claim_one(&spool), Some(other), Vec::new()).await.is_err());

    let notice = (spool.notice_draft(), message(MessageId::generate()));
    assert!(spool.settle(claim_one(&spool), None, vec![notice]).await.is_err());
    assert_eq!((spool.counts().queued, spool.counts().claimed), (1, 0));
    assert_eq!(claim_one(&spool).message().id, id);

    spool.close().await;
    let claim = claim_one(&spool);
    assert!(spool.settle(claim, None, Vec::new()).await.is_err(), "closed");
    assert_eq!(spool.counts().claimed, 0);
    let draft = spool.draft().expect("a draft writes nothing yet");
    let message = message(draft.id());
    assert!(draft.commit(message).await.is_err());
}

#[tokio::test]
async fn only_queued_and_failing_messages_are_claimed() {
    let folder = tempfile::tempdir().expect("folder");
    let spool = open(folder.path());
    let because = Reason::host("test");
    let folder_name = "turf".to_owned();
    let states = [
        State::Queued,
        State::Failing {
            class: "not-homed".to_owned(),
            because: because.clone(),
        },
        State::Quarantined {
            folder: folder_name,
            because,
        },
        State::Frozen {
            reason: "test".to_owned(),
        },
    ];
    for state in states {
        put_as(&spool, b"x", |message| message.state = state).await;
    }
    let expected = Counts {
        queued: 1,
        failing: 1,
        quarantined: 1,
        frozen: 1,
        ..Counts::default()
    };
    assert_eq!(spool.counts(), expected);
    assert_eq!(spool.claim_due(Timestamp(u64::MAX), 10).len(), 2);
    close(spool).await;
    let spool = open(folder.path());
    assert_eq!(spool.counts(), expected, "a claim ends with the process");
    for name in ["queued", "failing", "quarantined", "frozen"] {
        let filter = ListFilter {
            state: Some(name.to_owned()),
            after: None,
            limit: 10,
        };
        let listed = spool.list(&filter).expect("list").messages;
        assert_eq!((listed.len(), listed[0].state.name()), (1, name));
    }
}

#[tokio::test]
async fn list_pages_in_order_of_arrival() {
    let folder = tempfile::tempdir().expect("folder");
    let spool = open(folder.path());
    for _ in 0..7 {
        put(&spool, b"x").await;
    }
    let filter = ListFilter {
        limit: 3,
        ..ListFilter::default()
    };
    let (seen, pages) = all_pages(&spool, filter, usize::MAX);
    assert_eq!((seen.len(), pages), (7, 3));
    assert!(seen.is_sorted());
}

/// Lists all pages; returns the ids and the number of pages.
fn all_pages(spool: &Spool, mut filter: ListFilter, max_scanned: usize) -> (Vec<MessageId>, usize) {
    let mut seen = Vec::new();
    for pages in 1.. {
        let page = spool.list_within(&filter, max_scanned).expect("list");
        assert!(page.messages.len() <= filter.limit);
        seen.extend(page.messages.iter().map(|message| message.id));
        match page.next {
            Some(next) => filter.after = Some(next),
            None => return (seen, pages),
        }
    }
    unreachable!("pages come to an end")
}

#[tokio::test]
async fn list_reads_a_bounded_number_of_records_per_page() {
    let folder = tempfile::tempdir().expect("folder");
    let spool = open(folder.path());
    let filter = |state: &str| ListFilter {
        state: Some(state.to_owned()),
        after: None,
        limit: 3,
    };
    for _ in 0..5 {
        put(&spool, b"x").await;
    }
    let (none, pages) = all_pages(&spool, filter("frozen"), 2);
    assert_eq!((none.len(), pages), (0, 1), "the counts answer without a scan");
    let frozen = put_as(&spool, b"x", |message| {
        message.state = State::Frozen {
            reason: "test".to_owned(),
        };
    })
    .await;
    put(&spool, b"x").await;
    let (seen, pages) = all_pages(&spool, filter("frozen"), 2);
    assert_eq!((seen, pages), (vec![frozen], 4));
    let (seen, pages) = all_pages(&spool, filter("queued"), 2);
    assert_eq!((seen.len(), pages), (6, 4));
}

#[tokio::test]
async fn release_makes_due_now_and_resets_faults_and_expiry() {
    let folder = tempfile::tempdir().expect("folder");
    let spool = open(folder.path());
    let waiting = put_as(&spool, b"x", |message| message.due = Timestamp(u64::MAX)).await;
    let frozen = put_as(&spool, b"x", |message| {
        message.state = State::Frozen {
            reason: "faults".to_owned(),
        };
        message.faults = 3;
    })
    .await;
    assert!(spool.claim_due(Timestamp::now(), 10).is_empty());
    assert!(spool.release(waiting).await.expect("release"));
    assert!(spool.release(frozen).await.expect("release"));
    assert!(!spool.release(MessageId::generate()).await.expect("release"));

    let claims = spool.claim_due(Timestamp::now(), 10);
    assert_eq!(claims.len(), 2);
    for claim in &claims {
        assert_eq!((&claim.message().state, claim.message().faults), (&State::Queued, 0));
    }
    assert!(claims.iter().any(|claim| claim.message().expires > Timestamp::now()));
    assert!(
        !spool.release(waiting).await.expect("release"),
        "the message is claimed"
    );
}

#[tokio::test]
async fn release_of_a_message_frozen_while_failing_restores_failing() {
    let folder = tempfile::tempdir().expect("folder");
    let spool = open(folder.path());
    let failing = State::Failing {
        class: "not-homed".to_owned(),
        because: Reason::host("test"),
    };
    let id = put_as(&spool, b"x", |message| message.state = failing.clone()).await;
    let claim = claim_one(&spool);
    let mut next = claim.message().clone();
    next.state = State::Frozen {
        reason: "faults".to_owned(),
    };
    spool.settle(claim, Some(next), Vec::new()).await.expect("settle");
    assert_eq!((spool.counts().failing, spool.counts().frozen), (0, 1));
    close(spool).await;
    let spool = open(folder.path());
    assert!(spool.release(id).await.expect("release"));
    assert_eq!(claim_one(&spool).message().state, failing);
}

#[tokio::test]
async fn delete_removes_unclaimed_messages_only() {
    let folder = tempfile::tempdir().expect("folder");
    let spool = open(folder.path());
    let small = put(&spool, b"x").await;
    let claim = claim_one(&spool);
    assert!(!spool.delete(small).await.expect("delete"));
    drop(claim);
    assert!(spool.delete(small).await.expect("delete"));
    assert!(!spool.delete(small).await.expect("delete"));
    let large = put(&spool, &pattern(2 * PIECE)).await;
    assert!(spool.delete(large).await.expect("delete"));
    assert_eq!(spool.counts(), Counts::default());
    assert_eq!(large_files(folder.path(), 0).await, 0);
}

#[tokio::test]
async fn drafts_spill_sooner_when_the_buffer_budget_is_spent() {
    let folder = tempfile::tempdir().expect("folder");
    let options = SpoolOptions {
        memory: 0,
        ..SpoolOptions::default()
    };
    let spool = Spool::open(folder.path(), options, Events::discard()).expect("spool");
    let bytes = pattern(PIECE / 2 + 777);
    let mut draft = spool.draft().expect("draft");
    for piece in bytes.chunks(10_001) {
        draft.write(piece).await.expect("write");
        assert!(draft.buffer_capacity() <= BASE_BUFFER);
    }
    assert_eq!(draft.size(), bytes.len() as u64);
    assert_eq!(all(&*draft.content()), bytes);
}

#[tokio::test]
async fn draft_accepts_writes_after_its_content_was_read() {
    let folder = tempfile::tempdir().expect("folder");
    let spool = open(folder.path());
    for (skip, expected) in [(0, "Pabcd"), (1, "Pbcd"), (3, "Pd"), (9, "P")] {
        let mut draft = spool.draft().expect("draft");
        draft.write(b"ab").await.expect("write");
        let early = draft.content();
        draft.write(b"c").await.expect("write");
        assert_eq!(all(&*draft.content()), b"abc");
        assert_eq!(all(&*early), b"ab");
        draft.write(b"d").await.expect("write");
        assert_eq!(draft.size(), 4);
        draft.set_prefix(b"P".to_vec(), skip);
        let message = message(draft.id());
        let id = message.id;
        draft.commit(message).await.expect("commit");
        let (_, content) = spool.get(id).expect("get").expect("message");
        assert_eq!(all(&*content), expected.as_bytes());
    }
    close(spool).await;
}

#[tokio::test]
async fn large_message_is_spilled_read_at_any_offset_and_prefixed() {
    let folder = tempfile::tempdir().expect("folder");
    let spool = open(folder.path());
    let bytes = pattern(5 * PIECE + 777);
    let mut draft = spool.draft().expect("draft");
    for piece in bytes.chunks(100_001) {
        draft.write(piece).await.expect("write");
        assert!(draft.buffer_capacity() <= PIECE);
    }
    assert_eq!(draft.size(), bytes.len() as u64);
    let content = draft.content();
    assert_eq!(all(&*content), bytes);
    assert_eq!(
        content.read(PIECE as u64 * 5 - 3, 6).expect("read"),
        bytes[PIECE * 5 - 3..][..6]
    );

    draft.set_prefix(b"Received: here\r\n".to_vec(), 1000);
    let expected = [b"Received: here\r\n", &bytes[1000..]].concat();
    let message = message(draft.id());
    let id = message.id;
    draft.commit(message).await.expect("commit");
    for spool in [spool, reopened(folder.path()).await] {
        let (message, content) = spool.get(id).expect("get").expect("message");
        assert_eq!(
            (message.size, content.size()),
            (expected.len() as u64, expected.len() as u64)
        );
        assert_eq!(all(&*content), expected);
        for (offset, length) in [
            (0, 3),
            (10, 20),
            (16, 5),
            (expected.len() - 2, 100),
            (expected.len(), 1),
        ] {
            let end = (offset + length).min(expected.len());
            assert_eq!(
                content.read(offset as u64, length).expect("read"),
                expected[offset..end]
            );
        }
        close(spool).await;
    }
}

async fn reopened(path: &Path) -> Spool {
    // A copy, since the first handle keeps the folder locked for a moment after it is dropped.
    let copy = tempfile::tempdir().expect("folder").keep();
    copy_folder(path, &copy);
    open(&copy)
}

fn copy_folder(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).expect("folder");
    for entry in std::fs::read_dir(from).expect("folder") {
        let entry = entry.expect("entry");
        let target = to.join(entry.file_name());
        if entry.file_type().expect("type").is_dir() {
            copy_folder(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).expect("copy");
        }
    }
}

#[tokio::test]
async fn prefix_replaces_the_skipped_bytes_of_a_small_message() {
    let folder = tempfile::tempdir().expect("folder");
    let spool = open(folder.path());
    for (skip, expected) in [(0, "newold\r\n"), (3, "new\r\n"), (1000, "new")] {
        let mut draft = spool.draft().expect("draft");
        draft.write(b"old\r\n").await.expect("write");
        draft.set_prefix(b"new".to_vec(), skip);
        let message = message(draft.id());
        let id = message.id;
        draft.commit(message).await.expect("commit");
        assert_eq!(bytes_of(&spool, id), expected.as_bytes());
    }
    let empty = put(&spool, b"").await;
    assert_eq!(bytes_of(&spool, empty), b"");
}

#[tokio::test]
async fn dropped_draft_leaves_no_file() {
    let folder = tempfile::tempdir().expect("folder");
    let spool = open(folder.path());
    let mut small = spool.draft().expect("draft");
    small.write(b"x").await.expect("write");
    let mut large = spool.draft().expect("draft");
    large.write(&pattern(2 * PIECE)).await.expect("write");
    assert_eq!(large_files(folder.path(), 1).await, 1);
    let content = large.content();
    drop((small, large));
    assert_eq!(large_files(folder.path(), 0).await, 0);
    assert_eq!(content.size(), 2 * PIECE as u64);
    assert_eq!(spool.counts(), Counts::default());
}

#[tokio::test]
async fn low_water_mark_refuses_new_mail_only() {
    let folder = tempfile::tempdir().expect("folder");
    let (events, captured) = Events::capture();
    let spool = Spool::open(
        folder.path(),
        SpoolOptions {
            low_water: u64::MAX,
            ..SpoolOptions::default()
        },
        events,
    )
    .expect("spool");
    assert!(matches!(spool.draft(), Err(PutError::Full { mark: u64::MAX, .. })));
    let draft = spool.notice_draft();
    let message = message(draft.id());
    draft.commit(message).await.expect("commit");
    spool.settle(claim_one(&spool), None, Vec::new()).await.expect("settle");
    assert_eq!(captured.ids(), [5013]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn concurrent_puts_are_all_stored() {
    let folder = tempfile::tempdir().expect("folder");
    let spool = open(folder.path());
    let tasks: Vec<_> = (0..16)
        .map(|task: usize| {
            let spool = spool.clone();
            tokio::spawn(async move {
                let mut ids = Vec::new();
                for size in 0..30 {
                    let size = size * 50 + task;
                    ids.push((put(&spool, &pattern(size)).await, size));
                }
                ids
            })
        })
        .collect();
    let mut stored = Vec::new();
    for task in tasks {
        stored.extend(task.await.expect("task"));
    }
    close(spool).await;
    let spool = open(folder.path());
    assert_eq!(spool.counts().queued, 480);
    for (id, size) in stored {
        assert_eq!(bytes_of(&spool, id), pattern(size));
    }
}
