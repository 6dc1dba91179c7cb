//! How many sessions there are, in all and by client.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Sessions at once, in all and by client address; shared by all listeners.
#[derive(Clone)]
pub struct Admittance {
    inner: Arc<Inner>,
}

struct Inner {
    sessions: usize,
    per_client: usize,
    counts: Mutex<Counts>,
}

#[derive(Default)]
struct Counts {
    all: usize,
    by_client: HashMap<IpAddr, usize>,
}

/// One session's place; dropping it gives it back.
pub struct Admitted {
    inner: Arc<Inner>,
    client: IpAddr,
}

impl Admittance {
    /// No sessions yet.
    pub fn new(sessions: usize, per_client: usize) -> Self {
        let counts = Mutex::default();
        Self {
            inner: Arc::new(Inner {
                sessions,
                per_client,
                counts,
            }),
        }
    }

    /// Sessions now.
    pub fn active(&self) -> usize {
        self.inner.counts().all
    }

    /// A place for a session of this client, if there is one.
    pub fn admit(&self, client: IpAddr) -> Option<Admitted> {
        let mut counts = self.inner.counts();
        let of_client = counts.by_client.get(&client).copied().unwrap_or(0);
        if counts.all >= self.inner.sessions || of_client >= self.inner.per_client {
            return None;
        }
        counts.all += 1;
        counts.by_client.insert(client, of_client + 1);
        Some(Admitted {
            inner: Arc::clone(&self.inner),
            client,
        })
    }
}

impl Inner {
    /// Nothing that holds the lock can panic half-way; a poisoned lock is as good as any.
    fn counts(&self) -> MutexGuard<'_, Counts> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Admitted {
    fn drop(&mut self) {
        let mut counts = self.inner.counts();
        counts.all = counts.all.saturating_sub(1);
        match counts.by_client.get_mut(&self.client) {
            Some(of_client) if *of_client > 1 => *of_client -= 1,
            _ => {
                counts.by_client.remove(&self.client);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(last: u8) -> IpAddr {
        IpAddr::from([192, 0, 2, last])
    }

    #[test]
    fn places_are_limited_in_all_and_by_client_and_come_back() {
        let admittance = Admittance::new(3, 2);
        let first = admittance.admit(client(1)).expect("first");
        let second = admittance.admit(client(1)).expect("second");
        assert!(admittance.admit(client(1)).is_none(), "a third of one client");
        let other = admittance.admit(client(2)).expect("another client");
        assert!(admittance.admit(client(3)).is_none(), "a fourth in all");
        assert_eq!(admittance.active(), 3);
        drop(first);
        assert!(admittance.admit(client(1)).is_some());
        drop((second, other));
        assert_eq!(admittance.active(), 0);
        assert!(admittance.inner.counts().by_client.is_empty());
    }
}
