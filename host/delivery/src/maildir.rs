//! Final delivery into a Maildir: a new file appears complete, or not at all.
//!
//! A message is written to `tmp/`, synced, renamed into `new/`, and the folder is synced. A crash leaves at worst a
//! file in `tmp/`, which mail readers ignore. Lines end in LF in a Maildir, as mail readers expect, and in CRLF in the
//! spool.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, BufWriter, ErrorKind, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use host_mail::{Content, HeaderBlock, Mailbox, Reply, ReversePath};

use super::outcome::{RecipientOutcome, class};

/// Bytes of a message that are copied at a time.
const CHUNK_SIZE: usize = 64 * 1024;

/// Writes a message into a Maildir.
pub(super) struct MaildirWriter<'a> {
    pub(super) maildir: &'a Path,
    /// Name of this host, a part of the file name.
    pub(super) hostname: &'a str,
    pub(super) sender: &'a ReversePath,
    /// Recipients that share the Maildir, at least one.
    pub(super) recipients: &'a [Mailbox],
    pub(super) content: &'a dyn Content,
    /// True if the body is not made of lines (RFC 3030): the octets behind the header stay.
    pub(super) is_binary: bool,
}

/// Error of a delivery, by the side that failed.
enum WriteError {
    /// The message cannot be read from the spool.
    Message(io::Error),
    /// The mailbox cannot be written.
    Mailbox(io::Error),
}

impl MaildirWriter<'_> {
    /// Delivers the message. Blocks on the disk. An error means that the message could not be read; an error of the
    /// mailbox is a deferral.
    pub(super) fn deliver(&self) -> io::Result<RecipientOutcome> {
        let header = HeaderBlock::read(self.content)?;
        if let Some(again) = self.delivered_before(&header) {
            let reply = Reply::new(554, (5, 4, 6), format!("Mail loop: it was delivered to {again} before"));
            return Ok(RecipientOutcome::failed_here(class::LOOP, reply));
        }
        match self.store(&header) {
            Ok(()) => Ok(RecipientOutcome::Delivered {
                reply: Reply::new(250, (2, 0, 0), "Delivered"),
                remote: None,
                tls: None,
                reports: false,
                keeps_time: true,
            }),
            Err(WriteError::Message(error)) => Err(error),
            Err(WriteError::Mailbox(error)) => {
                tracing::warn!(maildir = %self.maildir.display(), %error, "mailbox not written");
                Ok(RecipientOutcome::Deferred(reply_for(&error)))
            }
        }
    }

    /// Returns the recipient that the message was delivered to before, by the `Delivered-To:` fields: a mail loop.
    fn delivered_before(&self, header: &HeaderBlock) -> Option<&Mailbox> {
        let marks: Vec<String> = header.named("Delivered-To").map(|field| field.unfolded(512)).collect();
        let recipients = self.recipients.iter();
        recipients.into_iter().find(|recipient| {
            marks
                .iter()
                .any(|mark| mark.parse::<Mailbox>().is_ok_and(|m| m.key() == recipient.key()))
        })
    }

    fn store(&self, header: &HeaderBlock) -> Result<(), WriteError> {
        create_missing_folders(self.maildir).map_err(WriteError::Mailbox)?;
        let name = unique_name(self.hostname);
        let tmp = self.maildir.join("tmp").join(&name);
        let new = self.maildir.join("new");
        let written = self.write(&tmp, header).and_then(|()| {
            fs::rename(&tmp, new.join(&name))
                .and_then(|()| sync_folder(&new))
                .map_err(WriteError::Mailbox)
        });
        if written.is_err() {
            // A failure to remove is harmless: mail readers ignore `tmp/`.
            let _ = fs::remove_file(&tmp);
        }
        written
    }

    fn write(&self, path: &Path, header: &HeaderBlock) -> Result<(), WriteError> {
        let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
        let mut out = LfWriter::new(BufWriter::with_capacity(CHUNK_SIZE, file.map_err(WriteError::Mailbox)?));
        let head = self.mailbox_header(header);
        out.write(&head).map_err(WriteError::Mailbox)?;
        let mut offset = header.as_bytes().len() as u64;
        let is_lines = !self.is_binary;
        if self.is_binary {
            offset += self.empty_line(offset, &mut out)?;
        }
        loop {
            let piece = self.content.read(offset, CHUNK_SIZE).map_err(WriteError::Message)?;
            if piece.is_empty() {
                break;
            }
            offset += piece.len() as u64;
            match is_lines {
                true => out.write(&piece).map_err(WriteError::Mailbox)?,
                false => out.write_unchanged(&piece).map_err(WriteError::Mailbox)?,
            }
        }
        if offset < self.content.size() {
            let short = io::Error::new(ErrorKind::UnexpectedEof, "the message is shorter than its size");
            return Err(WriteError::Message(short));
        }
        let file = out.finish().map_err(WriteError::Mailbox)?;
        file.sync_all().map_err(WriteError::Mailbox)
    }

    /// Writes the line between header and body, if there is one at `offset`; returns its octets in the content.
    fn empty_line(&self, offset: u64, out: &mut LfWriter) -> Result<u64, WriteError> {
        let line = self.content.read(offset, 2).map_err(WriteError::Message)?;
        if line != b"\r\n"[..] {
            return Ok(0);
        }
        out.write(&line).map_err(WriteError::Mailbox)?;
        Ok(2)
    }

    /// The header for the mailbox. Final delivery adds the only `Return-Path:` and removes every `Return-Path:` that
    /// came with the message (RFC 5321 section 4.4).
    fn mailbox_header(&self, header: &HeaderBlock) -> Vec<u8> {
        let mut head = format!("Return-Path: {}\r\n", self.sender).into_bytes();
        for recipient in self.recipients {
            head.extend_from_slice(format!("Delivered-To: {recipient}\r\n").as_bytes());
        }
        let mut dropping = false;
        for line in header.as_bytes().split_inclusive(|b| *b == b'\n') {
            let continues = matches!(line.first(), Some(b' ' | b'\t'));
            if !continues {
                let name = line.split(|b| *b == b':').next().unwrap_or_default();
                dropping = name.len() < line.len() && name.trim_ascii_end().eq_ignore_ascii_case(b"Return-Path");
            }
            if !dropping {
                head.extend_from_slice(line);
            }
        }
        head
    }
}

