//! Reads the list of files that a keyspace of the store consists of, without changing them.
//!
//! A keyspace is a folder: `current` names the version, and the version's file `vNUMBER` lists tables and blob files. It
//! is the format of lsm-tree 3. The store itself takes a folder without `current` for one that was never finished, and
//! removes it.

use std::fs::{self, File};
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};

use host_files::replace_whole;

/// Name of the file that names the version.
pub(crate) const CURRENT: &str = "current";
/// Size of that file: number and checksum of the version, and the kind of the checksum.
const CURRENT_SIZE: usize = 8 + 16 + 1;
/// Size of a checksum with the octet of its kind.
const CHECKSUM: usize = 1 + 16;
/// Size of a table's sequence number.
const SEQUENCE: usize = 8;

/// A file of a keyspace that is missing or damaged.
pub(crate) struct TreeDamage {
    pub path: PathBuf,
    pub text: String,
}

impl TreeDamage {
    fn new(path: PathBuf, text: impl Into<String>) -> Self {
        Self {
            path,
            text: text.into(),
        }
    }
}

/// Returns what a keyspace's folder lacks.
///
/// # Errors
///
/// A file is there and cannot be read.
pub(crate) fn missing(folder: &Path) -> io::Result<Vec<TreeDamage>> {
    let path = folder.join(CURRENT);
    let current = match fs::read(&path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(vec![TreeDamage::new(path, "is missing")]),
        Err(error) => return Err(error),
    };
    let Some((number, checksum)) = decode_current(&current) else {
        let text = format!("has {} bytes of {CURRENT_SIZE}, or other ones", current.len());
        return Ok(vec![TreeDamage::new(path, text)]);
    };
    let path = folder.join(format!("v{number}"));
    let version = match fs::read(&path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(vec![TreeDamage::new(path, "is missing")]),
        Err(error) => return Err(error),
    };
    if checksum_of(&version) != checksum {
        let text = format!("has {} bytes, and not those that were written", version.len());
        return Ok(vec![TreeDamage::new(path, text)]);
    }
    let listed = match list(&path) {
        Ok(listed) => listed,
        Err(error) => return Ok(vec![TreeDamage::new(path, error)]),
    };
    let mut missing = Vec::new();
    for file in listed {
        let path = file.path(folder);
        match fs::metadata(&path) {
            Ok(found) if found.len() > 0 => {}
            Ok(_) => missing.push(TreeDamage::new(path, "is empty")),
            Err(error) if error.kind() == io::ErrorKind::NotFound => missing.push(TreeDamage::new(path, "is missing")),
            Err(error) => return Err(error),
        }
    }
    Ok(missing)
}

/// Returns the content of `current` for the newest whole version in the folder; `None` if there is none.
pub(crate) fn newest_version(folder: &Path) -> io::Result<Option<Vec<u8>>> {
    let mut numbers: Vec<u64> = Vec::new();
    for entry in fs::read_dir(folder)? {
        let name = entry?.file_name();
        numbers.extend(
            name.to_str()
                .and_then(|name| name.strip_prefix('v')?.parse::<u64>().ok()),
        );
    }
    numbers.sort_unstable();
    for number in numbers.into_iter().rev() {
        let path = folder.join(format!("v{number}"));
        if list(&path).is_ok() {
            return Ok(Some(encode_current(number, &fs::read(&path)?)));
        }
    }
    Ok(None)
}

fn decode_current(bytes: &[u8]) -> Option<(u64, u128)> {
    if bytes.len() != CURRENT_SIZE {
        return None;
    }
    let number = u64::from_le_bytes(bytes.get(..8)?.try_into().ok()?);
    let checksum = u128::from_le_bytes(bytes.get(8..24)?.try_into().ok()?);
    Some((number, checksum))
}

/// Returns the content of `current` for a version: number, checksum, and 0 for the kind of the checksum.
fn encode_current(number: u64, version: &[u8]) -> Vec<u8> {
    let mut current = number.to_le_bytes().to_vec();
    current.extend(checksum_of(version).to_le_bytes());
    current.push(0);
    current
}

fn checksum_of(version: &[u8]) -> u128 {
    xxhash_rust::xxh3::xxh3_128(version)
}

/// A file that a version lists.
struct TreeFile {
    /// Folder: `tables` or `blobs`.
    kind: &'static str,
    id: u64,
    checksum: u128,
}

impl TreeFile {
    fn path(&self, folder: &Path) -> PathBuf {
        folder.join(self.kind).join(self.id.to_string())
    }

    /// True if the file has the content that was written.
    fn is_whole(&self, folder: &Path) -> io::Result<bool> {
        let mut file = match File::open(self.path(folder)) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
            Err(error) => return Err(error),
        };
        let mut hash = xxhash_rust::xxh3::Xxh3::new();
        let mut buffer = vec![0; 1 << 20];
        loop {
            match file.read(&mut buffer)? {
                0 => return Ok(hash.digest128() == self.checksum),
                read => hash.update(&buffer[..read]),
            }
        }
    }
}

/// Returns the tables and blob files of a keyspace that are not as they were written. Reads all of them.
pub(crate) fn damaged(folder: &Path) -> io::Result<Vec<TreeDamage>> {
    let Some((number, _)) = decode_current(&fs::read(folder.join(CURRENT))?) else {
        return missing(folder);
    };
    let mut damaged = Vec::new();
    for file in list(&folder.join(format!("v{number}"))).unwrap_or_default() {
        if !file.is_whole(folder)? {
            damaged.push(TreeDamage::new(file.path(folder), "is not as it was written"));
        }
    }
    Ok(damaged)
}

