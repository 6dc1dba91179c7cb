//! The counters on disk: a line with the SHA-256 of the rest, then JSON. The file is replaced atomically, so a crash
//! leaves the old or the new file. Used by the counter store.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Write as _};
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::services::counter_store::counter_table::CounterTable;
use host_engine::generation::digest;
use host_files::FileDraft;

/// Key, value and end (in seconds since 1970) of each counter, by module.
#[derive(Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct CounterSnapshot(BTreeMap<String, Vec<(String, u64, u64)>>);

impl CounterSnapshot {
    /// Copies the counters that have not expired at `now`.
    pub(crate) fn of<'a>(tables: impl Iterator<Item = (&'a String, &'a CounterTable)>, now: u64) -> Self {
        let row = |(key, value, ends): (&str, u64, u64)| (key.to_owned(), value, ends);
        let rows = |table: &CounterTable| table.active(now).map(row).collect::<Vec<_>>();
        let modules = tables.map(|(module, table)| (module.clone(), rows(table)));
        Self(modules.filter(|(_, rows)| !rows.is_empty()).collect())
    }

    /// Returns a table for each module.
    pub(crate) fn into_tables(self) -> impl Iterator<Item = (String, CounterTable)> {
        self.0.into_iter().map(|(module, rows)| {
            let mut table = CounterTable::default();
            for (key, value, ends) in rows {
                table.begin(&key, value, ends);
            }
            (module, table)
        })
    }

    /// Reads a file. A missing file is empty; a damaged file is renamed and an error.
    pub(crate) fn read(path: &Path, now: u64) -> Result<Self, String> {
        let bytes = match fs::read(path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Self::default()),
            Err(error) => return Err(format!("{}: {error}", path.display())),
        };
        let Some(snapshot) = Self::parse(&bytes) else {
            let aside = path.with_extension(format!("{now}.damaged"));
            return Err(match fs::rename(path, &aside) {
                Ok(()) => format!("{} is damaged; it was put aside as {}", path.display(), aside.display()),
                Err(error) => format!("{} is damaged and cannot be put aside: {error}", path.display()),
            });
        };
        Ok(snapshot)
    }

    fn parse(bytes: &[u8]) -> Option<Self> {
        let end = bytes.iter().position(|byte| *byte == b'\n')?;
        let (checksum, json) = (bytes.get(..end)?, bytes.get(end + 1..)?);
        if digest(json).as_bytes() != checksum {
            return None;
        }
        serde_json::from_slice(json).ok()
    }

    /// Replaces the file. Blocks on the disk.
    pub(crate) fn write(&self, path: &Path) -> io::Result<()> {
        let json = serde_json::to_vec(self)?;
        let mut draft = FileDraft::private(path)?;
        writeln!(draft, "{}", digest(&json))?;
        draft.write_all(&json)?;
        draft.publish()
    }
}
