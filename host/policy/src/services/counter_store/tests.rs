//! Tests of the counter store.

use super::*;
use crate::testing::module;
use host_events::Captured;

fn open(folder: &std::path::Path, limit: usize) -> (Arc<CounterStore>, Captured) {
    let (events, captured) = Events::capture();
    let counters = CounterStore::open(Some(folder.join("counters")), events);
    let modules = ["one", "two"].map(|name| PolicyModule {
        counters: limit,
        ..module(name, None, serde_json::json!({}))
    });
    counters.configure(&modules);
    (counters, captured)
}

fn ids(captured: &Captured) -> Vec<u32> {
    captured.events().iter().map(|event| event.entry().id).collect()
}

#[test]
fn counters_are_separate_by_module_and_survive_a_restart() {
    let folder = tempfile::tempdir().expect("a folder");
    let (counters, captured) = open(folder.path(), 10);
    assert_eq!(counters.add("one", "k", 2, 1000), Ok(2));
    assert_eq!(counters.add("one", "k", 2, 1000), Ok(4));
    assert_eq!(counters.value("two", "k"), Ok(0));
    counters.save();
    let (again, captured_again) = open(folder.path(), 10);
    assert_eq!(again.value("one", "k"), Ok(4));
    assert_eq!(again.add("one", "k", 1, 1), Ok(5));
    assert_eq!((ids(&captured), ids(&captured_again)), (vec![], vec![]));
}

#[test]
fn damaged_file_is_put_aside_and_counters_start_empty() {
    let folder = tempfile::tempdir().expect("a folder");
    let (counters, _) = open(folder.path(), 10);
    assert_eq!(counters.add("one", "k", 7, 1000), Ok(7));
    counters.save();
    let file = folder.path().join("counters");
    let text = std::fs::read_to_string(&file).expect("saved");
    std::fs::write(&file, text.replace("\"k\",7", "\"k\",8")).expect("damaged");
    let (again, captured) = open(folder.path(), 10);
    assert_eq!(again.value("one", "k"), Ok(0));
    assert_eq!(ids(&captured), [5039]);
    assert!(!file.exists());
    assert_eq!(std::fs::read_dir(folder.path()).expect("a folder").count(), 1);
}

#[test]
fn bounds_hold_and_a_full_table_is_reported_once() {
    let folder = tempfile::tempdir().expect("a folder");
    let (counters, captured) = open(folder.path(), 2);
    assert!(matches!(
        counters.add("one", &"k".repeat(257), 1, 9),
        Err(NoAnswer::Other(_))
    ));
    assert!(matches!(
        counters.value("one", &"k".repeat(257)),
        Err(NoAnswer::Other(_))
    ));
    assert_eq!(counters.add("one", &"k".repeat(256), 1, 9), Ok(1));
    assert_eq!(counters.add("one", "", 1, 9), Ok(1));
    for _ in 0..3 {
        assert_eq!(counters.add("one", "third", 1, 9), Err(NoAnswer::Full));
    }
    assert_eq!(counters.add("two", "third", 1, 9), Ok(1));
    assert_eq!(ids(&captured), [5053]);
}

#[test]
fn failed_save_is_reported_and_retried() {
    let folder = tempfile::tempdir().expect("a folder");
    let gone = folder.path().join("gone");
    let (counters, captured) = open(&gone, 2);
    assert_eq!(counters.add("one", "k", 1, 1000), Ok(1));
    counters.save();
    std::fs::create_dir(&gone).expect("a folder");
    counters.save();
    counters.save();
    assert_eq!(ids(&captured), [5054]);
    assert_eq!(open(&gone, 2).0.value("one", "k"), Ok(1));
}

#[test]
fn concurrent_additions_are_all_counted() {
    let folder = tempfile::tempdir().expect("a folder");
    let (counters, _) = open(folder.path(), 2);
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                for _ in 0..1000 {
                    counters.add("one", "k", 1, 1000).expect("counted");
                }
            });
        }
    });
    assert_eq!(counters.value("one", "k"), Ok(8000));
}

#[test]
fn pages_list_counters_in_key_order() {
    let folder = tempfile::tempdir().expect("a folder");
    let (counters, _) = open(folder.path(), 10);
    for (key, amount) in [("d", 4), ("a", 1), ("c", 3), ("b", 2)] {
        assert_eq!(counters.add("one", key, amount, 1000), Ok(amount));
    }
    let page = |after, limit| {
        let page = counters.page("one", after, limit);
        assert_eq!((page.running, page.limit), (4, 10));
        let shown: Vec<_> = page
            .counters
            .into_iter()
            .map(|counter| (counter.key, counter.value))
            .collect();
        (shown, page.next)
    };
    let two = |(a, one): (&str, u64), (b, two): (&str, u64)| vec![(a.to_owned(), one), (b.to_owned(), two)];
    assert_eq!(page(None, 2), (two(("a", 1), ("b", 2)), Some("b".to_owned())));
    assert_eq!(page(Some("b"), 2), (two(("c", 3), ("d", 4)), None));
    assert_eq!(page(Some("bb"), 2), (two(("c", 3), ("d", 4)), None));
    assert_eq!(page(Some("d"), 2), (Vec::new(), None));
    assert_eq!(counters.page("nobody", None, 2), CounterPage::default());
}
