//! Files of the durable event log: JSON lines in numbered segments of bounded total size. At the bound, the oldest
//! segment is removed.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read, Write};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use host_files::make_private_folder;

/// Largest number of segments. The size bound of the log is honoured to within a segment.
const SEGMENTS: u64 = 8;
/// Smallest size of a segment, in bytes.
const MIN_SEGMENT: u64 = 16 * 1024;

/// End of the written log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Tail {
    /// Number of the current segment.
    pub(super) segment: u64,
    /// Length of the current segment, in bytes.
    pub(super) length: u64,
}

/// Number of attempts to take the lock: a process that is about to end may hold the lock for a moment.
const LOCK_ATTEMPTS: usize = 40;
/// Time between two attempts to take the lock.
const LOCK_RETRY_DELAY: Duration = Duration::from_millis(50);

/// The writing end of the log. A file lock prevents a second writer.
pub(super) struct Journal {
    dir: PathBuf,
    /// Holds the file lock on the folder.
    _lock: File,
    file: File,
    tail: Tail,
    segment_size: u64,
}

impl Journal {
    /// Opens or creates the folder and terminates a line that a crash has torn.
    ///
    /// # Errors
    /// I/O errors; `ResourceBusy` if another process writes the same log.
    pub(super) fn open(dir: &Path, max_bytes: u64) -> io::Result<Self> {
        make_private_folder(dir)?;
        let lock = File::open(dir)?;
        take_lock(&lock)?;
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

    /// Appends whole lines, in a new segment if the current one is full. With `sync` the lines are durable on return.
    pub(super) fn append(&mut self, lines: &[u8], sync: bool) -> io::Result<()> {
        if self.file.metadata()?.nlink() == 0 {
            // The folder or the file was removed.
            make_private_folder(&self.dir)?;
            self.file = open_segment(&self.dir, self.tail.segment)?;
            self.tail.length = self.file.metadata()?.len();
        }
        if self.tail.length > 0 && self.tail.length + lines.len() as u64 > self.segment_size {
            self.rotate()?;
        }
        if let Err(error) = self.file.write_all(lines) {
            // The file may end with part of a line, which the next append must not continue.
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

/// Takes the lock on the log's folder, which the end of the process releases.
///
/// # Errors
/// I/O errors; `ResourceBusy` if another process holds the lock after all attempts.
fn take_lock(folder: &File) -> io::Result<()> {
    for _ in 0..LOCK_ATTEMPTS {
        match folder.try_lock() {
            Ok(()) => return Ok(()),
            Err(TryLockError::WouldBlock) => std::thread::sleep(LOCK_RETRY_DELAY),
            Err(TryLockError::Error(error)) => return Err(error),
        }
    }
    Err(io::Error::new(
        io::ErrorKind::ResourceBusy,
        "another posthouse writes the event log here: it is running already",
    ))
}

/// Lists the numbers of all segments, ascending. The list is empty if the folder does not exist.
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

/// Reads the bytes of a segment up to `tail`. A segment that no longer exists is read as empty.
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
        .mode(0o600)
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
