//! Model check of the index and the leases: random operations, compared with a reference model after each step.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use host_mail::Timestamp;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

use super::*;
use crate::index::Index;
use crate::index_entry::StateKind;
use crate::lease::Lease;

const DESTINATIONS: [&str; 3] = ["a.example", "b.example", "c.example"];
const HOUR: Duration = Duration::from_secs(3600);

/// An operation. `pick` selects a message or a lease, modulo the number there are.
#[derive(Debug, Clone)]
enum Op {
    Put {
        number: u64,
        kind: StateKind,
        due: u64,
        head: u64,
    },
    Claim {
        now: u64,
        at_most: usize,
    },
    Acquire {
        pick: usize,
    },
    Release {
        pick: usize,
        now: u64,
    },
    End {
        pick: usize,
        ending: Ending,
    },
    Wake {
        destination: usize,
        at_most: usize,
    },
    WakeExpired {
        now: u64,
    },
}

/// The end of a lease. Settling under a quarantined or frozen kind parks the message.
#[derive(Debug, Clone)]
enum Ending {
    GiveBack,
    Postpone,
    PostponeAndRestore,
    Wait { destination: usize, expires: u64 },
    Settle { kind: StateKind, due: u64 },
    Remove,
    SetAside,
}

fn kind() -> impl Strategy<Value = StateKind> {
    prop_oneof![
        4 => Just(StateKind::Queued),
        2 => Just(StateKind::Failing),
        1 => Just(StateKind::Quarantined),
        1 => Just(StateKind::Frozen),
    ]
}

fn time() -> impl Strategy<Value = u64> {
    prop_oneof![9 => 0..16_u64, 1 => Just(u64::MAX)]
}

fn ending() -> impl Strategy<Value = Ending> {
    prop_oneof![
        2 => Just(Ending::GiveBack),
        1 => Just(Ending::Postpone),
        1 => Just(Ending::PostponeAndRestore),
        3 => (0..DESTINATIONS.len(), 0..16_u64)
            .prop_map(|(destination, expires)| Ending::Wait { destination, expires }),
        3 => (kind(), 0..16_u64).prop_map(|(kind, due)| Ending::Settle { kind, due }),
        1 => Just(Ending::Remove),
        1 => Just(Ending::SetAside),
    ]
}

fn operation() -> impl Strategy<Value = Op> {
    prop_oneof![
        6 => (any::<u64>(), kind(), 0..16_u64, 0..5_u64)
            .prop_map(|(number, kind, due, head)| Op::Put { number, kind, due, head }),
        4 => (time(), 0..4_usize).prop_map(|(now, at_most)| Op::Claim { now, at_most }),
        2 => any::<usize>().prop_map(|pick| Op::Acquire { pick }),
        1 => (any::<usize>(), 0..16_u64).prop_map(|(pick, now)| Op::Release { pick, now }),
        8 => (any::<usize>(), ending()).prop_map(|(pick, ending)| Op::End { pick, ending }),
        1 => (0..DESTINATIONS.len(), 0..4_usize)
            .prop_map(|(destination, at_most)| Op::Wake { destination, at_most }),
        1 => time().prop_map(|now| Op::WakeExpired { now }),
    ]
}

/// The place of a message in the model.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Place {
    Due(Timestamp),
    Parked,
    Waiting { destination: usize, expires: u64 },
    Leased,
    Gone,
}

/// A message of the model: the record as in the store, the bytes of body, and the place.
#[derive(Debug, Clone, Copy)]
struct ModelMessage {
    record: IndexEntry,
    head: u64,
    place: Place,
}

impl ModelMessage {
    /// The place of an unleased message with this due time.
    fn settled(&self, due: Timestamp) -> Place {
        match self.record.kind.is_claimable() {
            true => Place::Due(due),
            false => Place::Parked,
        }
    }
}

/// The index under test, the model, and the open leases.
struct Check<'a> {
    shared: &'a Arc<Shared>,
    messages: BTreeMap<MessageId, ModelMessage>,
    leases: Vec<(MessageId, IndexEntry, Lease)>,
    newest_next: bool,
    set_aside: u64,
    bodies: u64,
    postponed: u32,
}

