//! Isolation from slow clients and a full disk.

use std::path::{Path, PathBuf};
use std::process::Command;

use posthouse_tests::{Client, Sink, Site};

/// Starts a transaction up to the 354 and sends nothing more.
fn stall(client: &mut Client) {
    client.ehlo();
    for (command, code) in [
        ("MAIL FROM:<far@example.org>", 250),
        ("RCPT TO:<anna@posthouse.test>", 250),
        ("DATA", 354),
    ] {
        client.command(command, code);
    }
}

#[test]
fn stalled_clients_do_not_block_others() {
    let mut site = Site::new();
    site.set("policy-engine.instances", 2);
    let daemon = site.start();
    // More transactions are open at the same time than there are instances, and each needs an instance more than once.
    let mut stalled: Vec<Client> = (0..6).map(|_| daemon.connect_from("127.0.0.3")).collect();
    stalled.iter_mut().for_each(stall);

    let mut client = daemon.connect_from("127.0.0.3");
    client.ehlo();
    let reply = client.submit(
        "near@example.org",
        &["bert@posthouse.test"],
        "Subject: in time\n\nHello.\n",
    );
    assert_eq!(reply.code, 250, "{}", client.transcript());
    site.mailbox("bert").expect("in time");

    for (number, mut client) in stalled.into_iter().enumerate() {
        client.send(format!("Subject: late {number}\r\n\r\nHello.\r\n.\r\n").as_bytes());
        client.expect_reply(250);
        site.mailbox("anna").expect(&format!("late {number}"));
    }
}

/// A small file system mounted at a folder; unmounted when dropped.
struct SmallDisk(PathBuf);

impl SmallDisk {
    /// Mounts a tmpfs; `None` without the permission to mount.
    fn mount(at: &Path, size: &str) -> Option<Self> {
        std::fs::create_dir_all(at).expect("the folder can be made");
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", size, "tmpfs"]).arg(at);
        let mounted = mount.output().is_ok_and(|output| output.status.success());
        mounted.then(|| Self(at.to_owned()))
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // A failure leaves a mount in a temporary folder.
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

#[test]
fn full_disk_stops_the_host_without_losing_mail() {
    let sink = Sink::smtp();
    sink.answer("MAIL", "451 4.3.0 not yet");
    let mut site = Site::new();
    site.set("delivery.smart-host", sink.address().to_string());
    site.set("low-water", "1KiB");
    let Some(disk) = SmallDisk::mount(&site.path().join("data"), "size=12m") else {
        posthouse_tests::skipped("no file system can be mounted here");
        return;
    };
    let mut daemon = site.start();
    let mut client = daemon.connect_from("127.0.0.3");
    client.ehlo();
    let submit = |client: &mut Client, number: usize| {
        let message = format!(
            "Subject: number {number}.\n\n{}",
            format!("{}\n", "x".repeat(900)).repeat(100)
        );
        client.submit("far@example.org", &["a@example.com"], &message).code
    };
    let kept: Vec<usize> = (0..10).filter(|number| submit(&mut client, *number) == 250).collect();
    assert_eq!(kept.len(), 10, "{}", client.transcript());

    let ballast = disk.0.join("ballast");
    // The write fails when the disk is full, as intended.
    let _ = std::fs::write(&ballast, vec![0; 12 << 20]);
    assert_eq!(daemon.events().take(5032).text("part"), "spool");
    assert!(!daemon.wait().success());

    std::fs::remove_file(&ballast).expect("ballast");
    sink.accept_everything();
    let _daemon = site.start();
    for number in kept {
        sink.expect(&format!("Subject: number {number}."));
    }
}
