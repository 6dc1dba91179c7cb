//! Model tests: `loom` runs each for every relevant interleaving of the threads.

use std::sync::Mutex as Record;

use loom::thread;

use super::*;

/// Time-out of a wait. loom has no timer thread: a wait ends only by an item.
const FOREVER: Duration = Duration::MAX;

type Queue = Arc<BatchQueue<u32>>;

fn check(model: impl Fn(Queue) + Send + Sync + 'static) {
    loom::model(move || model(Queue::default()));
}

/// Starts a thread that pushes `items` in order and returns the number of accepted items.
fn push_from_thread(queue: &Queue, max_len: usize, items: &'static [u32]) -> thread::JoinHandle<usize> {
    let queue = queue.clone();
    thread::spawn(move || {
        items
            .iter()
            .filter(|item| queue.push(false, max_len, || **item))
            .count()
    })
}

fn take(reader: &mut BatchReader<u32>, limits: (usize, Duration)) -> Option<Vec<u32>> {
    let mut batch = Vec::new();
    reader.take(&mut batch, || limits).then_some(batch)
}

/// Takes batches until the queue is closed and empty.
fn take_all(reader: &mut BatchReader<u32>, limits: (usize, Duration)) -> Vec<u32> {
    std::iter::from_fn(|| take(reader, limits)).flatten().collect()
}

fn sorted(mut items: Vec<u32>) -> Vec<u32> {
    items.sort_unstable();
    items
}

#[test]
fn reader_gets_each_item_of_two_writers_once_and_in_their_order() {
    // Four threads are too many for every interleaving within seconds.
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(2);
    builder.check(|| {
        let queue = Queue::default();
        let writers = [push_from_thread(&queue, 9, &[1, 2]), push_from_thread(&queue, 9, &[11])];
        let closer = {
            let queue = queue.clone();
            thread::spawn(move || {
                for writer in writers {
                    writer.join().expect("no panic");
                }
                queue.close();
            })
        };
        let taken = take_all(&mut queue.reader(), (1, FOREVER));
        let of_first: Vec<u32> = taken.iter().copied().filter(|item| *item < 10).collect();
        assert_eq!(of_first, [1, 2]);
        assert_eq!(sorted(taken), [1, 2, 11]);
        closer.join().expect("no panic");
    });
}

#[test]
fn full_batch_ends_the_linger_time() {
    check(|queue| {
        let writers = [push_from_thread(&queue, 9, &[1]), push_from_thread(&queue, 9, &[2])];
        let batch = take(&mut queue.reader(), (2, FOREVER)).expect("not closed");
        assert_eq!(sorted(batch), [1, 2]);
        for writer in writers {
            writer.join().expect("no panic");
        }
    });
}

#[test]
fn urgent_item_ends_the_linger_time() {
    check(|queue| {
        let normal = push_from_thread(&queue, 9, &[1]);
        let urgent = {
            let queue = queue.clone();
            thread::spawn(move || assert!(queue.push(true, 9, || 2)))
        };
        let mut reader = queue.reader();
        let mut taken = take(&mut reader, (9, FOREVER)).expect("not closed");
        assert!(taken.contains(&2), "nothing else ends the linger time");
        normal.join().expect("no panic");
        urgent.join().expect("no panic");
        queue.close();
        taken.extend(take_all(&mut reader, (9, FOREVER)));
        assert_eq!(sorted(taken), [1, 2]);
    });
}

#[test]
fn close_ends_the_linger_time_and_keeps_accepted_items() {
    check(|queue| {
        let writer = push_from_thread(&queue, 9, &[1, 2]);
        let closer = {
            let queue = queue.clone();
            thread::spawn(move || queue.close())
        };
        let taken = take_all(&mut queue.reader(), (9, FOREVER));
        let accepted = writer.join().expect("no panic");
        assert_eq!(taken, [1, 2][..accepted]);
        closer.join().expect("no panic");
    });
}

