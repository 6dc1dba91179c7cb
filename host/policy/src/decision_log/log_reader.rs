//! Looking at what was recorded. Everything here blocks.

use bytes::Bytes;
use serde::Deserialize;

use super::DecisionLog;
use host_mail::{RecordId, Timestamp};
use host_spool::PutError;

/// Which records.
#[derive(Debug, Clone, Default)]
pub struct Wanted {
    /// Of units of work that began then or later.
    pub since: Option<Timestamp>,
    /// At most so many, the last ones.
    pub last: Option<usize>,
    /// Of this module alone.
    pub module: Option<String>,
}

/// As much of a record as it takes to choose.
#[derive(Deserialize)]
struct Head {
    module: String,
}

impl Wanted {
    fn wants(&self, value: &[u8]) -> bool {
        self.module
            .as_ref()
            .is_none_or(|wanted| serde_json::from_slice::<Head>(value).is_ok_and(|head| head.module == *wanted))
    }
}

impl DecisionLog {
    /// Hands the JSON of each record to `each`, oldest first, until that has enough.
    pub fn read(&self, wanted: &Wanted, mut each: impl FnMut(Bytes) -> bool) -> Result<(), PutError> {
        let since = RecordId::first(wanted.since.unwrap_or(Timestamp(0))).to_string();
        let Some(from) = self.beginning(wanted, since)? else {
            return Ok(());
        };
        for entry in self.log.scan(&from) {
            let (_, value) = entry?;
            if wanted.wants(&value) && !each(value) {
                return Ok(());
            }
        }
        Ok(())
    }

    /// One record's JSON.
    pub fn record(&self, id: RecordId) -> Result<Option<Bytes>, PutError> {
        self.log.get(&id.to_string())
    }

    /// Where the last so many begin.
    fn beginning(&self, wanted: &Wanted, since: String) -> Result<Option<String>, PutError> {
        let Some(last) = wanted.last else {
            return Ok(Some(since));
        };
        let (mut from, mut count) = (None, 0);
        for entry in self.log.scan_back(&since) {
            if count == last {
                break;
            }
            let (key, value) = entry?;
            if wanted.wants(&value) {
                from = Some(key);
                count += 1;
            }
        }
        Ok(from)
    }
}
