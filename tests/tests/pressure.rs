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

/// Submits a message of about 90 KB; returns the code of the reply.
fn submit(client: &mut Client, number: usize) -> u16 {
    client
        .submit("far@example.org", &["a@example.com"], &numbered(number))
        .code
}

fn numbered(number: usize) -> String {
    let lines = format!("{}\n", "x".repeat(900)).repeat(100);
    format!("Subject: number {number}.\n\n{lines}")
}

#[test]
fn full_disk_defers_mail_and_goes_on_without_a_restart() {
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
    for number in 0..10 {
        assert_eq!(submit(&mut client, number), 250, "{}", client.transcript());
    }
    // A message whose room is taken by another program while it arrives.
    let mut under_way = daemon.connect_from("127.0.0.3");
    stall(&mut under_way);
    under_way.send(numbered(10).replace('\n', "\r\n").as_bytes());
    let ballast = disk.0.join("ballast");
    // The write fails when the disk is full, as intended.
    let _ = std::fs::write(&ballast, vec![0; 12 << 20]);
    under_way.send(b".\r\n");
    under_way.expect_reply(452);
    daemon.events().take(5082);
    assert!(daemon.is_running());
    client.command("MAIL FROM:<far@example.org>", 452);
    let status = site.cli(&["status"]).text();
    assert!(status.contains("new mail is refused"), "{status}");

    std::fs::remove_file(&ballast).expect("ballast");
    daemon.events().take(5083);
    assert!(daemon.events().all(5032).is_empty());
    sink.accept_everything();
    let mut client = posthouse_tests::eventually("mail that is taken again", || {
        let mut client = daemon.connect_from("127.0.0.3");
        client.ehlo();
        client.send(b"MAIL FROM:<far@example.org>\r\n");
        (client.reply()?.code == 250).then_some(client)
    });
    client.command("RSET", 250);
    assert_eq!(submit(&mut client, 12), 250, "{}", client.transcript());
    sink.expect("Subject: number 12.");
    let (status, _) = daemon.stop();
    assert!(status.success());
    let _daemon = site.start();
    for number in 0..10 {
        sink.expect(&format!("Subject: number {number}."));
    }
    let found: Vec<bool> = sink.collect(|message| message.text.contains("Subject: number 10."));
    assert!(
        !found.contains(&true),
        "a message that was answered 452 is not delivered"
    );
}

#[test]
fn space_is_promised_before_it_is_used() {
    let mut site = Site::new();
    site.set("low-water", "4MiB").set("limits.message-size", "20MiB");
    let Some(disk) = SmallDisk::mount(&site.path().join("data"), "size=32m") else {
        posthouse_tests::skipped("no file system can be mounted here");
        return;
    };
    let mut daemon = site.start();
    let declare = |code: u16| {
        let mut client = daemon.connect_from("127.0.0.3");
        client.ehlo();
        client.command("MAIL FROM:<far@example.org> SIZE=12582912", code);
        client
    };
    let first = declare(250);
    let mut second = declare(250);
    let mut third = declare(452);
    daemon.events().take(5081);
    // The room of an abandoned transaction is free at once.
    second.command("RSET", 250);
    third.command("MAIL FROM:<far@example.org> SIZE=12582912", 250);
    drop((first, second, third));

    // Without a declared size, room is promised as the message comes.
    let mut clients: Vec<Client> = (0..10).map(|_| daemon.connect_from("127.0.0.3")).collect();
    let lines = "some text that takes up space\r\n".repeat(100_000);
    for client in &mut clients {
        stall(client);
        client.send(b"Subject: long\r\n\r\n");
        client.send(lines.as_bytes());
    }
    let codes: Vec<u16> = clients
        .iter_mut()
        .map(|client| {
            client.send(b".\r\n");
            client.reply().expect("a reply").code
        })
        .collect();
    assert!(codes.contains(&250) && codes.contains(&452), "{codes:?}");
    assert!(codes.iter().all(|code| matches!(code, 250 | 452)), "{codes:?}");
    assert!(daemon.is_running() && daemon.events().all(5082).is_empty());
    let space = rustix::fs::statvfs(&disk.0).expect("a file system");
    let free = space.f_bavail * space.f_frsize;
    assert!(free >= 3 << 20, "{free} bytes free, and the mark is 4 MiB");
}