#[test]
fn end_of_the_linger_time_loses_no_item() {
    check(|queue| {
        let writer = push_from_thread(&queue, 9, &[1, 2]);
        let timer = {
            let queue = queue.clone();
            thread::spawn(move || queue.wakeup.elapse(&queue.state))
        };
        let mut reader = queue.reader();
        let mut taken = Vec::new();
        while taken.len() < 2 {
            taken.extend(take(&mut reader, (9, Duration::ZERO)).expect("not closed"));
        }
        assert_eq!(taken, [1, 2]);
        writer.join().expect("no panic");
        timer.join().expect("no panic");
    });
}

#[test]
fn normal_item_ends_the_wait_of_low_priority_items() {
    check(|queue| {
        let low_priority = {
            let queue = queue.clone();
            thread::spawn(move || assert!(queue.push_low_priority(|| 1)))
        };
        let normal = push_from_thread(&queue, 9, &[2]);
        let mut reader = queue.reader();
        let mut take = || {
            let mut batch = Vec::new();
            let is_open = reader.take_with_low_priority(&mut batch, (2, FOREVER), || (1, FOREVER));
            is_open.then_some(batch)
        };
        let mut taken = take().expect("not closed");
        assert!(taken.contains(&2), "a single low-priority item waits");
        low_priority.join().expect("no panic");
        normal.join().expect("no panic");
        queue.close();
        taken.extend(std::iter::from_fn(take).flatten());
        assert_eq!(sorted(taken), [1, 2]);
    });
}

#[test]
fn full_batch_of_low_priority_items_ends_their_wait() {
    check(|queue| {
        let writers = [1, 2].map(|item| {
            let queue = queue.clone();
            thread::spawn(move || assert!(queue.push_low_priority(|| item)))
        });
        let mut batch = Vec::new();
        let no_limits = || -> (usize, Duration) { unreachable!("there are no normal items") };
        assert!(
            queue
                .reader()
                .take_with_low_priority(&mut batch, (2, FOREVER), no_limits)
        );
        assert_eq!(sorted(batch), [1, 2]);
        for writer in writers {
            writer.join().expect("no panic");
        }
    });
}

#[test]
fn queue_never_holds_more_than_its_bound() {
    check(|queue| {
        let writers = [push_from_thread(&queue, 1, &[1]), push_from_thread(&queue, 1, &[2])];
        let mut reader = queue.reader();
        let mut taken = take(&mut reader, (1, FOREVER)).expect("not closed");
        assert_eq!(taken.len(), 1);
        let accepted: usize = writers.map(|writer| writer.join().expect("no panic")).iter().sum();
        queue.close();
        taken.extend(take_all(&mut reader, (1, FOREVER)));
        assert_eq!(taken.len(), accepted);
    });
}

#[test]
fn end_of_the_reader_drops_every_accepted_item() {
    check(|_| {
        let queue = Arc::new(BatchQueue::default());
        let reader = queue.reader();
        let item = Arc::new(());
        let writer = {
            let (queue, item) = (queue.clone(), item.clone());
            thread::spawn(move || queue.push(false, 9, || item))
        };
        drop(reader);
        writer.join().expect("no panic");
        assert_eq!(Arc::strong_count(&item), 1);
    });
}

/// Guards the other models against a set-up in which nothing is interleaved.
#[test]
fn explores_batches_of_either_size() {
    static SIZES: Record<Vec<usize>> = Record::new(Vec::new());
    check(|queue| {
        let writer = push_from_thread(&queue, 9, &[1, 2]);
        let batch = take(&mut queue.reader(), (1, FOREVER)).expect("not closed");
        SIZES.lock().expect("no panic").push(batch.len());
        writer.join().expect("no panic");
    });
    let mut sizes = SIZES.lock().expect("no panic").clone();
    sizes.sort_unstable();
    sizes.dedup();
    assert_eq!(sizes, [1, 2]);
}
