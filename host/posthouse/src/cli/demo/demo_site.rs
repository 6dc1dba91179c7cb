//! The demo's test site: a temporary folder with a running daemon, the daemon's events and mailboxes, and the count of
//! checked expectations.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use parking_lot::{Mutex, MutexGuard};
use serde_json::Value;
use tokio::time::sleep;

use host_directory::hash_password;
use host_engine::component::builtin;

pub(super) const ANNA: &str = "anna@demo.example";
pub(super) const BERT: &str = "bert@demo.example";
pub(super) const ADMIN: &str = "admin@demo.example";
/// An address outside of the demo's domain, unknown to the directory.
pub(super) const STRANGER: &str = "stranger@outside.example";
pub(super) const PASSWORD: &str = "correct horse battery staple";

/// Maximum wait for an expected event or state. Generous, since the demo measures no time.
const TIMEOUT: Duration = Duration::from_secs(30);
const POLL: Duration = Duration::from_millis(20);

/// Settings of the default policy in the demo, after the Connections page of Q178091.
pub(super) const SETTINGS: &str = r#"{
  "accept": {
    "from": "authenticated",
    "hosts": [{ "network": "127.0.0.2/32", "action": "accept", "exempt": ["authentication"] }]
  },
  "homing": { "required": true, "match-account": true }
}"#;

/// A daemon in a temporary folder. Drop kills the daemon.
pub(super) struct DemoSite {
    folder: tempfile::TempDir,
    daemon: Mutex<Child>,
    address: SocketAddr,
    seen: Arc<Mutex<Vec<Value>>>,
    checked: usize,
    failed: Vec<String>,
}

impl DemoSite {
    /// Writes configuration, directory and policies, starts the daemon and waits until the daemon is ready.
    pub(super) async fn start() -> Result<Self> {
        let folder = tempfile::Builder::new().prefix("posthouse-demo-").tempdir()?;
        write_files(folder.path())?;
        println!("Posthouse demo in {}\n", folder.path().display());
        println!("    $ posthouse run --config posthouse.toml");
        let mut daemon = Command::new(std::env::current_exe()?)
            .args(["run", "--config"])
            .arg(folder.path().join("posthouse.toml"))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .context("starting the daemon")?;
        let seen = Arc::new(Mutex::new(Vec::new()));
        let stdout = daemon.stdout.take().context("the daemon has no stdout")?;
        let sink = Arc::clone(&seen);
        std::thread::spawn(move || collect_events(stdout, &sink));
        let mut site = Self {
            folder,
            daemon: Mutex::new(daemon),
            address: SocketAddr::from(([127, 0, 0, 1], 0)),
            seen,
            checked: 0,
            failed: Vec::new(),
        };
        let started = site.await_event(0, 5000).await?.context("the daemon did not start")?;
        site.address = listener_address(&started).with_context(|| format!("no listener in {started}"))?;
        Ok(site)
    }

    /// Stops the daemon with SIGTERM and waits for its end.
    pub(super) async fn stop(&mut self) -> Result<()> {
        self.title("", "The daemon is stopped with SIGTERM");
        let pid = rustix::process::Pid::from_child(&self.child());
        rustix::process::kill_process(pid, rustix::process::Signal::TERM)?;
        let deadline = Instant::now() + TIMEOUT;
        while self.is_running()? && Instant::now() < deadline {
            sleep(POLL).await;
        }
        let status = self.child().try_wait()?;
        self.check(
            "it ends by itself, with exit code 0",
            status.is_some_and(|status| status.success()),
        );
        Ok(())
    }

    /// Prints failed expectations and counts. Returns true if no expectation failed.
    pub(super) fn print_result(&self) -> bool {
        println!();
        for text in &self.failed {
            println!("FAILED: {text}");
        }
        println!("{} expectations checked, {} failed.", self.checked, self.failed.len());
        self.failed.is_empty()
    }

    pub(super) fn title(&self, step: &str, text: &str) {
        println!("\n{step}{} {text}", if step.is_empty() { "--" } else { "." });
    }

