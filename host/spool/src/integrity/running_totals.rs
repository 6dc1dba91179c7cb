//! The running totals of the store, in memory and in the manifest.

use std::fs::File;
use std::io;
use std::path::Path;

use crate::integrity::manifest::{Manifest, ManifestFacts};
use crate::integrity::totals::{ENCODED, Totals};
use crate::store_edit::StoreEdit;

/// The totals, in memory and in the manifest. Locked for the time of a batch, so that both follow the journal's order.
#[derive(Default)]
pub(crate) struct RunningTotals {
    totals: Totals,
    /// False until recovery has counted the records of a spool without valid totals. `totals` holds the changes since
    /// the open until then, and the store no totals.
    known: bool,
    manifest: Option<Manifest>,
}

impl RunningTotals {
    /// Begins to count from `totals`; if they are unknown but for the number of batches, only the changes are counted
    /// until [`Self::establish`].
    pub fn new(totals: Result<Totals, u64>) -> Self {
        let known = totals.is_ok();
        let totals = totals.unwrap_or_else(|batch| Totals {
            batch,
            ..Totals::default()
        });
        Self {
            totals,
            known,
            manifest: None,
        }
    }

    /// Makes the manifest in the spool's folder. `journal` and `keyspaces` are those of the store; the newest journal
    /// holds `newest_batch` if that is known.
    pub fn make_manifest(
        &mut self,
        root: &Path,
        (journal, newest_batch): (u64, Option<u64>),
        keyspaces: Vec<u64>,
        earlier: Option<&ManifestFacts>,
    ) -> io::Result<()> {
        let after = newest_batch.map_or(self.totals.batch, |batch| batch.saturating_sub(1));
        let facts = ManifestFacts::new(&self.totals, (journal, after), keyspaces, earlier);
        self.manifest = Some(Manifest::open(root, facts)?);
        Ok(())
    }

    /// Adds the records that were counted at open to the changes since.
    pub fn establish(&mut self, at_open: &Totals) {
        self.totals = self.totals.plus(at_open);
        self.known = true;
    }

    /// Returns the totals after a batch with these edits.
    pub fn after(&self, edits: &[StoreEdit]) -> Totals {
        self.totals.after(edits.iter().map(|edit| (edit.id, edit.totals)))
    }

    /// Encodes totals for the store; `None` while the totals are unknown.
    pub fn encoded(&self, totals: &Totals) -> Option<[u8; ENCODED]> {
        self.known.then(|| totals.encode())
    }

    /// Sets the totals after a batch that is on the disk, also in the manifest.
    pub fn advance(&mut self, totals: Totals) {
        self.totals = totals;
        if self.known
            && let Some(manifest) = &mut self.manifest
            && let Err(error) = manifest.note(&totals)
        {
            tracing::warn!(%error, "the manifest of the spool was not written");
        }
    }

    /// Notes a loss in the manifest, so that the next open finds it.
    pub fn note_loss(&mut self, loss: &str) {
        if let Some(manifest) = &mut self.manifest
            && let Err(error) = manifest.note_loss(loss)
        {
            tracing::warn!(%error, "the manifest of the spool was not written");
        }
    }

    /// Number of the newest journal that the manifest names; `None` without a manifest.
    pub fn noted_journal(&self) -> Option<u64> {
        self.manifest.as_ref().map(Manifest::journal)
    }

    /// Notes the newest journal in the manifest, and returns the file to sync if anything changed since the last call.
    pub fn note_journal(&mut self, journal: u64) -> io::Result<Option<File>> {
        match &mut self.manifest {
            Some(manifest) => manifest.note_journal(journal),
            None => Ok(None),
        }
    }
}
