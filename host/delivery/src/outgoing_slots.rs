//! Bound on the connections to all remotes. Slots are granted to the remotes in rounds (round-robin), so that many
//! deliveries to one remote do not delay those to another.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::{Notify, oneshot};

use super::destination::Remote;

/// Connections that this host may have to other hosts.
pub(super) struct OutgoingSlots {
    state: Mutex<SlotState>,
    /// Notified for each delivery that begins to wait: a delivery without an answer gives way.
    give_way: Notify,
}

#[derive(Default)]
struct SlotState {
    free: usize,
    /// Remotes with waiting deliveries, in the order of their turns.
    turns: VecDeque<Remote>,
    waiting: HashMap<Remote, VecDeque<oneshot::Sender<OutgoingSlot>>>,
}

/// Right to have a connection. Dropping the slot grants the slot to the next remote that waits.
pub(super) struct OutgoingSlot(Option<Arc<OutgoingSlots>>);

impl OutgoingSlots {
    pub(super) fn new(limit: usize) -> Arc<Self> {
        let state = SlotState {
            free: limit.max(1),
            ..SlotState::default()
        };
        Arc::new(Self {
            state: Mutex::new(state),
            give_way: Notify::new(),
        })
    }

    /// Waits for a slot. Cancel safe: a slot granted to a dropped future goes to the next delivery.
    pub(super) async fn acquire(self: &Arc<Self>, remote: &Remote) -> OutgoingSlot {
        let granted = {
            let mut state = self.state.lock();
            if state.free > 0 {
                state.free -= 1;
                return OutgoingSlot(Some(Arc::clone(self)));
            }
            state.enqueue(remote)
        };
        self.give_way.notify_one();
        match granted.await {
            Ok(slot) => slot,
            // The sender lives in this pool until it is used.
            Err(_) => OutgoingSlot(None),
        }
    }

    /// Returns when a delivery that waits for its remote should give way to one that waits for a slot. Cancel safe.
    pub(super) async fn must_give_way(&self) {
        self.give_way.notified().await;
    }

    /// Passes the demand on to another delivery.
    pub(super) fn pass_on(&self) {
        self.give_way.notify_one();
    }

    fn release(self: &Arc<Self>) {
        let mut slot = OutgoingSlot(Some(Arc::clone(self)));
        loop {
            let next = {
                let mut state = self.state.lock();
                let next = state.next();
                if next.is_none() {
                    state.free += 1;
                }
                next
            };
            let Some(next) = next else {
                slot.0 = None;
                return;
            };
            match next.send(slot) {
                Ok(()) => break,
                Err(refused) => slot = refused,
            }
        }
        if !self.state.lock().turns.is_empty() {
            self.give_way.notify_one();
        }
    }
}

impl SlotState {
    fn enqueue(&mut self, remote: &Remote) -> oneshot::Receiver<OutgoingSlot> {
        let (sender, receiver) = oneshot::channel();
        let queue = self.waiting.entry(remote.clone()).or_default();
        if queue.is_empty() {
            self.turns.push_back(remote.clone());
        }
        queue.push_back(sender);
        receiver
    }

    /// Takes the first delivery of the remote whose turn it is. The remote's next turn is the last of the round.
    fn next(&mut self) -> Option<oneshot::Sender<OutgoingSlot>> {
        let remote = self.turns.pop_front()?;
        let queue = self.waiting.get_mut(&remote)?;
        let first = queue.pop_front();
        if queue.is_empty() {
            self.waiting.remove(&remote);
        } else {
            self.turns.push_back(remote);
        }
        first
    }
}

impl Drop for OutgoingSlot {
    fn drop(&mut self) {
        if let Some(slots) = self.0.take() {
            slots.release();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn remote(name: &str) -> Remote {
        Remote::Exchanges(name.to_owned())
    }

    /// Waits for a slot and returns the name of the remote together with the slot.
    fn waiting(
        slots: &Arc<OutgoingSlots>,
        name: &'static str,
    ) -> impl Future<Output = (&'static str, OutgoingSlot)> + use<> {
        let slots = Arc::clone(slots);
        async move { (name, slots.acquire(&remote(name)).await) }
    }

    #[tokio::test]
    async fn remotes_have_slots_in_turn() {
        let slots = OutgoingSlots::new(1);
        let (order, mut granted) = tokio::sync::mpsc::unbounded_channel();
        let first = slots.acquire(&remote("first")).await;
        for name in ["many", "many", "many", "few", "one", "few"] {
            let (waits, order) = (waiting(&slots, name), order.clone());
            tokio::spawn(async move {
                let (name, slot) = waits.await;
                order.send(name).expect("the test listens");
                drop(slot);
            });
            tokio::task::yield_now().await;
        }
        drop((first, order));
        let mut names = Vec::new();
        while let Some(name) = granted.recv().await {
            names.push(name);
        }
        assert_eq!(names, ["many", "few", "one", "many", "few", "many"]);
        assert_eq!(slots.state.lock().free, 1);
    }

    #[tokio::test]
    async fn slot_of_a_cancelled_wait_goes_to_the_next() {
        let slots = OutgoingSlots::new(1);
        let first = slots.acquire(&remote("first")).await;
        let cancelled = tokio::spawn(waiting(&slots, "cancelled"));
        tokio::task::yield_now().await;
        let next = tokio::spawn(waiting(&slots, "next"));
        tokio::task::yield_now().await;
        cancelled.abort();
        assert!(cancelled.await.is_err());
        slots.must_give_way().await;
        drop(first);
        assert_eq!(next.await.expect("no panic").0, "next");
        assert_eq!(slots.state.lock().free, 1);
    }
}