    pub(super) fn check(&mut self, text: &str, holds: bool) {
        self.checked += 1;
        println!("  {} {text}", if holds { "[ok]" } else { "[FAILED]" });
        if !holds {
            self.failed.push(text.to_owned());
        }
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    pub(super) fn pid(&self) -> u32 {
        self.child().id()
    }

    pub(super) fn is_running(&self) -> Result<bool> {
        Ok(self.child().try_wait()?.is_none())
    }

    /// Runs a command of `posthouse` against the daemon. Returns success and the output of stdout and stderr.
    pub(super) fn posthouse(&self, arguments: &[&str]) -> Result<(bool, String)> {
        let output = Command::new(std::env::current_exe()?)
            .args(arguments)
            .arg("--config")
            .arg(self.folder.path().join("posthouse.toml"))
            .current_dir(self.folder.path())
            .output()?;
        let text = [output.stdout, output.stderr].concat();
        Ok((output.status.success(), String::from_utf8_lossy(&text).into_owned()))
    }

    pub(super) fn load_policy(&mut self, file: &str, settings: Option<&str>) -> Result<()> {
        let mut arguments = vec!["policy", "load", file];
        if let Some(settings) = settings {
            arguments.extend(["--settings", settings]);
        } else {
            arguments.extend(["--settings", "{}"]);
        }
        println!("    $ posthouse policy load {file}");
        let (ok, text) = self.posthouse(&arguments)?;
        for line in text.lines() {
            println!("      {line}");
        }
        self.check(&format!("{file} is loaded into the running daemon"), ok);
        Ok(())
    }

    /// Runs a command and prints its output below the command line `shown`. Returns success and the output.
    pub(super) fn run_shown(&self, shown: &str, arguments: &[&str]) -> Result<(bool, String)> {
        println!("    $ posthouse {shown}");
        let (ok, text) = self.posthouse(arguments)?;
        for line in text.lines() {
            println!("      {line}");
        }
        Ok((ok, text))
    }

    /// Runs a command that must succeed.
    pub(super) fn expect_success(&mut self, shown: &str, arguments: &[&str]) -> Result<()> {
        let (ok, _) = self.run_shown(shown, arguments)?;
        self.check(&format!("posthouse {} does it", arguments[..2].join(" ")), ok);
        Ok(())
    }

    /// Runs a command that must be refused.
    pub(super) fn expect_refusal(&mut self, shown: &str, arguments: &[&str]) -> Result<()> {
        let (ok, _) = self.run_shown(shown, arguments)?;
        self.check(&format!("posthouse {} is refused", arguments[..2].join(" ")), !ok);
        Ok(())
    }

    /// Repeats a command until the JSON output meets a condition. Returns false after [`TIMEOUT`]. Exit codes are
    /// ignored, since some commands report results that way.
    pub(super) async fn await_answer(&self, arguments: &[&str], condition: impl Fn(&Value) -> bool) -> Result<bool> {
        let deadline = Instant::now() + TIMEOUT;
        while Instant::now() < deadline {
            let (_, text) = self.posthouse(arguments)?;
            if serde_json::from_str(&text).is_ok_and(|answer| condition(&answer)) {
                return Ok(true);
            }
            sleep(POLL).await;
        }
        Ok(false)
    }

    pub(super) fn queue_is_empty(&self) -> Result<bool> {
        let (ok, text) = self.posthouse(&["queue", "list", "--json"])?;
        let queue: Value = serde_json::from_str(&text).with_context(|| format!("queue list said {text}"))?;
        let messages = queue
            .as_array()
            .or_else(|| queue.get("messages").and_then(Value::as_array));
        Ok(ok && messages.is_some_and(Vec::is_empty))
    }

    /// Number of events so far, as a mark for [`DemoSite::await_event`].
    pub(super) fn events_so_far(&self) -> usize {
        self.events().len()
    }

    /// Waits for the first event with this id after the mark. Returns `None` after [`TIMEOUT`].
    ///
    /// # Errors
    /// The daemon has ended.
    pub(super) async fn await_event(&self, mark: usize, id: u64) -> Result<Option<Value>> {
        let deadline = Instant::now() + TIMEOUT;
        while Instant::now() < deadline {
            let events = self.events();
            if let Some(event) = events.iter().skip(mark).find(|event| event["id"] == id) {
                return Ok(Some(event.clone()));
            }
            if !self.is_running()? {
                bail!("the daemon has ended");
            }
            sleep(POLL).await;
        }
        Ok(None)
    }

    /// True if a notice went to this address (Event 5008).
    pub(super) fn was_notified(&self, address: &str) -> bool {
        self.events()
            .iter()
            .any(|event| event["id"] == 5008 && event["fields"]["to"].as_str() == Some(address))
    }

    fn child(&self) -> MutexGuard<'_, Child> {
        self.daemon.lock()
    }

    fn events(&self) -> Vec<Value> {
        self.seen.lock().clone()
    }

