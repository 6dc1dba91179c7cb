//! Checks a spool that no process has open.

use std::path::Path;

use host_events::Events;

use crate::integrity::totals::Totals;
use crate::open_store::{damaged_tables, open_store};
use crate::spool_error::{Damage, OpenError};
use crate::spool_mark::lost_spool;
use crate::spool_options::{OnDamage, SpoolOptions};
use crate::store_edit::StoreTable;
use crate::store_scan::id_of;
use crate::stored_record::{SetAside, Stored};

/// Result of [`check_spool`].
#[derive(Debug, Clone, Default)]
pub struct CheckedSpool {
    /// Number of messages that are whole.
    pub messages: u64,
    /// Records that were set aside, with the reason.
    pub set_aside: Vec<(String, String)>,
    /// Parts that are missing or damaged.
    pub damage: Vec<Damage>,
}

/// Reads every table, record and file length of the spool in `root`, whose [`SpoolOptions::mark`] is `mark`. Repairs nothing. Opening the store replays its
/// journal, as a start does. Blocks.
///
/// # Errors
///
/// [`OpenError::InUse`] while a process has the spool open; [`OpenError::Store`] if `root` is no spool or cannot be
/// read.
pub fn check_spool(root: &Path, mark: &Path) -> Result<CheckedSpool, OpenError> {
    let options = SpoolOptions {
        mark: Some(mark.to_owned()),
        ..SpoolOptions::default()
    };
    if let Some(lost) = lost_spool(root, &options)? {
        return Ok(CheckedSpool {
            damage: vec![lost],
            ..CheckedSpool::default()
        });
    }
    if !root.join("format").exists() {
        return Err(OpenError::Store(format!("{} is no spool", root.display())));
    }
    let mut checked = CheckedSpool::default();
    let opened = match open_store(root, OnDamage::Refuse, &Events::discard()) {
        Ok(opened) => opened,
        Err(OpenError::Damaged(damage)) => {
            checked.damage = damage;
            return Ok(checked);
        }
        Err(error) => return Err(error),
    };
    let failed = |error: std::io::Error| OpenError::Store(error.to_string());
    checked.damage = damaged_tables(root).map_err(failed)?;
    let mut found = Totals::default();
    for item in opened.store.scan(StoreTable::Messages, None, true) {
        let (key, value) = item.map_err(OpenError::Store)?;
        let Some(id) = id_of(&key) else { continue };
        found.add(&key, None);
        let missing = match Stored::decode(id, &value.unwrap_or_default()) {
            Ok(stored) => opened.store.missing(&stored).map_err(OpenError::Store)?,
            Err(reason) => Some(reason),
        };
        match missing {
            None => checked.messages += 1,
            Some(reason) => checked.damage.push(Damage::new(format!("message {id}"), reason)),
        }
    }
    if let Some(totals) = opened.totals.filter(|totals| !totals.same_mail(&found)) {
        let text = format!(
            "holds {} messages, and not the {} that it should",
            found.messages, totals.messages
        );
        checked.damage.push(Damage::new("store", text));
    }
    for item in opened.store.scan(StoreTable::SetAside, None, true) {
        let (key, value) = item.map_err(OpenError::Store)?;
        let reason = serde_json::from_slice::<SetAside>(&value.unwrap_or_default());
        let reason = reason.map_or_else(|error| error.to_string(), |record| record.reason);
        checked
            .set_aside
            .push((String::from_utf8_lossy(&key).into_owned(), reason));
    }
    Ok(checked)
}
