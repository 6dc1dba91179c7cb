//! A fixed number of places, granted in rounds between networks (round-robin fair queueing). Waiters are bounded, for
//! each network and in all.

use std::collections::{HashMap, VecDeque};
use std::net::IpAddr;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::oneshot;

/// Bounds of a [`FairPlaces`].
#[derive(Debug, Clone, Copy)]
pub(super) struct PlaceLimits {
    /// Number of places.
    pub(super) places: usize,
    /// Maximum number of waiters of a network.
    pub(super) waiting_of_network: usize,
    /// Maximum number of waiters in all.
    pub(super) waiting: usize,
}

/// Places for work, shared fairly between networks.
pub(super) struct FairPlaces {
    limits: PlaceLimits,
    state: Mutex<PlaceQueue>,
}

#[derive(Default)]
struct PlaceQueue {
    /// Number of places in use.
    taken: usize,
    /// Number of waiters of all networks.
    count: usize,
    /// Networks with waiters, in the order of their turns.
    rotation: VecDeque<IpAddr>,
    /// Waiters of each network in the rotation, in the order of arrival.
    of_network: HashMap<IpAddr, VecDeque<(u64, oneshot::Sender<Place>)>>,
    /// Key of the last waiter.
    last_key: u64,
}

/// Refusal of a waiter: the network, or all networks together, have as many waiters as are allowed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct NoRoom;

/// A granted place. Released on drop.
pub(super) struct Place(Arc<FairPlaces>);

impl FairPlaces {
    pub(super) fn new(limits: PlaceLimits) -> Arc<Self> {
        Arc::new(Self {
            limits,
            state: Mutex::default(),
        })
    }

    /// Waits for a place. Dropping the future leaves the queue.
    ///
    /// While all waiting positions are taken, a network with fewer waiters displaces the latest waiter of the network
    /// that has most.
    ///
    /// # Errors
    /// [`NoRoom`] at once if there is no position to wait in, or later if the waiter is displaced.
    pub(super) async fn acquire(self: &Arc<Self>, network: IpAddr) -> Result<Place, NoRoom> {
        let (sender, receiver) = oneshot::channel();
        let key = {
            let mut state = self.state.lock();
            if state.taken < self.limits.places {
                state.taken += 1;
                drop(state);
                return Ok(Place(Arc::clone(self)));
            }
            let own = state.of_network.get(&network).map_or(0, VecDeque::len);
            if own >= self.limits.waiting_of_network {
                return Err(NoRoom);
            }
            if state.count >= self.limits.waiting && !state.displace(own) {
                return Err(NoRoom);
            }
            state.add(network, sender)
        };
        let _position = Position {
            places: self,
            network,
            key,
        };
        receiver.await.map_err(|_| NoRoom)
    }

    /// Passes a released place on to the next network's first waiter, if any.
    fn release(self: &Arc<Self>) {
        let next = {
            let mut state = self.state.lock();
            let next = state.next();
            if next.is_none() {
                state.taken -= 1;
            }
            next
        };
        if let Some(waiter) = next {
            // A waiter that has just left drops the place, which releases the place again.
            let _ = waiter.send(Place(Arc::clone(self)));
        }
    }

    #[cfg(test)]
    fn waiting(&self) -> usize {
        self.state.lock().count
    }
}

impl PlaceQueue {
    fn add(&mut self, network: IpAddr, sender: oneshot::Sender<Place>) -> u64 {
        self.last_key += 1;
        self.count += 1;
        let key = self.last_key;
        let waiters = self.of_network.entry(network).or_default();
        if waiters.is_empty() {
            self.rotation.push_back(network);
        }
        waiters.push_back((key, sender));
        key
    }

    /// Takes the first waiter of the network whose turn it is.
    fn next(&mut self) -> Option<oneshot::Sender<Place>> {
        let network = self.rotation.pop_front()?;
        let waiters = self.of_network.get_mut(&network)?;
        let (_, sender) = waiters.pop_front()?;
        self.count -= 1;
        if waiters.is_empty() {
            self.of_network.remove(&network);
        } else {
            self.rotation.push_back(network);
        }
        Some(sender)
    }

    /// Drops the latest waiter of the network that has most, if that network would still have more than `own`.
    fn displace(&mut self, own: usize) -> bool {
        let most = self.of_network.iter().max_by_key(|(_, waiters)| waiters.len());
        let Some((network, last)) = most.and_then(|(network, waiters)| Some((*network, waiters.back()?.0))) else {
            return false;
        };
        let is_larger = self
            .of_network
            .get(&network)
            .is_some_and(|waiters| waiters.len() > own + 1);
        if is_larger {
            self.remove(network, last);
        }
        is_larger
    }

