//! Reading the log of decisions, for the control socket. Everything here blocks on the disk.

use bytes::Bytes;
use serde::Deserialize;

use super::DecisionLog;
use host_mail::{RecordId, Timestamp};
use host_spool::PutError;

/// A filter of records.
#[derive(Debug, Clone, Default)]
pub struct Wanted {
    /// Earliest begin of the unit of work.
    pub since: Option<Timestamp>,
    /// Maximum number of records; the last records are chosen.
    pub last: Option<usize>,
    /// Name of the module.
    pub module: Option<String>,
}

/// The part of a record that the filter needs.
#[derive(Deserialize)]
struct RecordHead {
    module: String,
}

impl Wanted {
    fn matches(&self, value: &[u8]) -> bool {
        self.module
            .as_ref()
            .is_none_or(|module| serde_json::from_slice::<RecordHead>(value).is_ok_and(|head| head.module == *module))
    }
}

impl DecisionLog {
    /// Passes the JSON of each record to `each`, oldest first, until `each` returns false.
    pub fn read(&self, filter: &Wanted, mut each: impl FnMut(Bytes) -> bool) -> Result<(), PutError> {
        let since = RecordId::first(filter.since.unwrap_or(Timestamp(0))).to_string();
        let Some(from) = self.start_key(filter, since)? else {
            return Ok(());
        };
        for entry in self.log.scan(&from) {
            let (_, value) = entry?;
            if filter.matches(&value) && !each(value) {
                return Ok(());
            }
        }
        Ok(())
    }

    /// Returns the JSON of a record.
    pub fn record(&self, id: RecordId) -> Result<Option<Bytes>, PutError> {
        self.log.get(&id.to_string())
    }

    /// Returns the key to start at, so that the filter's maximum number of records follows.
    fn start_key(&self, filter: &Wanted, since: String) -> Result<Option<String>, PutError> {
        let Some(last) = filter.last else {
            return Ok(Some(since));
        };
        let (mut from, mut count) = (None, 0);
        for entry in self.log.scan_back(&since) {
            if count == last {
                break;
            }
            let (key, value) = entry?;
            if filter.matches(&value) {
                from = Some(key);
                count += 1;
            }
        }
        Ok(from)
    }
}
