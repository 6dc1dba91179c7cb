//! The log as a whole: what is emitted is printed, kept, bounded and found again.

use std::fs;
use std::io::{self, Write};

use super::*;

/// A stdout that can be read.
#[derive(Clone, Default)]
struct Screen(Arc<Mutex<Vec<u8>>>);

impl Screen {
    fn text(&self) -> String {
        String::from_utf8(self.0.lock().expect("screen").clone()).expect("UTF-8")
    }
}

impl Write for Screen {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().expect("screen").extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A stdout whose reader has gone.
struct Gone;

impl Write for Gone {
    fn write(&mut self, _: &[u8]) -> io::Result<usize> {
        Err(io::ErrorKind::BrokenPipe.into())
    }

    fn flush(&mut self) -> io::Result<()> {
        Err(io::ErrorKind::BrokenPipe.into())
    }
}

fn aborted(reason: &str) -> Event {
    Event::SessionAborted {
        session: "s".into(),
        client: "192.0.2.1".into(),
        reason: reason.into(),
    }
}

fn reasons(records: &[EventRecord]) -> Vec<String> {
    records
        .iter()
        .filter_map(|record| record.fields["reason"].as_str().map(str::to_owned))
        .collect()
}

const ALL: Query = Query { id: None, last: None };

#[test]
fn what_is_emitted_is_printed_and_found_again_after_a_restart() {
    let dir = tempfile::tempdir().expect("folder");
    let screen = Screen::default();
    let (events, log) = Events::open_with(dir.path(), Format::Text, 1 << 20, Box::new(screen.clone())).expect("opens");
    events.emit(aborted("one\nline %s"));
    events.emit(Event::Reloaded { what: vec!["x".into()] });
    events.flush();
    assert_eq!(log.query(&ALL).expect("reads").len(), 2);
    let only = Query {
        id: Some(5011),
        last: None,
    };
    assert_eq!(log.query(&only).expect("reads")[0].name, "reloaded");
    drop(events);

    assert_eq!(screen.text().lines().count(), 2);
    assert!(screen.text().contains(r#"reason="one\nline %s""#));
    let kept = EventLog::at_rest(dir.path()).query(&ALL).expect("reads");
    assert_eq!(reasons(&kept), ["one\nline %s"]);
}

#[test]
fn a_torn_last_line_costs_only_itself() {
    let dir = tempfile::tempdir().expect("folder");
    fs::write(dir.path().join("000000000007.jsonl"), "{\"time\":\"2026-01").expect("writes");
    let (events, log) = Events::open_with(dir.path(), Format::Json, 1 << 20, Box::new(io::sink())).expect("opens");
    events.emit(aborted("after"));
    events.flush();
    assert_eq!(reasons(&log.query(&ALL).expect("reads")), ["after"]);
}

#[test]
fn a_second_writer_is_kept_out() {
    let dir = tempfile::tempdir().expect("folder");
    let open = || Events::open_with(dir.path(), Format::Json, 1 << 20, Box::new(io::sink()));
    let first = open().expect("opens");
    let error = open().err().expect("in use");
    assert!(error.to_string().contains("running already"), "{error}");
    drop(first);
    open().expect("opens again");
}

#[test]
fn the_log_is_bounded_and_keeps_the_newest() {
    let dir = tempfile::tempdir().expect("folder");
    let (events, log) = Events::open_with(dir.path(), Format::Json, 0, Box::new(io::sink())).expect("opens");
    let filler = "x".repeat(1000);
    for n in 0..1000 {
        events.emit(aborted(&format!("{n} {filler}")));
        if n % 10 == 0 {
            events.flush();
        }
    }
    events.flush();
    let size: u64 = fs::read_dir(dir.path())
        .expect("folder")
        .map(|entry| entry.expect("entry").metadata().expect("metadata").len())
        .sum();
    assert!(size <= 8 * 16 * 1024, "{size}");
    let last = log
        .query(&Query {
            id: None,
            last: Some(2),
        })
        .expect("reads");
    let numbers: Vec<String> = reasons(&last).iter().map(|r| r.replace(&filler, "")).collect();
    assert_eq!(numbers, ["998 ", "999 "]);
}

#[test]
fn a_follower_gets_each_record_once() {
    let dir = tempfile::tempdir().expect("folder");
    let (events, log) = Events::open_with(dir.path(), Format::Json, 1 << 20, Box::new(io::sink())).expect("opens");
    events.emit(aborted("before"));
    events.flush();
    let (past, receiver) = log.follow(&ALL).expect("follows");
    events.emit(aborted("after"));
    events.flush();
    assert_eq!(reasons(&past), ["before"]);
    let mut receiver = receiver.expect("live");
    assert_eq!(receiver.try_recv().expect("record").fields["reason"], "after");
    assert!(receiver.try_recv().is_err());
}

#[test]
fn a_closed_stdout_does_not_stop_the_log() {
    let dir = tempfile::tempdir().expect("folder");
    let (events, log) = Events::open_with(dir.path(), Format::Text, 1 << 20, Box::new(Gone)).expect("opens");
    events.emit(aborted("kept"));
    events.flush();
    assert_eq!(reasons(&log.query(&ALL).expect("reads")), ["kept"]);
}

#[test]
fn captured_events_can_be_asked_for() {
    let (events, captured) = Events::capture();
    events.clone().emit(aborted("a"));
    Events::discard().emit(aborted("b"));
    assert_eq!(captured.ids(), [5017]);
}

#[test]
fn ids_and_names_are_unique_and_sorted() {
    let ids: Vec<u32> = catalogue().iter().map(|entry| entry.id).collect();
    assert!(ids.is_sorted_by(|a, b| a < b), "{ids:?}");
    let names: std::collections::HashSet<_> = catalogue().iter().map(|entry| entry.name).collect();
    assert_eq!(names.len(), ids.len());
}

/// Set `POSTHOUSE_BLESS=1` to write the page anew.
#[test]
fn the_page_of_events_is_the_catalogue() {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/events.md");
    if std::env::var_os("POSTHOUSE_BLESS").is_some() {
        fs::write(&page, catalogue_markdown()).expect("writes");
    }
    let written = fs::read_to_string(&page).expect("docs/events.md");
    assert_eq!(
        written,
        catalogue_markdown(),
        "run `posthouse events --catalogue > docs/events.md`"
    );
}
