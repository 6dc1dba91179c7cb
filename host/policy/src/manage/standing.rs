//! The standing of a module: what an operator has to know of the generation that runs. Kept by the set of policies,
//! brought up to date by `standing_review`, read by status and health.

/// Facts about a module that runs and is not as the operator wants.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Standing {
    /// The generation whose code has no accepted signature, and the reason.
    pub(crate) untrusted: Option<(u64, String)>,
    /// Problems of the configured code or settings, which were refused at the start or at the last reload.
    pub(crate) refused: Option<String>,
    /// Changes that an automatic rollback undid, until the operator changes the module.
    pub(crate) undone: Option<String>,
    /// Differences between the configuration and what runs.
    pub(crate) differs: Vec<String>,
}

impl Standing {
    /// Returns the reasons for a degraded health.
    pub(crate) fn reasons(&self) -> impl Iterator<Item = &String> {
        let untrusted = self.untrusted.as_ref().map(|(_, why)| why);
        untrusted.into_iter().chain(&self.refused).chain(&self.undone)
    }
}
