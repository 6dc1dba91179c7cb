//! A player of the scripts in `tests/dialogues`, whose language is described in the `README.md` of that folder.

mod pattern;
mod script;

use std::path::Path;

use crate::client::{Client, Reply};
use crate::daemon::Daemon;
use crate::site::Site;

pub use pattern::Pattern;
pub use script::Dialogue;
use script::{ExpectedReply, Step};

/// Plays a script against a running daemon. The error names the line of the script and contains the transcript.
pub fn play(dialogue: &Dialogue, site: &Site, daemon: &Daemon) -> Result<(), String> {
    let mut player = Player {
        site,
        daemon,
        client: None,
        last: None,
    };
    for (number, step) in &dialogue.steps {
        // A panic of the client is reported like any other mismatch.
        let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| player.perform(step)));
        let problem = match result {
            Ok(Ok(())) => continue,
            Ok(Err(problem)) => problem,
            Err(panic) => message(panic.as_ref()),
        };
        let said = player.client.as_ref().map_or("", Client::transcript);
        return Err(format!("{}:{number}: {problem}\n{said}", dialogue.name));
    }
    Ok(())
}

/// Reads every script in a folder, ordered by file name.
///
/// # Panics
/// If the folder or a script cannot be read.
pub(crate) fn read_all(folder: &Path) -> Vec<Dialogue> {
    let entries = std::fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let mut files: Vec<_> = entries.filter_map(|entry| Some(entry.ok()?.path())).collect();
    files.retain(|file| file.extension().is_some_and(|extension| extension == "smtp"));
    files.sort();
    files.iter().map(|file| Dialogue::read(file)).collect()
}

impl Dialogue {
    /// Reads every script of this repository.
    pub fn all() -> Vec<Self> {
        read_all(&Path::new(env!("CARGO_MANIFEST_DIR")).join("dialogues"))
    }
}

struct Player<'a> {
    site: &'a Site,
    daemon: &'a Daemon,
    client: Option<Client>,
    /// Last reply read.
    last: Option<Reply>,
}

impl Player<'_> {
    fn perform(&mut self, step: &Step) -> Result<(), String> {
        match step {
            Step::Connect { source, listener } => {
                let address = self.daemon.address(listener);
                self.client = Some(Client::connect(address, Some(source)));
                Ok(())
            }
            Step::Send(bytes) => self.client()?.try_send(bytes).map_err(|error| error.to_string()),
            Step::Handshake => {
                self.client()?.handshake();
                Ok(())
            }
            Step::Close => {
                self.client()?.close();
                Ok(())
            }
            Step::Expect { times, want } => (0..*times).try_for_each(|_| self.expect(want)),
            Step::Has(pattern) => self.check_lines(pattern, true),
            Step::Lacks(pattern) => self.check_lines(pattern, false),
            Step::Closed => {
                self.client()?.expect_close();
                Ok(())
            }
            Step::Delivered { account, text } => {
                self.site.mailbox(account).expect(text);
                Ok(())
            }
        }
    }

    fn client(&mut self) -> Result<&mut Client, String> {
        self.client
            .as_mut()
            .ok_or_else(|| "there is no connection yet".to_owned())
    }

    fn expect(&mut self, want: &ExpectedReply) -> Result<(), String> {
        let reply = self
            .client()?
            .try_reply()
            .map_err(|error| format!("wanted {want}, got {error}"))?;
        let reply = reply.ok_or_else(|| format!("wanted {want}, got the connection's end"))?;
        let fits = want.matches(&reply);
        let got = format!("wanted {want}, got {:?}", reply.lines);
        self.last = Some(reply);
        if fits { Ok(()) } else { Err(got) }
    }

    fn check_lines(&self, pattern: &Pattern, wanted: bool) -> Result<(), String> {
        let lines = self.last.as_ref().map_or(&[][..], |reply| &reply.lines);
        if lines.iter().any(|line| pattern.matches(line)) == wanted {
            return Ok(());
        }
        let word = if wanted { "no" } else { "an unwanted" };
        Err(format!("{word} line like {pattern} in {lines:?}"))
    }
}

fn message(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied())
        .unwrap_or("panic")
        .to_owned()
}
