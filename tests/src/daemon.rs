//! The running daemon under test.

use std::net::SocketAddr;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Instant;

use rustix::process::{Pid, Signal, kill_process};

use crate::client::Client;
use crate::events::{Event, Events};
use crate::site::PASSWORD;
use crate::wait::{TIMEOUT, eventually};

/// A `posthouse run` process; killed when dropped.
pub struct Daemon {
    child: Child,
    events: Events,
    listeners: Vec<(String, SocketAddr)>,
}

impl Daemon {
    /// Starts the daemon and waits for Event 5000.
    pub(crate) fn start(command: &mut Command) -> Self {
        let mut daemon = Self::spawn(command);
        let started = daemon.events.take(5000);
        daemon.listeners = listeners(&started);
        daemon
    }

    /// Starts the daemon without waiting, for tests in which the start fails.
    pub(crate) fn spawn(command: &mut Command) -> Self {
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("{command:?}: {error}"));
        let events = Events::default();
        events.follow_stdout(child.stdout.take().expect("stdout is a pipe"));
        events.follow_stderr(child.stderr.take().expect("stderr is a pipe"));
        Self {
            child,
            events,
            listeners: Vec::new(),
        }
    }

    /// Returns the process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Returns the events and log lines of the daemon.
    pub fn events(&self) -> &Events {
        &self.events
    }

    /// Returns the bound address of a listener.
    ///
    /// # Panics
    /// If the daemon has no listener of that name.
    pub fn address(&self, listener: &str) -> SocketAddr {
        let found = self.listeners.iter().find(|(name, _)| name == listener);
        found
            .unwrap_or_else(|| panic!("no listener {listener} in {:?}", self.listeners))
            .1
    }

    /// Connects to the `smtp` listener and reads the banner.
    pub fn connect(&self) -> Client {
        self.connect_from("127.0.0.1")
    }

    /// Connects like [`Self::connect`], from another loopback address.
    pub fn connect_from(&self, source: &str) -> Client {
        let mut client = Client::connect(self.address("smtp"), Some(source));
        client.expect_reply(220);
        client
    }

    /// Connects like [`Self::connect`] and authenticates as the user anna, over TLS.
    pub fn connect_as_anna(&self) -> Client {
        let mut client = self.connect();
        client.login("anna", PASSWORD);
        client
    }

    /// Submits a message as the authenticated user anna and returns the message id.
    ///
    /// # Panics
    /// If the message is not accepted.
    pub fn submit(&self, recipients: &[&str], subject: &str) -> String {
        let mut client = self.connect_as_anna();
        let message = format!("From: <anna@posthouse.test>\nSubject: {subject}\n\nHello.\n");
        let reply = client.submit("anna@posthouse.test", recipients, &message);
        assert_eq!(reply.code, 250, "{}", client.transcript());
        client.quit();
        reply.line().rsplit(' ').next().unwrap_or_default().to_owned()
    }

    /// Sends a signal to the daemon.
    pub fn signal(&self, signal: Signal) {
        let pid = Pid::from_child(&self.child);
        kill_process(pid, signal).unwrap_or_else(|error| panic!("signal {signal:?} to {pid:?}: {error}"));
    }

    /// Reloads the configuration with SIGHUP.
    pub fn reload(&self) {
        self.signal(Signal::HUP);
    }

    /// Stops the daemon with SIGTERM and waits for the exit.
    ///
    /// # Panics
    /// If the daemon does not exit in time.
    pub fn stop(mut self) -> (ExitStatus, Events) {
        self.signal(Signal::TERM);
        (self.wait(), self.events.clone())
    }

    /// Kills the daemon without a graceful stop, as after a power failure, and returns the events so far.
    pub fn kill(mut self) -> Events {
        let _ = self.child.kill();
        let _ = self.child.wait();
        self.events.clone()
    }

    /// True while the process runs.
    pub fn is_running(&mut self) -> bool {
        self.child.try_wait().expect("a child can be waited for").is_none()
    }

    /// Waits for the daemon to exit.
    ///
    /// # Panics
    /// If the daemon does not exit in time.
    pub fn wait(&mut self) -> ExitStatus {
        let deadline = Instant::now() + TIMEOUT;
        let events = self.events.clone();
        eventually("the daemon's end", || {
            let status = self.child.try_wait().expect("a child can be waited for");
            assert!(
                status.is_some() || Instant::now() < deadline,
                "still running after:\n{}",
                events.lines().join("\n")
            );
            status
        })
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Parses name and address of each listener in Event 5000.
fn listeners(started: &Event) -> Vec<(String, SocketAddr)> {
    let texts = started.fields["listeners"].as_array().cloned().unwrap_or_default();
    let texts = texts.iter().filter_map(|text| text.as_str());
    texts
        .filter_map(|text| {
            let (name, address) = text.split_once([' ', '='])?;
            Some((name.to_owned(), address.trim().parse().ok()?))
        })
        .collect()
}
