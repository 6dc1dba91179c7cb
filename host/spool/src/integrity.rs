//! Integrity of the store: what is missing or damaged shows before the store is opened, and salvage makes the rest usable.
//!
//! The manifest and the totals tell what must be there; [`examine`] compares and changes nothing.

pub(crate) mod check_spool;
pub(crate) mod examine;
pub(crate) mod journal_scan;
pub(crate) mod manifest;
pub(crate) mod running_totals;
pub(crate) mod salvage;
pub(crate) mod totals;
pub(crate) mod tree_files;
