//! Password checks with bounded concurrency and a bounded queue, so that a flood of logins exhausts neither memory nor
//! processors, nor the patience of other clients.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use sha2::{Digest, Sha256};

use super::password::{DUMMY_HASH, verify_password};
use super::{Login, LookupError};
use crate::fair_places::{FairPlaces, PlaceLimits};

/// Lifetime of a cached proof: the time for which a verified password is accepted without another argon2 hash.
const PROOF_LIFETIME: Duration = Duration::from_secs(300);
/// Capacity of the proof cache.
const MAX_PROOFS: usize = 4096;
/// Maximum number of attempts of a network that wait for a place.
const WAITING_OF_NETWORK: usize = 16;
/// Maximum number of attempts that wait for a place, for each place: a few seconds of hashing.
const WAITING_FOR_PLACE: usize = 64;

/// Salted SHA-256 of an account's hash and a password that matched.
type Proof = [u8; 32];

/// A queue of password checks: at most as many run concurrently as there are processors, and a check against a hash of
/// this host takes 19 MiB. Networks are served in rounds. Attempts from networks with successful logins have places of
/// their own, half as many. Verified passwords are cached.
pub(super) struct PasswordQueue {
    known: Arc<FairPlaces>,
    unknown: Arc<FairPlaces>,
    /// Random salt of this process.
    salt: [u8; 32],
    proofs: Mutex<HashMap<Proof, Instant>>,
}

impl PasswordQueue {
    pub(super) fn new() -> Self {
        let processors = std::thread::available_parallelism().map_or(2, usize::from);
        let fair = |places: usize| {
            FairPlaces::new(PlaceLimits {
                places,
                waiting_of_network: WAITING_OF_NETWORK,
                waiting: WAITING_FOR_PLACE * places,
            })
        };
        Self {
            known: fair(processors.div_ceil(2)),
            unknown: fair(processors),
            salt: rand::random(),
            proofs: Mutex::default(),
        }
    }

    /// Random secret of this process, for the salts of unknown users.
    pub(super) fn secret(&self) -> &[u8] {
        &self.salt
    }

    /// True if the password matches the hash of the directory. Without a hash the answer is always false and takes equally
    /// long. Dropping the future withdraws a check that waits; a check that runs ends unheard.
    ///
    /// # Errors
    /// [`LookupError::Busy`] if too many checks wait.
    pub(super) async fn check(&self, hash: Option<&str>, login: &Login<'_>) -> Result<bool, LookupError> {
        let proof = hash.map(|hash| self.proof(hash, login.password));
        if proof.is_some_and(|proof| self.is_cached(&proof)) {
            return Ok(true);
        }
        let places = if login.known { &self.known } else { &self.unknown };
        let place = places.acquire(login.network).await.map_err(|_| LookupError::Busy)?;
        let (password, known) = (login.password.to_owned(), hash.is_some());
        let hash = hash.unwrap_or(DUMMY_HASH).to_owned();
        // The place moves into the task: cancelling the future does not admit another hash before the task ends.
        let check = move || {
            let _place = place;
            verify_password(&password, &hash)
        };
        let fits = tokio::task::spawn_blocking(check)
            .await
            .map_err(|error| LookupError::Unavailable(error.to_string()))?;
        match proof {
            Some(proof) if fits && known => {
                self.cache(proof);
                Ok(true)
            }
            _ => Ok(false),
        }
    }

    /// Returns the cache key. The hash is part of the key, so that changing a password invalidates cached proofs.
    fn proof(&self, hash: &str, password: &str) -> Proof {
        let mut digest = Sha256::new();
        digest.update(self.salt);
        digest.update((hash.len() as u64).to_be_bytes());
        digest.update(hash);
        digest.update(password);
        digest.finalize().into()
    }

    fn is_cached(&self, proof: &Proof) -> bool {
        self.proofs
            .lock()
            .get(proof)
            .is_some_and(|at| at.elapsed() < PROOF_LIFETIME)
    }

    fn cache(&self, proof: Proof) {
        let mut proofs = self.proofs.lock();
        if proofs.len() >= MAX_PROOFS {
            proofs.retain(|_, at| at.elapsed() < PROOF_LIFETIME);
        }
        if proofs.len() < MAX_PROOFS {
            proofs.insert(proof, Instant::now());
        }
    }
}
