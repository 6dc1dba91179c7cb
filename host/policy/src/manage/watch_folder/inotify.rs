//! inotify on one folder.

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::fs::inotify::{self, CreateFlags, ReadFlags, Reader, WatchFlags};
use tokio::io::unix::AsyncFd;

/// Bytes of events read at once; the longest event takes 272.
const BUFFER: usize = 8 << 10;

/// What happened to a folder.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum FolderEvent {
    /// Files with these names were moved into it, each named once.
    Moved(Vec<String>),
    /// Too much happened at once: something may have been moved into it.
    Missed,
    /// It is not there any more, or not where it was.
    Gone,
}

/// A folder that is watched. Dropping it ends that.
pub(crate) struct Folder {
    inotify: AsyncFd<OwnedFd>,
}

impl Folder {
    /// Whatever is moved into the folder from now on will be seen.
    #[expect(
        deprecated,
        reason = "sound here: an OwnedFd names the same file for as long as it lives"
    )]
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        let inotify = inotify::init(CreateFlags::NONBLOCK | CreateFlags::CLOEXEC)?;
        let what = WatchFlags::MOVED_TO | WatchFlags::DELETE_SELF | WatchFlags::MOVE_SELF | WatchFlags::ONLYDIR;
        inotify::add_watch(&inotify, path, what)?;
        Ok(Self {
            inotify: AsyncFd::new(inotify)?,
        })
    }

    /// Waits for something to happen.
    pub(crate) async fn next(&mut self) -> io::Result<FolderEvent> {
        loop {
            let mut ready = self.inotify.readable().await?;
            match ready.try_io(|inotify| read(inotify.get_ref())) {
                Ok(Ok(FolderEvent::Moved(names))) if names.is_empty() => {}
                Ok(seen) => return seen,
                Err(_would_block) => {}
            }
        }
    }
}

/// One buffer full of events, the most important of them.
fn read(inotify: &OwnedFd) -> io::Result<FolderEvent> {
    let mut buffer = [MaybeUninit::uninit(); BUFFER];
    let mut reader = Reader::new(inotify, &mut buffer);
    let (mut names, mut missed, mut gone) = (Vec::new(), false, false);
    loop {
        let event = reader.next()?;
        let what = event.events();
        gone |= what.intersects(GONE) || is_self(what);
        missed |= what.contains(ReadFlags::QUEUE_OVERFLOW);
        let name = event.file_name().and_then(|name| name.to_str().ok());
        if let Some(name) = name.filter(|_| what.contains(ReadFlags::MOVED_TO))
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

/// The watch has ended.
const GONE: ReadFlags = ReadFlags::IGNORED.union(ReadFlags::UNMOUNT);

fn is_self(what: ReadFlags) -> bool {
    what.intersects(ReadFlags::DELETE_SELF | ReadFlags::MOVE_SELF)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[tokio::test]
    async fn what_is_moved_in_is_seen_and_what_is_written_there_is_not() {
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
    fn only_folders_can_be_watched() {
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