    /// Files of the messages delivered to an account.
    pub(super) fn mail(&self, address: &str) -> Result<Vec<PathBuf>> {
        let account = address.split('@').next().unwrap_or_default();
        let new = self.folder.path().join("mailboxes").join(account).join("new");
        if !new.exists() {
            return Ok(Vec::new());
        }
        let mut files = Vec::new();
        for entry in std::fs::read_dir(new)? {
            files.push(entry?.path());
        }
        Ok(files)
    }

    /// Waits for a delivered message that contains a text. Returns `None` after [`TIMEOUT`].
    pub(super) async fn await_mail(&self, address: &str, text: &str) -> Result<Option<PathBuf>> {
        let deadline = Instant::now() + TIMEOUT;
        while Instant::now() < deadline {
            if let Some(file) = self.mail(address)?.into_iter().find(|file| read(file).contains(text)) {
                return Ok(Some(file));
            }
            sleep(POLL).await;
        }
        Ok(None)
    }

    pub(super) fn clear_mail(&self, address: &str) -> Result<()> {
        for file in self.mail(address)? {
            std::fs::remove_file(file)?;
        }
        Ok(())
    }

    /// Prints the first lines of a delivered file.
    pub(super) fn show_file(&self, file: &Path, lines: usize) {
        let shown = file.strip_prefix(self.folder.path()).unwrap_or(file);
        println!("    {}", shown.display());
        for line in read(file).lines().take(lines) {
            println!("    | {line}");
        }
    }
}

impl Drop for DemoSite {
    fn drop(&mut self) {
        let _ = self.child().kill();
        let _ = self.child().wait();
    }
}

/// A file as text; empty if the file cannot be read.
pub(super) fn read(file: impl AsRef<Path>) -> String {
    std::fs::read(file).map_or(String::new(), |bytes| String::from_utf8_lossy(&bytes).into_owned())
}

fn write_files(folder: &Path) -> Result<()> {
    let hash = hash_password(PASSWORD)?;
    let mut directory = String::from("domains = [\"demo.example\"]\n");
    for account in ["anna", "bert", "admin"] {
        directory.push_str(&format!(
            "\n[[account]]\nname = \"{account}\"\npassword = \"{hash}\"\naddresses = [\"{account}@demo.example\"]\n"
        ));
    }
    let settings: Value = serde_json::from_str(SETTINGS)?;
    let config = toml::to_string(&serde_json::json!({
        "hostname": "mail.demo.example",
        "administrator": ADMIN,
        "data": folder.join("data"),
        "mailboxes": folder.join("mailboxes"),
        "directory": folder.join("directory.toml"),
        "events": { "format": "json" },
        "listener": [{ "name": "smtp", "address": "127.0.0.1:0", "tls": "starttls" }],
        "policy": [{ "name": "default", "settings": settings }],
    }))?;
    std::fs::write(folder.join("directory.toml"), directory)?;
    std::fs::write(folder.join("posthouse.toml"), config)?;
    std::fs::write(folder.join("default.wasm"), builtin::DEFAULT)?;
    std::fs::write(folder.join("q178091.wasm"), builtin::Q178091)?;
    std::fs::write(folder.join("misbehaving.wasm"), builtin::MISBEHAVING)?;
    Ok(())
}

/// Prints and stores the daemon's events until stdout ends.
fn collect_events(stdout: ChildStdout, seen: &Mutex<Vec<Value>>) {
    for line in BufReader::new(stdout).lines().map_while(Result::ok) {
        let Ok(event) = serde_json::from_str::<Value>(&line) else {
            println!("    {line}");
            continue;
        };
        show_event(&event);
        seen.lock().push(event);
    }
}

fn show_event(event: &Value) {
    println!(
        "    * Event {} {} ({})",
        event["id"],
        text(&event["name"]),
        text(&event["severity"])
    );
    let fields = event["fields"].get("fault").unwrap_or(&event["fields"]);
    for (name, value) in fields.as_object().into_iter().flatten() {
        if value.is_null() {
            continue;
        }
        for (n, line) in text(value).lines().enumerate() {
            let label = if n == 0 { format!("{name}:") } else { String::new() };
            println!("        {label:<14} {line}");
        }
    }
}

fn text(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), ToOwned::to_owned)
}

fn listener_address(started: &Value) -> Option<SocketAddr> {
    let listeners = started["fields"]["listeners"].as_array()?;
    let first = listeners.first()?.as_str()?;
    first
        .split_whitespace()
        .find_map(|word| word.trim_matches(|c| "()=,".contains(c)).parse().ok())
}
