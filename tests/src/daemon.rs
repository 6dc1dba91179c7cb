//! The daemon under test while it runs.

use std::net::SocketAddr;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Instant;

use rustix::process::{Pid, Signal, kill_process};

use crate::client::Client;
use crate::events::{Event, Events};
use crate::site::PASSWORD;
use crate::wait::{PATIENCE, eventually};

/// A `posthouse run` of the test's own; killed when dropped.
pub struct Daemon {
    child: Child,
    events: Events,
    listeners: Vec<(String, SocketAddr)>,
}

impl Daemon {
    /// Starts it and waits for Event 5000.
    pub(crate) fn start(command: &mut Command) -> Self {
        let mut daemon = Self::spawn(command);
        let started = daemon.events.take(5000);
        daemon.listeners = listeners(&started);
        daemon
    }

    /// Starts it and waits for nothing: for starts that are to fail.
    pub(crate) fn spawn(command: &mut Command) -> Self {
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("{command:?}: {error}"));
        let events = Events::default();
        events.follow(child.stdout.take().expect("stdout is a pipe"));
        events.listen(child.stderr.take().expect("stderr is a pipe"));
        Self {
            child,
            events,
            listeners: Vec::new(),
        }
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// What it said.
    pub fn events(&self) -> &Events {
        &self.events
    }

    /// Where a listener is bound.
    ///
    /// # Panics
    /// When there is no such listener.
    pub fn address(&self, listener: &str) -> SocketAddr {
        let found = self.listeners.iter().find(|(name, _)| name == listener);
        found
            .unwrap_or_else(|| panic!("no listener {listener} in {:?}", self.listeners))
            .1
    }

    /// A client on the `smtp` listener that has read the banner.
    pub fn connect(&self) -> Client {
        self.connect_from("127.0.0.1")
    }

    /// As [`Self::connect`], from another loopback address.
    pub fn connect_from(&self, source: &str) -> Client {
        let mut client = Client::connect(self.address("smtp"), Some(source));
        client.expect_reply(220);
        client
    }

    /// A message from anna, who logs in; the id that it was given.
    ///
    /// # Panics
    /// When it is not taken.
    pub fn submit(&self, recipients: &[&str], subject: &str) -> String {
        let mut client = self.connect();
        client.login("anna", PASSWORD);
        let message = format!("From: <anna@posthouse.test>\nSubject: {subject}\n\nHello.\n");
        let reply = client.submit("anna@posthouse.test", recipients, &message);
        assert_eq!(reply.code, 250, "{}", client.transcript());
        client.quit();
        reply.line().rsplit(' ').next().unwrap_or_default().to_owned()
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: Signal) {
        let pid = Pid::from_child(&self.child);
        kill_process(pid, signal).unwrap_or_else(|error| panic!("signal {signal:?} to {pid:?}: {error}"));
    }

    /// SIGHUP.
    pub fn reload(&self) {
        self.signal(Signal::HUP);
    }

    /// Asks it to stop and waits for its end.
    ///
    /// # Panics
    /// When it does not end.
    pub fn stop(mut self) -> (ExitStatus, Events) {
        self.signal(Signal::TERM);
        (self.wait(), self.events.clone())
    }

    /// Ends it as a power cut would, and returns what it said until then.
    pub fn kill(mut self) -> Events {
        let _ = self.child.kill();
        let _ = self.child.wait();
        self.events.clone()
    }

    /// Whether it still runs.
    pub fn is_running(&mut self) -> bool {
        self.child.try_wait().expect("a child can be waited for").is_none()
    }

    /// Waits until it ends by itself.
    ///
    /// # Panics
    /// When it does not.
    pub fn wait(&mut self) -> ExitStatus {
        let deadline = Instant::now() + PATIENCE;
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

/// `name address` of each listener in Event 5000.
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
