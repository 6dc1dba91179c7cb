//! The files of the durable event log: JSON lines in numbered segments, bounded in all. When the
//! bound is reached the oldest segment goes.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

/// The log is kept in about so many segments: a bound is honoured to within one of them.
const SEGMENTS: u64 = 8;
/// A segment is not made smaller than this, in bytes.
const MIN_SEGMENT: u64 = 16 * 1024;

/// How far the log is written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Tail {
    /// The segment being written.
    pub(super) segment: u64,
    /// Bytes in it.
    pub(super) length: u64,
}

/// The log's writing end; there is one.
pub(super) struct Journal {
    dir: PathBuf,
    /// Holds the lock that keeps a second writer out.
    _lock: File,
    file: File,
    tail: Tail,
    segment_size: u64,
}

impl Journal {
    /// Opens the folder, makes it if it is missing, and ends a line that a crash has torn. Fails if
    /// another process writes the same log.
    pub(super) fn open(dir: &Path, max_bytes: u64) -> io::Result<Self> {
        fs::create_dir_all(dir)?;
        let lock = File::open(dir)?;
        rustix::fs::flock(&lock, rustix::fs::FlockOperation::NonBlockingLockExclusive).map_err(
            |error| match error {
                rustix::io::Errno::WOULDBLOCK => io::Error::new(
                    io::ErrorKind::ResourceBusy,
                    "another posthouse writes the event log here: it is running already",
                ),
                error => error.into(),
            },
        )?;
        let segment = segments(dir)?.last().copied().unwrap_or(1);
        let mut file = open_segment(dir, segment)?;
        let mut length = file.metadata()?.len();
        if !ends_with_line_end(dir, segment)? {
            file.write_all(b"\n")?;
            length += 1;
        }
        let mut journal = Self {
            dir: dir.to_owned(),
            _lock: lock,
            file,
            tail: Tail { segment, length },
            segment_size: (max_bytes / SEGMENTS).max(MIN_SEGMENT),
        };
        journal.remove_oldest()?;
        Ok(journal)
    }

    pub(super) fn tail(&self) -> &Tail {
        &self.tail
    }

    /// Appends whole lines. `sync` makes them survive a loss of power.
    pub(super) fn append(&mut self, lines: &[u8], sync: bool) -> io::Result<()> {
        if self.tail.length > 0 && self.tail.length + lines.len() as u64 > self.segment_size {
            self.rotate()?;
        }
        if let Err(error) = self.file.write_all(lines) {
            // Part of a line may be there; the next append must not continue it.
            self.file.set_len(self.tail.length)?;
            return Err(error);
        }
        self.tail.length += lines.len() as u64;
        if sync { self.file.sync_data() } else { Ok(()) }
    }

    fn rotate(&mut self) -> io::Result<()> {
        let segment = self.tail.segment + 1;
        self.file = open_segment(&self.dir, segment)?;
        self.tail = Tail { segment, length: 0 };
        self.remove_oldest()
    }

    fn remove_oldest(&mut self) -> io::Result<()> {
        let existing = segments(&self.dir)?;
        let surplus = existing.len().saturating_sub(SEGMENTS as usize);
        for segment in &existing[..surplus] {
            fs::remove_file(path(&self.dir, *segment))?;
        }
        Ok(())
    }
}

/// The numbers of the segments there are, ascending. A folder that is not there has none.
pub(super) fn segments(dir: &Path) -> io::Result<Vec<u64>> {
    let entries = match fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let mut numbers = Vec::new();
    for entry in entries {
        let name = entry?.file_name();
        let number = name.to_str().and_then(|name| name.strip_suffix(".jsonl"));
        numbers.extend(number.and_then(|digits| digits.parse::<u64>().ok()));
    }
    numbers.sort_unstable();
    Ok(numbers)
}

/// The bytes of a segment, no further than `tail`. A segment removed meanwhile is empty.
pub(super) fn read_segment(dir: &Path, segment: u64, tail: Option<&Tail>) -> io::Result<Vec<u8>> {
    let limit = match tail {
        Some(tail) if segment > tail.segment => 0,
        Some(tail) if segment == tail.segment => tail.length,
        _ => u64::MAX,
    };
    let mut bytes = Vec::new();
    match File::open(path(dir, segment)) {
        Ok(file) => file.take(limit).read_to_end(&mut bytes)?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => 0,
        Err(error) => return Err(error),
    };
    Ok(bytes)
}

fn path(dir: &Path, segment: u64) -> PathBuf {
    dir.join(format!("{segment:012}.jsonl"))
}

fn open_segment(dir: &Path, segment: u64) -> io::Result<File> {
    use std::os::unix::fs::OpenOptionsExt;
    OpenOptions::new()
        .create(true)
        .append(true)
        .mode(0o640)
        .open(path(dir, segment))
}

fn ends_with_line_end(dir: &Path, segment: u64) -> io::Result<bool> {
    use std::io::{Seek, SeekFrom};
    let mut file = File::open(path(dir, segment))?;
    if file.metadata()?.len() == 0 {
        return Ok(true);
    }
    file.seek(SeekFrom::End(-1))?;
    let mut last = [0];
    file.read_exact(&mut last)?;
    Ok(last == *b"\n")
}