/// Writes CRLF as LF, also if the CR and the LF are in different pieces.
struct LfWriter {
    out: BufWriter<File>,
    held_cr: bool,
}

impl LfWriter {
    fn new(out: BufWriter<File>) -> Self {
        Self { out, held_cr: false }
    }

    fn write(&mut self, mut piece: &[u8]) -> io::Result<()> {
        if self.held_cr && !piece.is_empty() {
            self.held_cr = false;
            if piece[0] != b'\n' {
                self.out.write_all(b"\r")?;
            }
        }
        if let Some(rest) = piece.strip_suffix(b"\r") {
            self.held_cr = true;
            piece = rest;
        }
        let mut from = 0;
        for cr in memchr::memchr_iter(b'\r', piece) {
            if piece.get(cr + 1) == Some(&b'\n') {
                self.out.write_all(&piece[from..cr])?;
                // The LF goes with the next line.
                from = cr + 1;
            }
        }
        self.out.write_all(&piece[from..])
    }

    /// Writes octets as they are, behind whole lines.
    fn write_unchanged(&mut self, piece: &[u8]) -> io::Result<()> {
        self.out.write_all(piece)
    }

    fn finish(mut self) -> io::Result<File> {
        if self.held_cr {
            self.out.write_all(b"\r")?;
        }
        self.out.into_inner().map_err(io::IntoInnerError::into_error)
    }
}

/// Creates the missing folders of a Maildir with mode 0700, then syncs the Maildir and the parent folder.
fn create_missing_folders(maildir: &Path) -> io::Result<()> {
    let missing: Vec<PathBuf> = ["tmp", "new", "cur"]
        .iter()
        .map(|name| maildir.join(name))
        .filter(|path| !path.is_dir())
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    for folder in missing {
        DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    }
    sync_folder(maildir)?;
    maildir.parent().map_or(Ok(()), sync_folder)
}

