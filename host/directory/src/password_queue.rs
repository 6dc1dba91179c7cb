//! Checking passwords without letting a flood of logins eat the memory or the processors.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use sha2::{Digest, Sha256};
use tokio::sync::Semaphore;

use super::LookupError;
use super::password::{NOBODY, verify_password};

/// How long a password that was right is believed without hashing it again.
const BELIEVED: Duration = Duration::from_secs(300);
/// So many are remembered.
const REMEMBERED: usize = 4096;

/// Salted hash of an account's PHC string and a password that fitted it.
type Proof = [u8; 32];

/// Checks passwords, at most one a processor at once; each takes 19 MiB.
pub(super) struct PasswordQueue {
    permits: Arc<Semaphore>,
    /// A new one with each start.
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

    /// Whether the password fits. Without a PHC string it never does, and takes as long.
    pub(super) async fn check(&self, phc: Option<&str>, password: &str) -> Result<bool, LookupError> {
        let proof = phc.map(|phc| self.proof(phc, password));
        if proof.is_some_and(|proof| self.remembers(&proof)) {
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
        let phc = phc.unwrap_or(NOBODY).to_owned();
        // The permit goes along: a session that leaves does not make room for another hash.
        let check = move || {
            let _permit = permit;
            verify_password(&password, &phc)
        };
        let fits = tokio::task::spawn_blocking(check).await.map_err(|e| unavailable(&e))?;
        match proof {
            Some(proof) if fits && known => {
                self.remember(proof);
                Ok(true)
            }
            _ => Ok(false),
        }
    }

    /// The PHC string is part of it, so that a new password ends the old one's belief at once.
    fn proof(&self, phc: &str, password: &str) -> Proof {
        let mut hash = Sha256::new();
        hash.update(self.salt);
        hash.update((phc.len() as u64).to_be_bytes());
        hash.update(phc);
        hash.update(password);
        hash.finalize().into()
    }

    fn remembers(&self, proof: &Proof) -> bool {
        let proofs = self.proofs.lock().unwrap_or_else(PoisonError::into_inner);
        proofs.get(proof).is_some_and(|at| at.elapsed() < BELIEVED)
    }

    fn remember(&self, proof: Proof) {
        let mut proofs = self.proofs.lock().unwrap_or_else(PoisonError::into_inner);
        if proofs.len() >= REMEMBERED {
            proofs.retain(|_, at| at.elapsed() < BELIEVED);
        }
        if proofs.len() < REMEMBERED {
            proofs.insert(proof, Instant::now());
        }
    }
}