/// Writes a new version of a keyspace without these files, and makes it current.
pub(crate) fn leave_out(folder: &Path, files: &[PathBuf]) -> io::Result<()> {
    let text = |error: String| io::Error::new(io::ErrorKind::InvalidData, error);
    let Some((number, _)) = decode_current(&fs::read(folder.join(CURRENT))?) else {
        return Err(text(format!("{CURRENT} is damaged")));
    };
    let old = folder.join(format!("v{number}"));
    let reader = sfa::Reader::new(&old).map_err(|error| text(format!("{error:?}")))?;
    let stays = |kind: &str, id: u64| !files.contains(&folder.join(kind).join(id.to_string()));
    let mut archive = sfa::Writer::from_writer(io::Cursor::new(Vec::new()));
    for entry in reader.toc().iter() {
        let mut section = Vec::new();
        entry.reader(&old)?.read_to_end(&mut section)?;
        let short = || text("a list of files ends too early".to_owned());
        match entry.name() {
            b"tables" => section = tables_without(&section, |id| stays("tables", id)).ok_or_else(short)?,
            b"blob_files" => section = blobs_without(&section, |id| stays("blobs", id)).ok_or_else(short)?,
            _ => {}
        }
        archive.start(entry.name())?;
        archive.write_all(&section)?;
    }
    let version = archive
        .into_inner()
        .map_err(|error| text(format!("{error:?}")))?
        .into_inner();
    let number = number + 1;
    fs::write(folder.join(format!("v{number}")), &version)?;
    File::open(folder.join(format!("v{number}")))?.sync_all()?;
    replace_whole(&folder.join(CURRENT), &encode_current(number, &version))
}

fn tables_without(section: &[u8], stays: impl Fn(u64) -> bool) -> Option<Vec<u8>> {
    let mut fields = LittleEndian(section);
    let levels = fields.u8()?;
    let mut out = vec![levels];
    for _ in 0..levels {
        let mut runs: Vec<Vec<&[u8]>> = Vec::new();
        for _ in 0..fields.u8()? {
            let mut run = Vec::new();
            for _ in 0..fields.u32()? {
                let table = fields.take(8 + CHECKSUM + SEQUENCE)?;
                if stays(LittleEndian(table).u64()?) {
                    run.push(table);
                }
            }
            if !run.is_empty() {
                runs.push(run);
            }
        }
        out.push(u8::try_from(runs.len()).ok()?);
        for run in runs {
            out.extend(u32::try_from(run.len()).ok()?.to_le_bytes());
            out.extend(run.concat());
        }
    }
    Some(out)
}

fn blobs_without(section: &[u8], stays: impl Fn(u64) -> bool) -> Option<Vec<u8>> {
    let mut fields = LittleEndian(section);
    let mut kept = Vec::new();
    for _ in 0..fields.u32()? {
        let blob = fields.take(8 + CHECKSUM)?;
        if stays(LittleEndian(blob).u64()?) {
            kept.push(blob);
        }
    }
    let mut out = u32::try_from(kept.len()).ok()?.to_le_bytes().to_vec();
    out.extend(kept.concat());
    Some(out)
}

/// Lists the files of a version.
fn list(version: &Path) -> Result<Vec<TreeFile>, String> {
    let reader = sfa::Reader::new(version).map_err(|error| format!("cannot be read: {error:?}"))?;
    let section = |name: &str| -> Result<Vec<u8>, String> {
        let entry = reader
            .toc()
            .section(name.as_bytes())
            .ok_or_else(|| format!("lacks the list of {name}"))?;
        let mut bytes = Vec::new();
        let read = entry
            .reader(version)
            .and_then(|mut section| section.read_to_end(&mut bytes));
        read.map(|_| bytes).map_err(|error| format!("cannot be read: {error}"))
    };
    let (tables, blobs) = (section("tables")?, section("blob_files")?);
    let mut listed = Vec::new();
    list_tables(&tables, &mut listed)
        .and_then(|()| list_blobs(&blobs, &mut listed))
        .ok_or_else(|| "ends too early".to_owned())?;
    Ok(listed)
}

fn list_tables(section: &[u8], listed: &mut Vec<TreeFile>) -> Option<()> {
    let mut fields = LittleEndian(section);
    for _ in 0..fields.u8()? {
        for _ in 0..fields.u8()? {
            for _ in 0..fields.u32()? {
                listed.push(fields.tree_file("tables")?);
                fields.take(SEQUENCE)?;
            }
        }
    }
    Some(())
}

fn list_blobs(section: &[u8], listed: &mut Vec<TreeFile>) -> Option<()> {
    let mut fields = LittleEndian(section);
    for _ in 0..fields.u32()? {
        listed.push(fields.tree_file("blobs")?);
    }
    Some(())
}

/// Little-endian fields.
struct LittleEndian<'a>(&'a [u8]);

impl<'a> LittleEndian<'a> {
    fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(taken)
    }

    fn u8(&mut self) -> Option<u8> {
        self.take(1)?.first().copied()
    }

    fn u32(&mut self) -> Option<u32> {
        Some(u32::from_le_bytes(self.take(4)?.try_into().ok()?))
    }

    fn u64(&mut self) -> Option<u64> {
        Some(u64::from_le_bytes(self.take(8)?.try_into().ok()?))
    }

    fn tree_file(&mut self, kind: &'static str) -> Option<TreeFile> {
        let id = self.u64()?;
        let checksum = self.take(CHECKSUM)?.get(1..)?.try_into().ok()?;
        let checksum = u128::from_le_bytes(checksum);
        Some(TreeFile { kind, id, checksum })
    }
}
