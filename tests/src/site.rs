//! A site: the folder of a host with configuration, directory, data and mailboxes.

use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;
use toml::Value;

use crate::binary::{Output, posthouse, run};
use crate::daemon::Daemon;
use crate::maildir::Maildir;

/// Password of every account of the sample site.
pub const PASSWORD: &str = "correct horse";

/// Hash of [`PASSWORD`] with the cheapest parameters of argon2, so that logins do not slow the tests.
const HASH: &str = "$argon2id$v=19$m=8,t=1,p=1$cG9zdGhvdXNlLXRlc3RzIQ$xkro+PBWK38tXj35FjrzdAU9d6Yk0vFmGWupDJP7pLM";

/// Directory of the sample site; `docs/internals/testing.md` describes the accounts.
const DIRECTORY: &str = include_str!("site.directory.toml");

/// Configuration of the sample site.
const CONFIGURATION: &str = include_str!("site.posthouse.toml");

/// The folder of a test. Removed when dropped, unless the test panics.
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
    /// Creates the sample site in a new temporary folder.
    pub fn new() -> Self {
        let folder = tempfile::Builder::new()
            .prefix("posthouse-test-")
            .tempdir()
            .expect("a temporary folder");
        let root = folder.path().to_owned();
        share_compiled_policies(&root);
        make_private(&root.join("data"), 0o700);
        make_private(&root.join("data/policies"), 0o700);
        let directory = DIRECTORY.replace("HASH", HASH);
        std::fs::write(root.join("directory.toml"), directory).expect("the folder can be written");
        make_private(&root.join("directory.toml"), 0o600);
        let site = Self {
            folder: Some(folder),
            root,
            configuration: CONFIGURATION.parse().expect("the sample configuration is TOML"),
        };
        site.write();
        site
    }

    /// Creates a site whose host accepts everything from loopback, as a next hop with TLS.
    ///
    /// # Panics
    /// As [`Self::new`].
    pub fn relay() -> Self {
        let settings: toml::Table = r#"
            [accept]
            hosts = [{ network = "127.0.0.0/8", exempt = ["authentication", "encryption", "homing", "originator", "relay"] }]
        "#
        .parse()
        .expect("TOML");
        let mut site = Self::new();
        site.set("policy.settings", settings);
        site
    }

    /// Creates the sample site with a cache of compiled policies that no other site uses.
    pub fn with_own_cache() -> Self {
        let site = Self::new();
        std::fs::remove_file(site.root.join("data/policies/cache")).expect("the link to the shared cache");
        site
    }

    /// Changes one key, such as `limits.recipients` or `listener.0.tls`.
    ///
    /// # Panics
    /// If the path does not lead to a table.
    pub fn set(&mut self, path: &str, value: impl Into<Value>) -> &mut Self {
        let mut steps: Vec<&str> = path.split('.').collect();
        let last = steps.pop().unwrap_or(path);
        let mut table = &mut self.configuration;
        for step in steps {
            let entry = table.entry(step).or_insert_with(|| Value::Table(toml::Table::new()));
            table = match entry {
                Value::Table(inner) => inner,
                // The first table of an array such as `[[listener]]`.
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
    /// If `text` is not TOML.
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

    /// Inserts a policy module, in TOML, at the start of the chain. Paths `policy.KEY` of [`Self::set`] then refer to
    /// that module. Unless the text says otherwise, its limit on wall time is the generous one of the site's own
    /// module, because a busy machine answers late.
    ///
    /// # Panics
    /// If `text` is not TOML.
    pub fn prepend_policy(&mut self, text: &str) -> &mut Self {
        let mut module: toml::Table = text.parse().unwrap_or_else(|error| panic!("{error}\n{text}"));
        if let Value::Table(limits) = module
            .entry("limits")
            .or_insert_with(|| Value::Table(toml::Table::new()))
        {
            limits.entry("wall").or_insert_with(|| Value::from("5m"));
        }
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

    /// Returns the folder.
    pub fn path(&self) -> &Path {
        &self.root
    }

    /// Returns the path of the configuration file.
    pub fn configuration_file(&self) -> PathBuf {
        self.root.join("posthouse.toml")
    }

    /// Writes a file into the folder and returns the path.
    pub fn file(&self, name: &str, bytes: impl AsRef<[u8]>) -> PathBuf {
        let path = self.root.join(name);
        std::fs::write(&path, bytes).expect("the folder can be written");
        path
    }

    /// Makes `domain` a domain of the directory, and `addresses` addresses of the account anna.
    ///
    /// # Panics
    /// If the directory file is not the sample's.
    pub fn add_domain(&self, domain: &str, addresses: &[&str]) -> &Self {
        let file = self.root.join("directory.toml");
        let mut directory = std::fs::read_to_string(&file).expect("the directory is there");
        let mut add = |list: &str, more: &[&str]| {
            let more: String = more.iter().map(|each| format!(", \"{each}\"")).collect();
            assert!(directory.contains(&format!("[{list}]")), "{directory}");
            directory = directory.replacen(&format!("[{list}]"), &format!("[{list}{more}]"), 1);
        };
        add("\"posthouse.test\"", &[domain]);
        add("\"anna@posthouse.test\"", addresses);
        self.file("directory.toml", directory);
        self
    }

    /// Adds accounts, aliases or groups to the directory, in TOML.
    ///
    /// # Panics
    /// If the directory file cannot be written.
    pub fn add_to_directory(&self, text: &str) -> &Self {
        let file = self.root.join("directory.toml");
        let before = std::fs::read_to_string(&file).expect("the directory is there");
        std::fs::write(file, format!("{before}\n{text}\n")).expect("the folder can be written");
        self
    }

    /// Returns the mailbox of an account in a folder of the site that is configured as `mailboxes`.
    pub fn mailbox_in(&self, folder: &str, account: &str) -> Maildir {
        Maildir::at(self.root.join(folder).join(account))
    }

    /// Returns the mailbox of an account.
    pub fn mailbox(&self, account: &str) -> Maildir {
        Maildir::at(self.root.join("mail").join(account))
    }

    /// Starts `posthouse run` and waits until the daemon is ready.
    pub fn start(&self) -> Daemon {
        Daemon::start(&mut self.run_command())
    }

    /// Starts the daemon like [`Self::start`], with `certificate` as the only trusted certificate.
    pub fn start_trusting(&self, certificate: &Path) -> Daemon {
        Daemon::start(self.run_command().env("SSL_CERT_FILE", certificate))
    }

    /// Starts `posthouse run` without waiting.
    pub fn spawn(&self) -> Daemon {
        Daemon::spawn(&mut self.run_command())
    }

    /// Starts the daemon like [`Self::start`], with a limit on file descriptors.
    pub fn start_with_descriptors(&self, limit: u32) -> Daemon {
        Daemon::start(&mut self.run_after(&format!("ulimit -n {limit}")))
    }

    /// Starts the daemon like [`Self::start`], with a umask such as `000`.
    pub fn start_with_umask(&self, umask: &str) -> Daemon {
        Daemon::start(&mut self.run_after(&format!("umask {umask}")))
    }

    /// Returns the command that starts the daemon after a command of the shell.
    fn run_after(&self, first: &str) -> Command {
        let run = self.run_command();
        let mut shell = Command::new("sh");
        shell
            .current_dir(&self.root)
            .args(["-c", &format!("{first} && exec \"$@\""), "sh"])
            .arg(run.get_program())
            .args(run.get_args());
        shell
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

    /// Runs the command line like [`Self::cli`], with `input` on standard input.
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

/// Gives a file or folder the mode that `posthouse check` expects of files with secrets.
fn make_private(path: &Path, mode: u32) {
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).expect("a file of the test");
}

/// Links the site's cache of compiled policies to one that all sites share: each component is compiled once for the whole
/// run. A site that tests the cache removes the link; see [`Site::with_own_cache`].
fn share_compiled_policies(root: &Path) {
    let binary = posthouse();
    let target = binary
        .parent()
        .and_then(Path::parent)
        .expect("target/<profile>/posthouse");
    let shared = target.join("compiled-policies");
    std::fs::create_dir_all(&shared).expect("target can be written");
    let policies = root.join("data/policies");
    std::fs::create_dir_all(&policies).expect("the folder can be written");
    std::os::unix::fs::symlink(shared, policies.join("cache")).expect("a link to the cache");
}