impl<'a> Check<'a> {
    fn new(shared: &'a Arc<Shared>) -> Self {
        *shared.index() = Index::default();
        Self {
            shared,
            messages: BTreeMap::new(),
            leases: Vec::new(),
            newest_next: false,
            set_aside: 0,
            bodies: 0,
            postponed: 0,
        }
    }

    fn apply(&mut self, op: Op) {
        match op {
            Op::Put {
                number,
                kind,
                due,
                head,
            } => self.put(number, kind, Timestamp(due), head),
            Op::Claim { now, at_most } => self.claim(Timestamp(now), at_most),
            Op::Acquire { pick } => {
                if let Some(id) = self.pick(pick) {
                    self.acquire(id);
                }
            }
            Op::Release { pick, now } => {
                if let Some(id) = self.pick(pick)
                    && self.acquire(id)
                {
                    let kind = match self.messages[&id].record.kind {
                        StateKind::Quarantined | StateKind::Frozen => StateKind::Queued,
                        claimable => claimable,
                    };
                    self.end(self.leases.len() - 1, Ending::Settle { kind, due: now });
                }
            }
            Op::End { pick, ending } => {
                if !self.leases.is_empty() {
                    self.end(pick % self.leases.len(), ending);
                }
            }
            Op::Wake { destination, at_most } => {
                let woken = self.shared.index().wake(DESTINATIONS[destination], at_most);
                assert_eq!(woken, self.wake(at_most, |place, _| place == destination));
            }
            Op::WakeExpired { now } => {
                let woken = self.shared.index().wake_expired(Timestamp(now));
                assert_eq!(woken, self.wake(usize::MAX, |_, expires| expires <= now));
            }
        }
    }

    fn pick(&self, pick: usize) -> Option<MessageId> {
        let ids: Vec<_> = self.messages.keys().collect();
        (!ids.is_empty()).then(|| *ids[pick % ids.len()])
    }

    fn put(&mut self, number: u64, kind: StateKind, due: Timestamp, head: u64) {
        let id: MessageId = format!("{number:020x}").parse().expect("id");
        if self.messages.contains_key(&id) {
            return;
        }
        let record = IndexEntry { kind, due };
        self.shared.index().add(id, record, head);
        self.bodies += head;
        let mut message = ModelMessage {
            record,
            head,
            place: Place::Gone,
        };
        message.place = message.settled(due);
        self.messages.insert(id, message);
    }

    /// Claims, and checks that exactly the messages come that are due and hold no lease, in alternating order.
    fn claim(&mut self, now: Timestamp, at_most: usize) {
        let taken = self.shared.index().claim(now, at_most);
        let mut expected: BTreeSet<_> = self
            .messages
            .iter()
            .filter_map(|(id, message)| match message.place {
                Place::Due(due) if due <= now => Some((due, *id)),
                _ => None,
            })
            .collect();
        assert_eq!(taken.len(), at_most.min(expected.len()));
        for (id, entry) in taken {
            let next = match self.newest_next {
                true => expected.pop_last(),
                false => expected.pop_first(),
            };
            let (due, expected_id) = next.expect("as many as expected");
            self.newest_next = !self.newest_next;
            assert_eq!(id, expected_id);
            self.assert_time(entry.due, due);
            self.begin_lease(id, entry);
        }
    }

    /// Takes the lease on a message as an operator's release or deletion does; true if the index grants the lease.
    fn acquire(&mut self, id: MessageId) -> bool {
        let ModelMessage { record, place, .. } = self.messages[&id];
        let expected = match place {
            Place::Due(due) => due == record.due,
            Place::Waiting { .. } | Place::Parked => true,
            Place::Leased | Place::Gone => false,
        };
        let acquired = self.shared.index().acquire(id, record);
        assert_eq!(acquired.is_some(), expected, "{id} {place:?}");
        if expected {
            self.begin_lease(id, record);
        }
        expected
    }

    fn begin_lease(&mut self, id: MessageId, entry: IndexEntry) {
        let message = self.messages.get_mut(&id).expect("a known message");
        assert!(!matches!(message.place, Place::Leased | Place::Gone), "{message:?}");
        assert_eq!(message.record.kind, entry.kind);
        message.place = Place::Leased;
        self.leases
            .push((id, entry, Lease::new(self.shared.clone(), id, entry)));
    }

