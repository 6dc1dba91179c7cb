//! Options of a spool.

use std::path::PathBuf;
use std::time::Duration;

/// Action at open if a part of the spool is missing.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum OnDamage {
    /// The spool is not opened and nothing is changed.
    #[default]
    Refuse,
    /// The spool is copied into `damaged/`, and what is left of it is opened.
    Salvage,
}

/// Limits of a spool.
#[derive(Debug, Clone)]
pub struct SpoolOptions {
    /// Low-water mark: free bytes below which new mail is refused. Delivery continues. 0 disables the mark.
    pub low_water: u64,
    /// Bytes of memory that the buffers of all drafts share; beyond the budget a draft spills to a file sooner.
    pub memory: u64,
    /// Maximum write latency: new mail is refused while the oldest pending write is older.
    pub wait: Duration,
    /// Action at open if a part of the spool is missing.
    pub on_damage: OnDamage,
    /// File outside the spool's folder that marks that the folder was made; `None` for a folder that may be new at any
    /// open.
    pub mark: Option<PathBuf>,
}

impl Default for SpoolOptions {
    /// Sets no low-water mark, 256 MiB of buffers and a write latency of 5 s.
    fn default() -> Self {
        Self {
            low_water: 0,
            memory: 256 << 20,
            wait: Duration::from_secs(5),
            on_damage: OnDamage::Refuse,
            mark: None,
        }
    }
}