    fn remove(&mut self, network: IpAddr, key: u64) {
        let Some(waiters) = self.of_network.get_mut(&network) else {
            return;
        };
        let before = waiters.len();
        waiters.retain(|(other, _)| *other != key);
        self.count -= before - waiters.len();
        if waiters.is_empty() {
            self.of_network.remove(&network);
            self.rotation.retain(|other| *other != network);
        }
    }
}

/// A waiter's position. Dropping the value leaves the queue.
struct Position<'a> {
    places: &'a FairPlaces,
    network: IpAddr,
    key: u64,
}

impl Drop for Position<'_> {
    fn drop(&mut self) {
        self.places.state.lock().remove(self.network, self.key);
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.release();
    }
}

#[cfg(test)]
mod tests {
    use std::pin::{Pin, pin};

    use futures_util::FutureExt as _;

    use super::*;

    fn network(last: u8) -> IpAddr {
        [192, 0, 2, last].into()
    }

    fn places(places: usize, waiting_of_network: usize, waiting: usize) -> Arc<FairPlaces> {
        FairPlaces::new(PlaceLimits {
            places,
            waiting_of_network,
            waiting,
        })
    }

    type Acquire<'a> = Pin<Box<dyn Future<Output = Result<Place, NoRoom>> + 'a>>;

    fn wait(places: &Arc<FairPlaces>, last: u8) -> Acquire<'_> {
        let mut waiting: Acquire<'_> = Box::pin(places.acquire(network(last)));
        assert!(waiting.as_mut().now_or_never().is_none(), "there is no place");
        waiting
    }

    #[test]
    fn serves_networks_in_rounds() {
        let places = places(1, 10, 100);
        let first = places.acquire(network(1)).now_or_never().expect("free").expect("free");
        let mut many: Vec<_> = (0..3).map(|_| wait(&places, 1)).collect();
        let mut one = wait(&places, 2);
        drop(first);
        let second = many[0]
            .as_mut()
            .now_or_never()
            .expect("the first waiter")
            .expect("granted");
        assert!(one.as_mut().now_or_never().is_none());
        drop(second);
        let third = one
            .as_mut()
            .now_or_never()
            .expect("the other network")
            .expect("granted");
        assert!(many[1].as_mut().now_or_never().is_none());
        drop(third);
        assert!(many[1].as_mut().now_or_never().expect("a turn again").is_ok());
    }

    #[test]
    fn refuses_waiters_beyond_the_bound_of_their_network() {
        let places = places(1, 2, 100);
        let _taken = places.acquire(network(1)).now_or_never();
        let _waiting = [wait(&places, 1), wait(&places, 1)];
        assert_eq!(
            places.acquire(network(1)).now_or_never().map(|got| got.is_err()),
            Some(true)
        );
        drop(wait(&places, 2));
    }

    #[test]
    fn newcomer_displaces_the_latest_waiter_of_the_largest_network() {
        let places = places(1, 3, 3);
        let _taken = places.acquire(network(1)).now_or_never();
        let mut large: Vec<_> = (0..3).map(|_| wait(&places, 1)).collect();
        let _newcomer = wait(&places, 2);
        assert_eq!(large[2].as_mut().now_or_never().map(|got| got.is_err()), Some(true));
        assert!(large[1].as_mut().now_or_never().is_none());
        let refused = places.acquire(network(2)).now_or_never();
        assert_eq!(refused.map(|got| got.is_err()), Some(true), "no network has two more");
    }

    #[test]
    fn dropped_waiter_leaves_the_queue() {
        let places = places(1, 10, 100);
        let first = places.acquire(network(1)).now_or_never().expect("free").expect("free");
        let (gone, mut stays) = (wait(&places, 2), wait(&places, 3));
        drop(gone);
        assert_eq!(places.waiting(), 1);
        drop(first);
        assert!(stays.as_mut().now_or_never().expect("its turn").is_ok());
    }

    #[test]
    fn place_granted_to_a_waiter_that_leaves_is_released() {
        let places = places(1, 10, 100);
        let first = places.acquire(network(1)).now_or_never().expect("free").expect("free");
        let granted = wait(&places, 2);
        drop(first);
        drop(granted);
        let free = pin!(places.acquire(network(3))).now_or_never();
        assert!(free.is_some_and(|got| got.is_ok()));
    }
}
