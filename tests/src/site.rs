//! A host's folder: configuration, directory, data, mailboxes.

use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;
use toml::Value;

use crate::binary::{Output, posthouse, run};
use crate::daemon::Daemon;
use crate::maildir::Maildir;

/// Everybody's password.
pub const PASSWORD: &str = "correct horse";

/// [`PASSWORD`] with the cheapest parameters argon2 has: the tests are not about its price.
const HASH: &str = "$argon2id$v=19$m=8,t=1,p=1$cG9zdGhvdXNlLXRlc3RzIQ$xkro+PBWK38tXj35FjrzdAU9d6Yk0vFmGWupDJP7pLM";

/// Who lives at the sample site; `docs/testing.md` describes them.
const DIRECTORY: &str = include_str!("site.directory.toml");

/// What the sample site is configured like.
const CONFIGURATION: &str = include_str!("site.posthouse.toml");

/// The folder of one test. Removed when dropped, unless the test panics.
pub struct Site {
    folder: Option<TempDir>,
    root: PathBuf,
    configuration: toml::Table,
}

impl Default for Site {
    fn default() -> Self {
        Self::new()
    }
}

impl Site {
    /// The sample site.
    pub fn new() -> Self {
        let folder = tempfile::Builder::new()
            .prefix("posthouse-test-")
            .tempdir()
            .expect("a temporary folder");
        let root = folder.path().to_owned();
        let directory = DIRECTORY.replace("HASH", HASH);
        std::fs::write(root.join("directory.toml"), directory).expect("the folder can be written");
        let site = Self {
            folder: Some(folder),
            root,
            configuration: CONFIGURATION.parse().expect("the sample configuration is TOML"),
        };
        site.write();
        site
    }

    /// Changes one key, such as `limits.recipients` or `listener.0.tls`.
    ///
    /// # Panics
    /// When the path leads nowhere.
    pub fn set(&mut self, path: &str, value: impl Into<Value>) -> &mut Self {
        let mut steps: Vec<&str> = path.split('.').collect();
        let last = steps.pop().unwrap_or(path);
        let mut table = &mut self.configuration;
        for step in steps {
            let entry = table.entry(step).or_insert_with(|| Value::Table(toml::Table::new()));
            table = match entry {
                Value::Table(inner) => inner,
                // `[[listener]]` and its like: the first one.
                Value::Array(list) => match list.first_mut() {
                    Some(Value::Table(inner)) => inner,
                    other => panic!("{path}: {other:?}"),
                },
                other => panic!("{path}: {other:?}"),
            };
        }
        table.insert(last.to_owned(), value.into());
        self.write();
        self
    }

    /// Adds tables to the end of the configuration, in TOML.
    ///
    /// # Panics
    /// When it is not TOML.
    pub fn add(&mut self, text: &str) -> &mut Self {
        let more: toml::Table = text.parse().unwrap_or_else(|error| panic!("{error}\n{text}"));
        for (key, value) in more {
            match (self.configuration.get_mut(&key), value) {
                (Some(Value::Array(list)), Value::Array(more)) => list.extend(more),
                (Some(Value::Table(table)), Value::Table(more)) => table.extend(more),
                (_, value) => drop(self.configuration.insert(key, value)),
            }
        }
        self.write();
        self
    }

    /// Puts a policy's module before the others, in TOML. Those of [`Self::set`] are its keys afterwards.
    ///
    /// # Panics
    /// When it is not TOML.
    pub fn ask_first(&mut self, text: &str) -> &mut Self {
        let module: toml::Table = text.parse().unwrap_or_else(|error| panic!("{error}\n{text}"));
        match self.configuration.get_mut("policy") {
            Some(Value::Array(modules)) => modules.insert(0, Value::Table(module)),
            other => panic!("policy: {other:?}"),
        }
        self.write();
        self
    }

    fn write(&self) {
        std::fs::write(self.configuration_file(), self.configuration.to_string()).expect("the folder can be written");
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        &self.root
    }

    /// The configuration.
    pub fn configuration_file(&self) -> PathBuf {
        self.root.join("posthouse.toml")
    }

    /// Writes another file into the folder.
    pub fn file(&self, name: &str, bytes: impl AsRef<[u8]>) -> PathBuf {
        let path = self.root.join(name);
        std::fs::write(&path, bytes).expect("the folder can be written");
        path
    }

    /// Adds accounts, aliases or groups to the directory, in TOML.
    ///
    /// # Panics
    /// When the file cannot be written.
    pub fn add_to_directory(&self, text: &str) -> &Self {
        let file = self.root.join("directory.toml");
        let before = std::fs::read_to_string(&file).expect("the directory is there");
        std::fs::write(file, format!("{before}\n{text}\n")).expect("the folder can be written");
        self
    }

    /// The mailbox of an account.
    pub fn mailbox(&self, account: &str) -> Maildir {
        Maildir::at(self.root.join("mail").join(account))
    }

    /// `posthouse run`, ready.
    pub fn start(&self) -> Daemon {
        Daemon::start(&mut self.run_command())
    }

    /// As [`Self::start`], with this certificate as the only one that it trusts.
    pub fn start_trusting(&self, certificate: &Path) -> Daemon {
        Daemon::start(self.run_command().env("SSL_CERT_FILE", certificate))
    }

    /// `posthouse run`, not waited for.
    pub fn spawn(&self) -> Daemon {
        Daemon::spawn(&mut self.run_command())
    }

    /// As [`Self::start`], with no more file descriptors than this.
    pub fn start_with_descriptors(&self, most: u32) -> Daemon {
        let run = self.run_command();
        let mut limited = Command::new("sh");
        limited
            .current_dir(&self.root)
            .args(["-c", &format!("ulimit -n {most} && exec \"$@\""), "sh"])
            .arg(run.get_program())
            .args(run.get_args());
        Daemon::start(&mut limited)
    }

    fn run_command(&self) -> Command {
        self.command(&["run"])
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(posthouse());
        command
            .current_dir(&self.root)
            .args(arguments)
            .arg("--config")
            .arg(self.configuration_file());
        command
    }

    /// Runs the command line with this site's configuration.
    pub fn cli(&self, arguments: &[&str]) -> Output {
        self.cli_with_input(arguments, "")
    }

    /// As [`Self::cli`], with something on standard input.
    pub fn cli_with_input(&self, arguments: &[&str], input: &str) -> Output {
        run(&mut self.command(arguments), input)
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        if std::thread::panicking()
            && let Some(folder) = self.folder.take()
        {
            eprintln!("left for a look: {}", folder.keep().display());
        }
    }
}
