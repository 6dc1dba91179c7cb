//! Whose answers a unit of work gets: those of the chain in force, or of the chain with the staged
//! candidate in its module's place. Chosen once, and kept to the unit's end.

use std::hash::Hash;
use std::net::IpAddr;
use std::sync::Arc;

use crate::evaluate::chain::Chain;
use crate::evaluate::trial::Trial;
use host_engine::component::Role;
use host_engine::generation::Generation;
use host_mail::Timestamp;

/// The choice of one unit of work. Its generations count it as theirs while it lasts.
pub(crate) struct ModuleRoute {
    chain: Arc<Chain>,
    chosen: bool,
    staged: bool,
    since: Timestamp,
}

impl ModuleRoute {
    /// Of the chain in force, until something else is chosen.
    pub(crate) fn new(chain: Arc<Chain>) -> Self {
        let route = Self {
            chain,
            chosen: false,
            staged: false,
            since: Timestamp::now(),
        };
        route
            .generations()
            .for_each(|generation| generation.counters.begin_unit(route.since));
        route
    }

    /// Chooses, if that has not been done: by what names the session (or the message, if there is
    /// no session) and by the client's address.
    pub(crate) fn choose(&mut self, name: impl Hash, client: Option<IpAddr>) {
        if self.chosen {
            return;
        }
        self.chosen = true;
        let Some(staging) = &self.chain.staging else {
            return;
        };
        if staging.selection.takes(name, client) {
            self.end();
            self.staged = true;
            self.generations()
                .for_each(|generation| generation.counters.begin_unit(self.since));
        }
    }

    /// Places in the chain.
    pub(crate) fn places(&self) -> std::ops::Range<usize> {
        0..self.chain.modules.len()
    }

    /// Who is asked at a place; none if the module does not play the role, or cannot run.
    pub(crate) fn serving(&self, place: usize, role: Role) -> Option<&Arc<Generation>> {
        self.generation(place).filter(|generation| generation.serves(role))
    }

    /// How many modules play a role.
    pub(crate) fn count(&self, role: Role) -> usize {
        self.places()
            .filter(|place| self.serving(*place, role).is_some())
            .count()
    }

    /// Who is asked about a connection when the generation at this place has faulted and has yet
    /// to prove itself: whoever it is to replace.
    pub(crate) fn fallback(&self, place: usize) -> Option<&Arc<Generation>> {
        let module = self.chain.modules.get(place)?;
        match self.is_staged(place) {
            true => module.running.as_ref().ok(),
            false => module.probation.as_ref().map(|probation| &probation.previous),
        }
    }

    /// Who has to prove itself at this place.
    pub(crate) fn trial(&self, place: usize, generation: &Arc<Generation>) -> Option<Trial> {
        let module = self.chain.modules.get(place)?;
        if self.is_staged(place) {
            let staging = self.chain.staging.as_ref()?;
            return Arc::ptr_eq(&staging.generation, generation).then(|| Trial::Staging(Arc::clone(staging)));
        }
        let probation = module.probation.as_ref()?;
        (!Arc::ptr_eq(&probation.previous, generation)).then(|| Trial::Probation(Arc::clone(probation)))
    }

    fn is_staged(&self, place: usize) -> bool {
        let module = self.chain.modules.get(place);
        let staging = self.chain.staging.as_ref().filter(|_| self.staged);
        staging
            .zip(module)
            .is_some_and(|(staging, module)| staging.module == module.name)
    }

    fn generation(&self, place: usize) -> Option<&Arc<Generation>> {
        match (self.is_staged(place), &self.chain.staging) {
            (true, Some(staging)) => Some(&staging.generation),
            _ => self.chain.modules.get(place)?.running.as_ref().ok(),
        }
    }

    fn end(&self) {
        self.generations()
            .for_each(|generation| generation.counters.end_unit(self.since));
    }

    fn generations(&self) -> impl Iterator<Item = &Arc<Generation>> {
        self.places().filter_map(|place| self.generation(place))
    }
}

impl Drop for ModuleRoute {
    fn drop(&mut self) {
        self.end();
    }
}
