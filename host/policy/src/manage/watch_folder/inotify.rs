//! A watch on a single folder by inotify, for the watched folder.

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::fs::inotify::{self, CreateFlags, ReadFlags, Reader, WatchFlags};
use tokio::io::unix::AsyncFd;

/// Size of the event buffer, in bytes; the longest event takes 272.
const BUFFER: usize = 8 << 10;

/// An event of a folder.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum FolderEvent {
    /// Files with the listed names were moved into the folder; each name is listed a single time.
    Moved(Vec<String>),
    /// The kernel's queue overflowed: files may have been moved in unnoticed.
    Missed,
    /// The folder was removed or moved.
    Gone,
}

/// A watched folder. Dropping the value ends the watch.
pub(crate) struct Folder {
    inotify: AsyncFd<OwnedFd>,
}

impl Folder {
    /// Starts a watch: files moved into the folder from now on are reported.
    #[expect(
        deprecated,
        reason = "sound here: an OwnedFd names the same file for as long as it lives"
    )]
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        let inotify = inotify::init(CreateFlags::NONBLOCK | CreateFlags::CLOEXEC)?;
        let mask = WatchFlags::MOVED_TO | WatchFlags::DELETE_SELF | WatchFlags::MOVE_SELF | WatchFlags::ONLYDIR;
        inotify::add_watch(&inotify, path, mask)?;
        Ok(Self {
            inotify: AsyncFd::new(inotify)?,
        })
    }

    /// Waits for the next event. Cancel safe.
    pub(crate) async fn next(&mut self) -> io::Result<FolderEvent> {
        loop {
            let mut guard = self.inotify.readable().await?;
            match guard.try_io(|inotify| read(inotify.get_ref())) {
                Ok(Ok(FolderEvent::Moved(names))) if names.is_empty() => {}
                Ok(seen) => return seen,
                Err(_would_block) => {}
            }
        }
    }
}

/// Reads a buffer of events and returns the most important event.
fn read(inotify: &OwnedFd) -> io::Result<FolderEvent> {
    let mut buffer = [MaybeUninit::uninit(); BUFFER];
    let mut reader = Reader::new(inotify, &mut buffer);
    let (mut names, mut missed, mut gone) = (Vec::new(), false, false);
    loop {
        let event = reader.next()?;
        let mask = event.events();
        gone |= mask.intersects(GONE) || is_self(mask);
        missed |= mask.contains(ReadFlags::QUEUE_OVERFLOW);
        let name = event.file_name().and_then(|name| name.to_str().ok());
        if let Some(name) = name.filter(|_| mask.contains(ReadFlags::MOVED_TO))
            && !names.iter().any(|known| known == name)
        {
            names.push(name.to_owned());
        }
        if reader.is_buffer_empty() {
            break;
        }
    }
    Ok(match (gone, missed) {
        (true, _) => FolderEvent::Gone,
        (false, true) => FolderEvent::Missed,
        (false, false) => FolderEvent::Moved(names),
    })
}

/// Masks that end the watch.
const GONE: ReadFlags = ReadFlags::IGNORED.union(ReadFlags::UNMOUNT);

fn is_self(mask: ReadFlags) -> bool {
    mask.intersects(ReadFlags::DELETE_SELF | ReadFlags::MOVE_SELF)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[tokio::test]
    async fn reports_files_moved_in_and_ignores_files_written_in_place() {
        let dir = tempfile::tempdir().expect("a folder");
        let (watched, other) = (dir.path().join("watched"), dir.path().join("other"));
        fs::create_dir(&watched).expect("made");
        let mut folder = Folder::open(&watched).expect("watched");
        fs::write(watched.join("written"), "x").expect("written");
        fs::hard_link(watched.join("written"), watched.join("linked")).expect("linked");
        fs::write(&other, "x").expect("written");
        fs::rename(&other, watched.join("moved")).expect("moved");
        fs::rename(watched.join("moved"), watched.join("again")).expect("moved");
        let seen = folder.next().await.expect("seen");
        assert_eq!(seen, FolderEvent::Moved(vec!["moved".to_owned(), "again".to_owned()]));
        fs::remove_dir_all(&watched).expect("removed");
        assert_eq!(folder.next().await.expect("seen"), FolderEvent::Gone);
    }

    #[test]
    fn refuses_to_watch_anything_but_a_folder() {
        let dir = tempfile::tempdir().expect("a folder");
        let file = dir.path().join("file");
        fs::write(&file, "").expect("written");
        let open = |path: &Path| {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            let _inside = runtime.expect("a runtime");
            Folder::open(path).map(|_| ()).expect_err("no folder").kind()
        };
        assert_eq!(open(&file), io::ErrorKind::NotADirectory);
        assert_eq!(open(&dir.path().join("nothing")), io::ErrorKind::NotFound);
    }
}