    fn end(&mut self, at: usize, ending: Ending) {
        let (id, entry, mut lease) = self.leases.swap_remove(at);
        let message = self.messages.get_mut(&id).expect("a known message");
        assert_eq!(message.place, Place::Leased);
        match ending {
            Ending::GiveBack => {
                message.place = message.settled(entry.due);
                drop(lease);
            }
            Ending::Postpone => {
                // Hours apart, so that the order of postponed messages does not depend on the clock.
                self.postponed += 1;
                let delay = HOUR * self.postponed;
                message.place = message.settled(Timestamp::now().after(delay));
                lease.postpone(delay);
                drop(lease);
            }
            Ending::PostponeAndRestore => {
                message.place = message.settled(message.record.due);
                lease.postpone(HOUR);
                lease.restore(message.record);
                drop(lease);
            }
            // Only claims wait.
            Ending::Wait { destination, expires } if message.record.kind.is_claimable() => {
                message.place = Place::Waiting { destination, expires };
                lease.wait_for(message.record, &[DESTINATIONS[destination]], Timestamp(expires));
            }
            Ending::Wait { .. } => {
                message.place = message.settled(entry.due);
                drop(lease);
            }
            Ending::Settle { kind, due } => {
                let due = Timestamp(due);
                message.record = IndexEntry { kind, due };
                message.place = message.settled(due);
                lease.replaced(message.record);
            }
            Ending::Remove => {
                message.place = Place::Gone;
                self.bodies -= message.head;
                lease.removed(message.head);
            }
            Ending::SetAside => {
                message.place = Place::Gone;
                self.set_aside += 1;
                self.bodies -= message.head;
                lease.set_aside(message.head);
            }
        }
    }

    /// Wakes matching messages of the model in order of expiry; returns the number.
    fn wake(&mut self, at_most: usize, matches: impl Fn(usize, u64) -> bool) -> usize {
        let mut woken: Vec<_> = self
            .messages
            .iter()
            .filter_map(|(id, message)| match message.place {
                Place::Waiting { destination, expires } if matches(destination, expires) => Some((expires, *id)),
                _ => None,
            })
            .collect();
        woken.sort_unstable();
        woken.truncate(at_most);
        for (_, id) in &woken {
            let message = self.messages.get_mut(id).expect("a known message");
            message.place = message.settled(message.record.due);
        }
        woken.len()
    }

    /// Compares everything that the index shows with the model.
    fn compare(&self) {
        let index = self.shared.index();
        let present = || self.messages.values().filter(|message| message.place != Place::Gone);
        let of_kind = |kind| present().filter(|message| message.record.kind == kind).count() as u64;
        let waiting: BTreeMap<_, _> = self
            .messages
            .iter()
            .filter_map(|(id, message)| match message.place {
                Place::Waiting { destination, .. } => Some((*id, DESTINATIONS[destination])),
                _ => None,
            })
            .collect();
        let expected = Counts {
            queued: of_kind(StateKind::Queued),
            failing: of_kind(StateKind::Failing),
            quarantined: of_kind(StateKind::Quarantined),
            frozen: of_kind(StateKind::Frozen),
            set_aside: self.set_aside,
            claimed: self.leases.len() as u64,
            waiting: waiting.len() as u64,
        };
        assert_eq!(index.counts(), expected);
        assert_eq!(index.bodies(), self.bodies);
        let next = present().filter_map(|message| match message.place {
            Place::Due(due) => Some(due),
            _ => None,
        });
        match (index.next_due(), next.min()) {
            (Some(due), Some(expected)) => self.assert_time(due, expected),
            (due, expected) => assert_eq!(due, expected),
        }
        for id in self.messages.keys() {
            let destination = index.waiting().destination_of(*id);
            assert_eq!(destination.as_deref(), waiting.get(id).copied());
        }
        let destinations = index.waiting().destinations();
        let destinations: BTreeSet<_> = destinations.iter().map(|name| &**name).collect();
        assert_eq!(destinations, waiting.into_values().collect());
    }

    /// Equality of due times; a postponed one may differ by the time that a test case takes.
    fn assert_time(&self, due: Timestamp, expected: Timestamp) {
        let tolerance = if expected.0 > 1000 && self.postponed > 0 {
            60_000
        } else {
            0
        };
        assert!(due.0.abs_diff(expected.0) <= tolerance, "{due:?} {expected:?}");
    }