/// Syncs a folder: a name in a folder is durable only after the sync of the folder.
fn sync_folder(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

/// A file name that is unique on this host and among hosts that share the folder: time, process, counter, random
/// number, host.
fn unique_name(hostname: &str) -> String {
    static COUNTER: AtomicU64 = AtomicU64::new(0);
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let count = COUNTER.fetch_add(1, Ordering::Relaxed);
    let host: String = hostname
        .chars()
        .map(|c| {
            if c.is_ascii_alphanumeric() || matches!(c, '.' | '-') {
                c
            } else {
                '_'
            }
        })
        .collect();
    format!(
        "{}.M{:06}P{}Q{count}R{:08x}.{host}",
        now.as_secs(),
        now.subsec_micros(),
        std::process::id(),
        rand::random::<u32>(),
    )
}

/// The reply for an error of the mailbox. Without path and details, since reports carry the reply to other hosts.
fn reply_for(error: &io::Error) -> Reply {
    match error.kind() {
        ErrorKind::StorageFull => Reply::new(452, (4, 3, 1), "No space for the mailbox"),
        ErrorKind::QuotaExceeded => Reply::new(452, (4, 2, 2), "Mailbox is full"),
        _ => Reply::new(451, (4, 2, 0), "Mailbox cannot be written"),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use bytes::Bytes;

    use super::super::testing::mailbox;
    use super::*;
    use host_mail::InMemory;

    fn deliver(maildir: &Path, recipients: &[&str], content: &dyn Content) -> io::Result<RecipientOutcome> {
        let recipients: Vec<Mailbox> = recipients.iter().map(|r| mailbox(r)).collect();
        MaildirWriter {
            maildir,
            hostname: "mx/here:1",
            sender: &ReversePath::Mailbox(mailbox("sender@far.example")),
            recipients: &recipients,
            content,
            is_binary: false,
        }
        .deliver()
    }

    fn files(folder: &Path) -> Vec<PathBuf> {
        let entries = fs::read_dir(folder).expect("a folder");
        entries.map(|entry| entry.expect("an entry").path()).collect()
    }

    #[test]
    fn stores_a_complete_message_with_trace_fields() {
        let home = tempfile::tempdir().expect("a folder");
        let maildir = home.path().join("deep/anna");
        let text = "return-path: <forged@x>\r\n\tfolded\r\nFrom: a@b\r\nReturn-Path-Like: kept\r\nRETURN-PATH : <x@y>\r\n\r\nReturn-Path: body\r\n.\r\nlast";
        let outcome = deliver(&maildir, &["anna@here.example"], &InMemory(text.into())).expect("readable");
        assert!(matches!(outcome, RecipientOutcome::Delivered { .. }), "{outcome:?}");
        let new = files(&maildir.join("new"));
        let stored = fs::read_to_string(&new[0]).expect("a file");
        assert_eq!(
            stored,
            "Return-Path: <sender@far.example>\nDelivered-To: anna@here.example\nFrom: a@b\nReturn-Path-Like: kept\n\nReturn-Path: body\n.\nlast"
        );
        assert_eq!(new.len(), 1);
        assert!(files(&maildir.join("tmp")).is_empty());
        assert!(new[0].to_string_lossy().ends_with(".mx_here_1"));
        for folder in ["", "tmp", "new", "cur"] {
            let mode = fs::metadata(maildir.join(folder)).expect("made").permissions().mode();
            assert_eq!(mode & 0o777, 0o700, "{folder}");
        }
    }

    #[test]
    fn message_that_was_delivered_before_is_a_loop() {
        let home = tempfile::tempdir().expect("a folder");
        let content = InMemory("Delivered-To: Anna@Here.Example\r\n\r\nx\r\n".into());
        let outcome = deliver(home.path(), &["ben@here.example", "anna@here.example"], &content).expect("readable");
        assert!(matches!(outcome, RecipientOutcome::Failed(failed) if failed.class == class::LOOP));
        let other = deliver(home.path(), &["ben@here.example"], &content).expect("readable");
        assert!(matches!(other, RecipientOutcome::Delivered { .. }));
    }

    #[test]
    fn unwritable_mailbox_defers() {
        let home = tempfile::tempdir().expect("a folder");
        let file = home.path().join("not-a-folder");
        fs::write(&file, "x").expect("written");
        let outcome = deliver(&file, &["anna@here.example"], &InMemory("\r\n".into())).expect("readable");
        let RecipientOutcome::Deferred(reply) = outcome else {
            panic!("{outcome:?}");
        };
        assert!(!reply.text.contains("not-a-folder"), "{reply}");
    }

    /// Reads `good` bytes, then fails.
    struct Broken {
        good: Bytes,
    }

    impl Content for Broken {
        fn size(&self) -> u64 {
            self.good.len() as u64 + 1
        }

        fn read(&self, offset: u64, length: usize) -> io::Result<Bytes> {
            if offset < self.good.len() as u64 {
                return InMemory(self.good.clone()).read(offset, length);
            }
            Err(io::Error::other("bad sector"))
        }
    }

    #[test]
    fn unreadable_message_leaves_no_files() {
        let home = tempfile::tempdir().expect("a folder");
        let good = Bytes::from_static(b"A: b\r\n\r\nbody");
        assert!(deliver(home.path(), &["anna@here.example"], &Broken { good }).is_err());
        assert!(files(&home.path().join("new")).is_empty());
        assert!(files(&home.path().join("tmp")).is_empty());
    }

    #[test]
    fn converts_line_ends_across_pieces() {
        let home = tempfile::tempdir().expect("a folder");
        for split in 0..=9 {
            let path = home.path().join(split.to_string());
            let mut out = LfWriter::new(BufWriter::new(File::create(&path).expect("a file")));
            let (a, b) = b"a\r\nb\rc\r\r\n\r".split_at(split);
            for piece in [a, b] {
                out.write(piece).expect("written");
            }
            out.finish().expect("written");
            assert_eq!(fs::read(&path).expect("a file"), b"a\nb\rc\r\n\r", "{split}");
        }
    }
}
