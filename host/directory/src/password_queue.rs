//! Password checks with bounded concurrency, so that a flood of logins cannot exhaust memory or processors.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use sha2::{Digest, Sha256};
use tokio::sync::Semaphore;

use super::LookupError;
use super::password::{DUMMY_HASH, verify_password};

/// Lifetime of a cached proof: the time for which a verified password is accepted without another argon2 hash.
const PROOF_LIFETIME: Duration = Duration::from_secs(300);
/// Capacity of the proof cache.
const MAX_PROOFS: usize = 4096;

/// Salted SHA-256 of an account's PHC string and a password that matched.
type Proof = [u8; 32];

/// A queue of password checks: at most as many run concurrently as there are processors, and a check against a hash of
/// this host takes 19 MiB. Verified passwords are cached.
pub(super) struct PasswordQueue {
    permits: Arc<Semaphore>,
    /// Random salt of this process.
    salt: [u8; 32],
    proofs: Mutex<HashMap<Proof, Instant>>,
}

impl PasswordQueue {
    pub(super) fn new() -> Self {
        let processors = std::thread::available_parallelism().map_or(2, usize::from);
        Self {
            permits: Arc::new(Semaphore::new(processors)),
            salt: rand::random(),
            proofs: Mutex::default(),
        }
    }

    /// True if the password matches the PHC string. Without a PHC string the answer is always false and takes equally
    /// long.
    pub(super) async fn check(&self, phc: Option<&str>, password: &str) -> Result<bool, LookupError> {
        let proof = phc.map(|phc| self.proof(phc, password));
        if proof.is_some_and(|proof| self.is_cached(&proof)) {
            return Ok(true);
        }
        let unavailable = |error: &dyn std::fmt::Display| LookupError::Unavailable(error.to_string());
        let permit = self
            .permits
            .clone()
            .acquire_owned()
            .await
            .map_err(|e| unavailable(&e))?;
        let (password, known) = (password.to_owned(), phc.is_some());
        let phc = phc.unwrap_or(DUMMY_HASH).to_owned();
        // The permit moves into the task: cancelling the future does not admit another hash before the task ends.
        let check = move || {
            let _permit = permit;
            verify_password(&password, &phc)
        };
        let fits = tokio::task::spawn_blocking(check).await.map_err(|e| unavailable(&e))?;
        match proof {
            Some(proof) if fits && known => {
                self.cache(proof);
                Ok(true)
            }
            _ => Ok(false),
        }
    }

    /// Returns the cache key. The PHC string is part of the key, so that changing a password invalidates cached proofs.
    fn proof(&self, phc: &str, password: &str) -> Proof {
        let mut hash = Sha256::new();
        hash.update(self.salt);
        hash.update((phc.len() as u64).to_be_bytes());
        hash.update(phc);
        hash.update(password);
        hash.finalize().into()
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