    /// Ends all leases and takes every message out of the index once more: each is there exactly once.
    fn drain(mut self) {
        while !self.leases.is_empty() {
            self.end(0, Ending::GiveBack);
        }
        self.apply(Op::WakeExpired { now: u64::MAX });
        self.claim(Timestamp(u64::MAX), usize::MAX);
        for id in self.messages.keys().copied().collect::<Vec<_>>() {
            if self.messages[&id].place == Place::Parked {
                assert!(self.acquire(id));
            }
        }
        self.compare();
        let present = (self.messages.values())
            .filter(|message| message.place != Place::Gone)
            .count();
        assert_eq!(self.leases.len(), present);
        while !self.leases.is_empty() {
            self.end(0, Ending::Remove);
        }
        self.compare();
        let set_aside = self.set_aside;
        assert_eq!(
            self.shared.index().counts(),
            Counts {
                set_aside,
                ..Counts::default()
            }
        );
    }
}

#[test]
fn index_and_leases_agree_with_the_model() {
    let folder = tempfile::tempdir().expect("folder");
    let spool = open(folder.path());
    let config = Config {
        failure_persistence: None,
        ..Config::with_cases(256)
    };
    let result = TestRunner::new(config).run(&vec(operation(), 0..150), |operations| {
        let mut check = Check::new(&spool.inner.shared);
        for operation in operations {
            check.apply(operation);
            check.compare();
        }
        check.drain();
        Ok(())
    });
    result.expect("no difference between index and model");
}

/// The interleavings that the sequential model has not: a wait takes the index's lock twice.
#[test]
fn threads_never_hold_two_leases_on_a_message() {
    const MESSAGES: u64 = 24;
    let folder = tempfile::tempdir().expect("folder");
    let spool = open(folder.path());
    let shared = &spool.inner.shared;
    let id = |number: u64| -> MessageId { format!("{number:020x}").parse().expect("id") };
    let entry = |number: u64| IndexEntry {
        kind: StateKind::Queued,
        due: Timestamp(number % 5),
    };
    for number in 0..MESSAGES {
        shared.index().add(id(number), entry(number), 1);
    }
    let leased: Vec<AtomicBool> = (0..MESSAGES).map(|_| AtomicBool::new(false)).collect();
    std::thread::scope(|scope| {
        for thread in 0..4_u64 {
            let (leased, id, entry) = (&leased, &id, &entry);
            scope.spawn(move || {
                let mut random = Random(thread + 1);
                for _ in 0..4000 {
                    let target = random.below(MESSAGES);
                    let taken = match random.below(4) {
                        0 => {
                            let found = shared.index().acquire(id(target), entry(target)).is_some();
                            found.then(|| (id(target), entry(target))).into_iter().collect()
                        }
                        _ => shared.index().claim(Timestamp(random.below(6)), 3),
                    };
                    for (id, entry) in taken {
                        let number = usize::from_str_radix(&id.to_string(), 16).expect("a small number");
                        assert!(!leased[number].swap(true, Ordering::SeqCst), "two leases on {id}");
                        let lease = Lease::new(shared.clone(), id, entry);
                        // Other threads get a chance to lease the message, too.
                        std::thread::yield_now();
                        assert!(leased[number].swap(false, Ordering::SeqCst), "two leases on {id}");
                        let destination = DESTINATIONS[number % DESTINATIONS.len()];
                        match random.below(3) {
                            0 => drop(lease),
                            1 => lease.wait_for(entry, &[destination], Timestamp(random.below(9))),
                            _ => lease.replaced(entry),
                        }
                    }
                    match random.below(3) {
                        0 => drop(shared.index().wake_expired(Timestamp(random.below(9)))),
                        _ => drop(shared.index().wake(DESTINATIONS[random.below(3) as usize], 2)),
                    }
                }
            });
        }
    });
    let mut index = shared.index();
    index.wake_expired(Timestamp(u64::MAX));
    let expected = Counts {
        queued: MESSAGES,
        ..Counts::default()
    };
    assert_eq!((index.counts(), index.bodies()), (expected, MESSAGES));
    let claimed: BTreeSet<_> = index
        .claim(Timestamp(u64::MAX), usize::MAX)
        .into_iter()
        .map(|(id, _)| id)
        .collect();
    assert_eq!(claimed, (0..MESSAGES).map(id).collect());
}

/// A linear congruential generator.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % bound
    }
}
