//! Sinks of events that stall or vanish: standard output, standard error, a follower of the control socket, the folder of
//! the log. None of them holds up mail, the log or the stop.

use std::io::{PipeReader, PipeWriter, Write as _};
use std::net::SocketAddr;
use std::os::unix::net::UnixStream;
use std::process::{Child, Command, ExitStatus, Stdio};

use posthouse_tests::{Client, PASSWORD, Site, eventually, posthouse};
use rustix::process::{Pid, Signal, kill_process};

/// A daemon with its own standard output and error; killed when dropped.
struct Silent<'a> {
    site: &'a Site,
    child: Child,
}

impl<'a> Silent<'a> {
    /// Starts the daemon, with both outputs into `output`, and waits until it answers.
    fn start(site: &'a Site, output: &PipeWriter) -> Self {
        let output = || Stdio::from(output.try_clone().expect("a descriptor"));
        let child = Command::new(posthouse())
            .current_dir(site.path())
            .args(["run", "--config"])
            .arg(site.configuration_file())
            .stdin(Stdio::null())
            .stdout(output())
            .stderr(output())
            .spawn()
            .expect("the daemon");
        let daemon = Self { site, child };
        eventually("the daemon's answer", || daemon.recorded(5000).then_some(()));
        daemon
    }

    /// True if the event log of the running daemon has an event.
    fn recorded(&self, id: u32) -> bool {
        let id = id.to_string();
        let socket = self.site.path().join("data/control.sock");
        socket.exists() && {
            let shown = self.site.cli(&["events", "--id", &id, "--last", "1"]);
            shown.stdout.contains(&format!(" {id} "))
        }
    }

    fn address(&self) -> SocketAddr {
        let status = self.site.cli(&["status", "--json"]).ok();
        let status: serde_json::Value = serde_json::from_str(&status).expect("JSON");
        let address = status["listeners"][0]["address"].as_str().expect("an address");
        address.parse().expect("an address")
    }

    /// Has a message accepted, after refused connections whose events fill any pipe.
    fn take_mail(&self) {
        let address = self.address();
        for _ in 0..600 {
            let mut client = Client::connect(address, Some("127.0.0.9"));
            client.expect_reply(220);
            client.command("GET / HTTP/1.1", 554);
        }
        let mut client = Client::connect(address, Some("127.0.0.3"));
        client.expect_reply(220);
        client.ehlo();
        let reply = client.submit("far@example.org", &["anna@posthouse.test"], "Subject: silence\n\nx\n");
        assert_eq!(reply.code, 250);
        self.site.mailbox("anna").expect("silence");
        eventually("the event of the message", || self.recorded(5006).then_some(()));
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).expect("the daemon runs");
    }

    fn wait(&mut self) -> ExitStatus {
        eventually("the daemon's end", || self.child.try_wait().expect("a child"))
    }
}

impl Drop for Silent<'_> {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Returns a pipe that takes nothing more.
fn full_pipe() -> (PipeReader, PipeWriter) {
    let (reader, mut writer) = std::io::pipe().expect("a pipe");
    // The capacity of a pipe (pipe(7)).
    writer.write_all(&[b'\n'; 65_536]).expect("room for that much");
    (reader, writer)
}

fn stopped(site: &Site) -> bool {
    site.cli(&["events", "--id", "5002"]).ok().contains(" 5002 ")
}

#[test]
fn unread_output_holds_neither_mail_nor_the_log_nor_the_stop() {
    let site = Site::new();
    let (_unread, output) = full_pipe();
    let mut daemon = Silent::start(&site, &output);
    daemon.take_mail();
    daemon.signal(Signal::TERM);
    assert!(daemon.wait().success());
    assert!(stopped(&site), "the log has the end");
}

#[test]
fn two_signals_end_the_daemon_at_once() {
    let mut site = Site::new();
    // A drain that would outlast the test.
    site.set("drain", "10m");
    let (_unread, output) = full_pipe();
    let mut daemon = Silent::start(&site, &output);
    let mut busy = Client::connect(daemon.address(), Some("127.0.0.3"));
    busy.expect_reply(220);
    busy.ehlo();
    busy.command("MAIL FROM:<far@example.org>", 250);
    daemon.signal(Signal::TERM);
    eventually("the drain", || daemon.recorded(5001).then_some(()));
    daemon.signal(Signal::TERM);
    daemon.wait();
}

#[test]
fn closed_output_does_not_end_the_daemon() {
    let site = Site::new();
    let (reader, output) = std::io::pipe().expect("a pipe");
    drop(reader);
    let mut daemon = Silent::start(&site, &output);
    daemon.take_mail();
    daemon.signal(Signal::TERM);
    assert!(daemon.wait().success());
    assert!(stopped(&site));
}

#[test]
fn vanished_log_and_a_deaf_follower_hold_nothing() {
    let site = Site::new();
    let daemon = site.start();
    let mut deaf = UnixStream::connect(site.path().join("data/control.sock")).expect("the control socket");
    deaf.write_all(b"GET /events?follow=true HTTP/1.1\r\nHost: posthouse\r\n\r\n")
        .expect("a request");
    std::fs::remove_dir_all(site.path().join("data/events")).expect("the log");
    for _ in 0..600 {
        let mut client = daemon.connect_from("127.0.0.9");
        client.command("GET / HTTP/1.1", 554);
    }
    daemon.submit(&["anna@posthouse.test"], "after the log");
    let shown = site.cli(&["events", "--id", "5006"]).ok();
    assert!(shown.contains(" 5006 "), "{shown}");
    let (status, _) = daemon.stop();
    assert!(status.success());
    drop(deaf);
}

#[test]
fn errors_and_the_start_survive_a_flood_of_refusals() {
    let mut site = Site::new();
    site.set("events.log-size", "256KiB");
    let daemon = site.start();
    site.file("directory.toml", "this is no directory");
    let problem = eventually("Event 5020", || {
        let mut client = daemon.connect();
        client.ehlo();
        client.starttls();
        client.auth_plain("anna", PASSWORD, 235);
        daemon.events().all(5020).into_iter().next()
    });
    assert!(!problem.text("error").is_empty());
    // More than the whole log holds, from one connection each.
    for _ in 0..3000 {
        let mut client = Client::connect(daemon.address("smtp"), Some("127.0.0.9"));
        client.send(b"GET / HTTP/1.1\r\n");
        client.expect_reply(220);
        client.expect_reply(554);
    }
    let oldest = daemon.events().take(5017).text("session");
    let shown = site.cli(&["events", "--last", "100000", "--json"]).ok();
    assert!(!shown.contains(&oldest), "the flood has outgrown the log");
    for id in [5000, 5020] {
        assert!(shown.contains(&format!("\"id\":{id},")), "{id}");
    }
}
