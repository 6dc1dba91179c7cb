//! Tests of the whole log: events are printed, recorded, bounded and read back.

use std::fs;
use std::io::{self, Write};

use super::*;

/// A stdout that records its output.
#[derive(Clone, Default)]
struct RecordedStdout(Arc<Mutex<Vec<u8>>>);

impl RecordedStdout {
    fn text(&self) -> String {
        String::from_utf8(self.0.lock().clone()).expect("UTF-8")
    }
}

impl Write for RecordedStdout {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A closed stdout.
struct ClosedStdout;

impl Write for ClosedStdout {
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
fn events_are_printed_and_survive_a_restart() {
    let dir = tempfile::tempdir().expect("folder");
    let stdout = RecordedStdout::default();
    let (events, log) = Events::open_with(dir.path(), Format::Text, 1 << 20, Box::new(stdout.clone())).expect("opens");
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

    assert_eq!(stdout.text().lines().count(), 2);
    assert!(stdout.text().contains(r#"reason="one\nline %s""#));
    let kept = EventLog::at_rest(dir.path()).query(&ALL).expect("reads");
    assert_eq!(reasons(&kept), ["one\nline %s"]);
}

#[test]
fn skips_a_torn_last_line() {
    let dir = tempfile::tempdir().expect("folder");
    fs::write(dir.path().join("000000000007.jsonl"), "{\"time\":\"2026-01").expect("writes");
    let (events, log) = Events::open_with(dir.path(), Format::Json, 1 << 20, Box::new(io::sink())).expect("opens");
    events.emit(aborted("after"));
    events.flush();
    assert_eq!(reasons(&log.query(&ALL).expect("reads")), ["after"]);
}

#[test]
fn refuses_a_second_writer() {
    let dir = tempfile::tempdir().expect("folder");
    let open = || Events::open_with(dir.path(), Format::Json, 1 << 20, Box::new(io::sink()));
    let first = open().expect("opens");
    let error = open().err().expect("in use");
    assert!(error.to_string().contains("running already"), "{error}");
    drop(first);
    open().expect("opens again");
}

#[test]
fn bounds_the_log_and_keeps_the_newest_events() {
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
        .map(|entry| entry.expect("entry").metadata().expect("metadata"))
        .filter(fs::Metadata::is_file)
        .map(|file| file.len())
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
fn flood_of_infos_and_warnings_removes_no_error_and_no_start() {
    let dir = tempfile::tempdir().expect("folder");
    let (events, log) = Events::open_with(dir.path(), Format::Json, 0, Box::new(io::sink())).expect("opens");
    let started = || Event::Started {
        version: "1".into(),
        pid: 1,
        hostname: "h".into(),
        listeners: Vec::new(),
    };
    let failed = || Event::PartFailed {
        part: "x".into(),
        error: "y".into(),
    };
    events.emit(started());
    events.emit(failed());
    let filler = "x".repeat(1000);
    for n in 0..1000 {
        events.emit(aborted(&format!("{n} {filler}")));
        events.emit(Event::AuthFailed {
            session: "s".into(),
            client: "192.0.2.1".into(),
            mechanism: "PLAIN".into(),
            account: filler.clone(),
            reason: n.to_string(),
        });
        events.flush();
    }
    for id in [5000, 5032, 5017, 4183] {
        let query = Query {
            id: Some(id),
            last: None,
        };
        assert!(!log.query(&query).expect("reads").is_empty(), "{id}");
    }
    let newest: Vec<u32> = log
        .query(&Query {
            id: None,
            last: Some(4),
        })
        .expect("reads")
        .iter()
        .map(|record| record.id)
        .collect();
    assert_eq!(newest, [5017, 4183, 5017, 4183], "in the order of the events");
    drop(events);
    // Numbers go on after a restart, and lines of earlier releases come first.
    fs::write(
        dir.path().join("000000000000.jsonl"),
        "{\"time\":\"t\",\"id\":1,\"name\":\"old\",\"severity\":\"error\",\"fields\":{}}\n",
    )
    .expect("writes");
    let (events, log) = Events::open_with(dir.path(), Format::Json, 1 << 20, Box::new(io::sink())).expect("opens");
    events.emit(failed());
    events.emit(started());
    events.flush();
    let all: Vec<u32> = log.query(&ALL).expect("reads").iter().map(|record| record.id).collect();
    assert_eq!(all[all.len() - 2..], [5032, 5000]);
}

/// A stdout whose reader has stalled until the gate is opened.
struct StalledStdout(std::sync::mpsc::Receiver<()>, RecordedStdout);

impl Write for StalledStdout {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        // The end of the sender opens the gate.
        let _ = self.0.recv();
        self.1.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn stalled_stdout_holds_neither_the_log_nor_a_flush() {
    let dir = tempfile::tempdir().expect("folder");
    let (gate, stalled) = std::sync::mpsc::channel();
    let stdout = RecordedStdout::default();
    let out = Box::new(StalledStdout(stalled, stdout.clone()));
    let (events, log) = Events::open_with(dir.path(), Format::Json, 64 << 20, out).expect("opens");
    let filler = "x".repeat(100_000);
    // The first text waits for the reader before the rest comes, however the writer groups it.
    events.emit(aborted(&filler));
    events.flush();
    for _ in 1..200 {
        events.emit(aborted(&filler));
    }
    events.flush();
    assert_eq!(
        log.query(&Query {
            id: Some(5017),
            last: None
        })
        .expect("reads")
        .len(),
        200
    );
    assert_eq!(
        log.query(&Query {
            id: Some(5097),
            last: None
        })
        .expect("reads")
        .len(),
        1
    );
    drop(gate);
    // Once the reader has taken what waits, printing goes on.
    let resumed = Query {
        id: Some(5098),
        last: None,
    };
    for _ in 0..10_000 {
        events.emit(aborted("more"));
        events.flush();
        if !log.query(&resumed).expect("reads").is_empty() {
            break;
        }
    }
    let record = &log.query(&resumed).expect("reads")[0];
    assert!(record.fields["dropped"].as_u64() > Some(0), "{record:?}");
    assert!(stdout.text().contains("more"));
}

#[test]
fn log_goes_on_after_its_folder_has_vanished() {
    let dir = tempfile::tempdir().expect("folder");
    let folder = dir.path().join("events");
    let (events, log) = Events::open_with(&folder, Format::Json, 1 << 20, Box::new(io::sink())).expect("opens");
    events.emit(aborted("lost"));
    events.flush();
    fs::remove_dir_all(&folder).expect("removed");
    events.emit(aborted("kept"));
    events.flush();
    assert_eq!(reasons(&log.query(&ALL).expect("reads")), ["kept"]);
}

#[test]
fn followers_get_each_record_once() {
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
fn writes_the_log_despite_a_closed_stdout() {
    let dir = tempfile::tempdir().expect("folder");
    let (events, log) = Events::open_with(dir.path(), Format::Text, 1 << 20, Box::new(ClosedStdout)).expect("opens");
    events.emit(aborted("kept"));
    events.flush();
    assert_eq!(reasons(&log.query(&ALL).expect("reads")), ["kept"]);
}

#[test]
fn capture_collects_its_own_events_only() {
    let (events, captured) = Events::capture();
    events.clone().emit(aborted("a"));
    Events::discard().emit(aborted("b"));
    assert_eq!(captured.ids(), [5017]);
}

#[test]
fn catalogue_ids_are_sorted_and_names_unique() {
    let ids: Vec<u32> = catalogue().iter().map(|entry| entry.id).collect();
    assert!(ids.is_sorted_by(|a, b| a < b), "{ids:?}");
    let names: std::collections::HashSet<_> = catalogue().iter().map(|entry| entry.name).collect();
    assert_eq!(names.len(), ids.len());
}

/// Compares the page with the catalogue. `POSTHOUSE_UPDATE=1` rewrites the page.
#[test]
fn docs_events_md_equals_the_catalogue() {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/reference/events.md");
    if std::env::var_os("POSTHOUSE_UPDATE").is_some() {
        fs::write(&page, catalogue_markdown()).expect("writes");
    }
    let written = fs::read_to_string(&page).expect("docs/reference/events.md");
    assert_eq!(
        written,
        catalogue_markdown(),
        "run `posthouse events --catalogue > docs/reference/events.md`"
    );
}
