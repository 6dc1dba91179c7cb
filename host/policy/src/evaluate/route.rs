//! The route of a unit of work: stable or canary. The route is chosen once and kept to the end of the unit. Owned by an
//! evaluation.

use std::hash::Hash;
use std::net::IpAddr;
use std::sync::Arc;

use crate::evaluate::chain::Chain;
use crate::evaluate::trial::Trial;
use host_engine::component::Role;
use host_engine::generation::Generation;
use host_mail::Timestamp;

/// The route of a unit of work. The generations on the route count the unit until the route is dropped.
pub(crate) struct ModuleRoute {
    chain: Arc<Chain>,
    chosen: bool,
    staged: bool,
    since: Timestamp,
}

impl ModuleRoute {
    /// Begins on the stable route.
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

    /// Chooses the route; only the first call has an effect. `name` identifies the session, or the message of a
    /// notification.
    pub(crate) fn choose(&mut self, name: impl Hash, client: Option<IpAddr>) {
        if self.chosen {
            return;
        }
        self.chosen = true;
        let Some(staging) = &self.chain.staging else {
            return;
        };
        if staging.selection.selects(name, client) {
            self.end();
            self.staged = true;
            self.generations()
                .for_each(|generation| generation.counters.begin_unit(self.since));
        }
    }

    /// Returns the positions of the chain.
    pub(crate) fn positions(&self) -> std::ops::Range<usize> {
        0..self.chain.modules.len()
    }

    /// Returns the generation that answers `role` at a position; `None` if the module does not play the role or cannot
    /// run.
    pub(crate) fn generation_for(&self, position: usize, role: Role) -> Option<&Arc<Generation>> {
        self.generation(position).filter(|generation| generation.serves(role))
    }

    /// Returns the number of modules that play a role.
    pub(crate) fn count(&self, role: Role) -> usize {
        self.positions()
            .filter(|position| self.generation_for(*position, role).is_some())
            .count()
    }

    /// Returns the proven generation to ask after a fault of a generation on trial at `position`.
    pub(crate) fn fallback(&self, position: usize) -> Option<&Arc<Generation>> {
        let module = self.chain.modules.get(position)?;
        match self.is_staged(position) {
            true => module.running.as_ref().ok(),
            false => module.probation.as_ref()?.fallback(),
        }
    }

    /// Returns the trial that `generation` is in, if any.
    pub(crate) fn trial(&self, position: usize, generation: &Arc<Generation>) -> Option<Trial> {
        let module = self.chain.modules.get(position)?;
        if self.is_staged(position) {
            let staging = self.chain.staging.as_ref()?;
            return Arc::ptr_eq(&staging.generation, generation).then(|| Trial::Staging(Arc::clone(staging)));
        }
        let probation = module.probation.as_ref()?;
        (!Arc::ptr_eq(&probation.previous, generation)).then(|| Trial::Probation(Arc::clone(probation)))
    }

    fn is_staged(&self, position: usize) -> bool {
        let module = self.chain.modules.get(position);
        let staging = self.chain.staging.as_ref().filter(|_| self.staged);
        staging
            .zip(module)
            .is_some_and(|(staging, module)| staging.module == module.name)
    }

    fn generation(&self, position: usize) -> Option<&Arc<Generation>> {
        match (self.is_staged(position), &self.chain.staging) {
            (true, Some(staging)) => Some(&staging.generation),
            _ => self.chain.modules.get(position)?.running.as_ref().ok(),
        }
    }

    fn end(&self) {
        self.generations()
            .for_each(|generation| generation.counters.end_unit(self.since));
    }

    fn generations(&self) -> impl Iterator<Item = &Arc<Generation>> {
        self.positions().filter_map(|position| self.generation(position))
    }
}

impl Drop for ModuleRoute {
    fn drop(&mut self) {
        self.end();
    }
}
