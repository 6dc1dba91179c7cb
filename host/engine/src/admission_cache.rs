//! Admissions that need not be asked for again. A policy that asked nothing of the host has decided by
//! its code, its settings and what it was told of the client, and would decide the same again: all it
//! is made of begins anew with each instance, or it is a stateless one and keeps nothing that could differ.

use std::num::NonZero;
use std::sync::OnceLock;

use quick_cache::sync::Cache;

use crate::validate::Opinion;
use host_contract::Admission;
use host_mail::Client;

/// Those of one generation, the ones that are wanted again before others.
#[derive(Default)]
pub struct Admissions {
    known: OnceLock<Cache<Client, Opinion<Admission>>>,
}

impl Admissions {
    /// What was answered to this client, whatever port it came from.
    pub fn of(&self, client: &Client) -> Option<Opinion<Admission>> {
        self.known.get()?.get(client)
    }

    /// Of `capacity` clients; the first one settles that.
    pub fn remember(&self, capacity: NonZero<usize>, client: Client, opinion: Opinion<Admission>) {
        let known = self.known.get_or_init(|| Cache::new(capacity.get()));
        known.insert(client, opinion);
    }
}
