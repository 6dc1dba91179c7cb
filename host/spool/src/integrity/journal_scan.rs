//! Reads the store's journals without changing them.
//!
//! The store itself cuts a journal after the last whole batch when it opens. This reader finds that place before, so
//! that a lost end is seen and the bytes behind it are kept. It knows the format of fjall 3: a batch is a start mark
//! with the number of items, the items, and an end mark with their checksum and a trailer.

use std::fs::{self, File};
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use rustix::fs::SeekFrom;

use crate::integrity::totals::{ENCODED, TOTALS_KEY, Totals};

/// Trailer of every batch.
const TRAILER: &[u8] = b"FJL\x03";
const START: u8 = 1;
const ITEM: u8 = 2;
const END: u8 = 3;
const CLEAR: u8 = 4;

/// The content of a journal.
#[derive(Debug)]
pub(crate) struct JournalScan {
    /// Number in the name: `NUMBER.jnl`.
    pub number: u64,
    pub path: PathBuf,
    /// Bytes up to the last byte that is not zero.
    pub bytes: Vec<u8>,
    /// Offset after the last whole batch; what follows is not read by the store.
    pub end: usize,
    /// Totals in the last whole batch that has any.
    pub last: Option<Totals>,
}

impl JournalScan {
    /// Bytes after the last whole batch.
    pub fn rest(&self) -> &[u8] {
        self.bytes.get(self.end..).unwrap_or_default()
    }

    /// Returns all whole batches, also those behind a damaged part.
    pub fn whole_batches(&self) -> Vec<u8> {
        let mut whole = self.bytes[..self.end].to_vec();
        let mut at = self.end;
        while at < self.bytes.len() {
            let rest = &self.bytes[at..];
            match batch(rest) {
                Some((length, _)) => {
                    whole.extend_from_slice(&rest[..length]);
                    at += length;
                }
                None => at += 1,
            }
        }
        whole
    }
}

/// Lists the journals of a store, oldest first, as numbers and paths.
pub(crate) fn journals(store: &Path) -> io::Result<Vec<(u64, PathBuf)>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(store)? {
        let path = entry?.path();
        let number = path
            .file_name()
            .and_then(|name| name.to_str()?.strip_suffix(".jnl")?.parse().ok());
        found.extend(number.map(|number| (number, path)));
    }
    found.sort_unstable();
    Ok(found)
}

/// Reads a journal.
pub(crate) fn scan(number: u64, path: PathBuf) -> io::Result<JournalScan> {
    let bytes = read_data(&path)?;
    let (mut end, mut last) = (0, None);
    while let Some((length, totals)) = batch(&bytes[end..]) {
        end += length;
        last = totals.or(last);
    }
    Ok(JournalScan {
        number,
        path,
        bytes,
        end,
        last,
    })
}

/// Reads a file without the zeros at the end. A journal is 64 MiB of mostly a hole.
pub(crate) fn read_data(path: &Path) -> io::Result<Vec<u8>> {
    let mut file = File::open(path)?;
    let mut bytes = Vec::new();
    let mut end = 0;
    while let Ok(data) = rustix::fs::seek(&file, SeekFrom::Data(end)) {
        match rustix::fs::seek(&file, SeekFrom::Hole(data)) {
            Ok(hole) if hole > end => end = hole,
            _ => break,
        }
    }
    rustix::fs::seek(&file, SeekFrom::Start(0))?;
    (&mut file).take(end).read_to_end(&mut bytes)?;
    let used = bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
    bytes.truncate(used);
    Ok(bytes)
}

/// Reads the batch at the start of `bytes`: the length, and the totals among the items. `None` if no whole batch is
/// there.
fn batch(bytes: &[u8]) -> Option<(usize, Option<Totals>)> {
    let mut reader = Reader { bytes, at: 0 };
    if reader.u8()? != START {
        return None;
    }
    let items = reader.u32()?;
    reader.skip(8)?;
    let (first, mut totals) = (reader.at, None);
    for _ in 0..items {
        totals = item(&mut reader)?.or(totals);
    }
    let checksum = xxhash_rust::xxh3::xxh3_64(&bytes[first..reader.at]);
    let whole = reader.u8()? == END && reader.u64()? == checksum && reader.take(TRAILER.len())? == TRAILER;
    whole.then_some((reader.at, totals))
}

fn item(reader: &mut Reader<'_>) -> Option<Option<Totals>> {
    match reader.u8()? {
        ITEM => {}
        CLEAR => return reader.skip(8).map(|()| None),
        _ => return None,
    }
    // Kind of the value, compression, keyspace.
    reader.skip(1 + 1 + 8)?;
    let key = usize::from(reader.u16()?);
    reader.skip(4)?;
    let value = usize::try_from(reader.u32()?).ok()?;
    let key = reader.take(key)?;
    let value = reader.take(value)?;
    // So short a value is never compressed.
    Some(
        (key == TOTALS_KEY && value.len() == ENCODED)
            .then(|| Totals::decode(value))
            .flatten(),
    )
}

struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let taken = self.bytes.get(self.at..self.at.checked_add(length)?)?;
        self.at += length;
        Some(taken)
    }

    fn skip(&mut self, length: usize) -> Option<()> {
        self.take(length).map(drop)
    }

    fn u8(&mut self) -> Option<u8> {
        self.take(1)?.first().copied()
    }

    fn u16(&mut self) -> Option<u16> {
        Some(u16::from_le_bytes(self.take(2)?.try_into().ok()?))
    }

    fn u32(&mut self) -> Option<u32> {
        Some(u32::from_le_bytes(self.take(4)?.try_into().ok()?))
    }

    fn u64(&mut self) -> Option<u64> {
        Some(u64::from_le_bytes(self.take(8)?.try_into().ok()?))
    }
}
