//! Files of the host are private to its user, whole or absent, and of one owner.

use std::fs::{self, Permissions};
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, PermissionsExt as _, chown};
use std::path::{Path, PathBuf};
use std::process::Command;

use posthouse_tests::{PASSWORD, Sink, Site, skipped};

/// Returns files and folders below a folder that other users can read or write, with their modes. Links and sockets are
/// left out.
fn open_to_others(folder: &Path) -> Vec<String> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(path) = folders.pop() {
        let metadata = fs::symlink_metadata(&path).expect("listed");
        let kind = metadata.file_type();
        if kind.is_symlink() || kind.is_socket() {
            continue;
        }
        if metadata.mode() & 0o077 != 0 {
            found.push(format!("{} {:o}", path.display(), metadata.mode() & 0o777));
        }
        if kind.is_dir() {
            folders.extend(
                fs::read_dir(&path)
                    .expect("a folder")
                    .map(|entry| entry.expect("an entry").path()),
            );
        }
    }
    found
}

/// Opens everything below a folder to all users, as a copy or a package does. Links are not followed.
fn open_up(folder: &Path) {
    let mut chmod = Command::new("chmod");
    assert!(
        chmod
            .args(["-R", "a+rX"])
            .arg(folder)
            .status()
            .expect("chmod")
            .success()
    );
}

/// Returns a site with the mailboxes in the data folder and a next hop that takes no mail, so that messages stay in the
/// spool.
fn full_site(sink: &Sink) -> Site {
    sink.answer("MAIL", "451 4.3.0 not yet");
    let mut site = Site::with_own_cache();
    site.set("mailboxes", "data/mailboxes");
    site.set("delivery.smart-host", sink.address().to_string());
    site
}

#[test]
fn an_open_data_folder_becomes_private_and_the_host_says_so() {
    let sink = Sink::smtp();
    let site = full_site(&sink);
    let data = site.path().join("data");
    let daemon = site.start_with_umask("000");
    // A spilled message, a small one, and one in a Maildir.
    let mut client = daemon.connect();
    client.login("anna", PASSWORD);
    let large = format!(
        "From: <anna@posthouse.test>\nSubject: large\n\n{}",
        "x\n".repeat(300_000)
    );
    assert_eq!(
        client.submit("anna@posthouse.test", &["far@example.org"], &large).code,
        250
    );
    client.quit();
    daemon.submit(&["far@example.org", "bert@posthouse.test"], "small");
    site.mailbox_in("data/mailboxes", "bert").expect("small");
    daemon.events().take(2000);
    assert_eq!(open_to_others(&data), Vec::<String>::new(), "whatever the umask");
    assert!(daemon.stop().0.success());

    open_up(&data);
    let checked = site.cli(&["check"]);
    assert!(checked.stderr.contains("open to other users"), "{}", checked.text());
    assert!(!open_to_others(&data).is_empty(), "check changes nothing");

    let daemon = site.start_with_umask("000");
    let event = daemon.events().take(5071);
    assert!(event.text("count").parse::<u32>().expect("a number") > 10, "{event:?}");
    assert!(event.text("files").contains("data"), "{event:?}");
    assert_eq!(open_to_others(&data), Vec::<String>::new());
    let socket = fs::symlink_metadata(data.join("control.sock")).expect("the socket");
    assert_eq!(socket.mode() & 0o777, 0o660);
    assert!(daemon.stop().0.success());

    let daemon = site.start_with_umask("000");
    assert!(daemon.stop().1.all(5071).is_empty(), "nothing was left to tighten");
}

#[test]
fn an_edited_directory_file_keeps_its_mode_and_leaves_no_draft() {
    let site = Site::new();
    let directory = site.path().join("directory.toml");
    fs::set_permissions(&directory, Permissions::from_mode(0o640)).expect("changed");
    site.cli(&[
        "account",
        "add",
        "dora",
        "--address",
        "dora@posthouse.test",
        "--no-password",
    ])
    .ok();
    assert_eq!(fs::metadata(&directory).expect("there").mode() & 0o777, 0o640);
    let drafts = fs::read_dir(site.path())
        .expect("a folder")
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    assert_eq!(
        drafts
            .filter(|name| name.starts_with(".new-") || name.starts_with(".tmp"))
            .count(),
        0
    );
}

#[test]
fn check_warns_of_secrets_that_other_users_can_read() {
    let mut site = Site::new();
    site.file("relay.password", "secret\n");
    site.add(
        "[delivery]\nsmart-host = 'relay.example.net:587'\n\
         [[delivery.login]]\nserver = 'relay.example.net:587'\nuser = 'x'\npassword-file = 'relay.password'\n",
    );
    let password = site.path().join("relay.password");
    for (mode, part) in [
        (
            0o644,
            Some("relay.password can be read by every user (mode 0644): chmod 600 "),
        ),
        (
            0o640,
            Some("relay.password can be read by its group (mode 0640): chmod 600 "),
        ),
        (0o600, None),
    ] {
        for file in [&password, &site.path().join("directory.toml")] {
            fs::set_permissions(file, Permissions::from_mode(mode)).expect("changed");
        }
        let checked = site.cli(&["check"]);
        assert!(checked.status.success(), "{}", checked.text());
        let mut warnings = checked.stderr.lines().filter(|line| line.contains("can be read by"));
        assert_eq!(
            warnings.clone().count(),
            if part.is_some() { 2 } else { 0 },
            "{}",
            checked.text()
        );
        if let Some(part) = part {
            let login = warnings.find(|line| line.contains("delivery.login[0].password-file: "));
            let login = login.unwrap_or_else(|| panic!("{}", checked.text()));
            assert!(login.starts_with("warning: line ") && login.contains(part), "{login}");
        }
    }
    fs::set_permissions(&password, Permissions::from_mode(0o604)).expect("changed");
    let daemon = site.start();
    let warnings = daemon.events().take(5070).text("warnings");
    assert!(
        warnings.contains("relay.password can be read by every user"),
        "{warnings}"
    );
}

#[test]
fn a_wrong_owner_in_the_data_folder_is_named_with_what_to_do() {
    let site = Site::new();
    assert!(site.start().stop().0.success());
    let spool = site.path().join("data/spool/format");
    if chown(&spool, Some(65534), Some(65534)).is_err() {
        skipped("only root can give a file to another user");
        return;
    }
    let checked = site.cli(&["check"]);
    let told = checked
        .stderr
        .lines()
        .find(|line| line.contains("spool/format: not owned by root: chown -R root "));
    assert!(told.is_some(), "{}", checked.text());
    let daemon = site.start();
    let warnings = daemon.events().take(5070).text("warnings");
    assert!(warnings.contains("spool/format: not owned by root"), "{warnings}");
    assert!(warnings.contains("the host runs as root"), "{warnings}");
}

#[test]
fn a_user_who_cannot_use_the_data_folder_is_told_its_owner() {
    let site = Site::new();
    let data = site.path().join("data");
    fs::create_dir_all(data.join("spool")).expect("made");
    fs::write(data.join("spool/format"), "posthouse-spool 1\n").expect("written");
    fs::set_permissions(data.join("spool/format"), Permissions::from_mode(0o600)).expect("changed");
    let mut others = vec![
        site.path().to_owned(),
        data.clone(),
        data.join("spool"),
        data.join("policies"),
    ];
    others.extend(["directory.toml", "posthouse.toml", "mail"].map(|name| site.path().join(name)));
    fs::create_dir_all(site.path().join("mail")).expect("made");
    // The binary must be within reach of that user, too.
    let binary = site.path().join("posthouse");
    fs::copy(posthouse_tests::posthouse(), &binary).expect("copied");
    fs::set_permissions(&binary, Permissions::from_mode(0o755)).expect("changed");
    if others.iter().any(|path| chown(path, Some(65534), Some(65534)).is_err()) {
        skipped("only root can give a file to another user");
        return;
    }
    let run = Command::new("setpriv")
        .args(["--reuid", "65534", "--regid", "65534", "--clear-groups"])
        .arg(&binary)
        .args(["run", "--config"])
        .arg(site.configuration_file())
        .output();
    let Ok(run) = run else {
        skipped("setpriv is missing");
        return;
    };
    let told = String::from_utf8_lossy(&run.stdout);
    assert!(!run.status.success(), "{told}");
    assert!(told.contains("spool/format: not usable for "), "{told}");
    assert!(told.contains("since the owner is root: chown -R "), "{told}");
}

#[test]
fn a_self_signed_certificate_that_cannot_be_used_is_made_again() {
    let site = Site::new();
    assert!(site.start().stop().0.success());
    let certificate = site.path().join("data/tls/self-signed.pem");
    for damage in ["", "-----BEGIN CERTIFICATE-----\nAAAA\n"] {
        fs::write(&certificate, damage).expect("written");
        let daemon = site.start();
        let event = daemon.events().take(5072);
        assert!(event.text("file").ends_with("self-signed.pem"), "{event:?}");
        let mut client = daemon.connect();
        client.ehlo();
        client.starttls();
        client.ehlo();
        assert!(daemon.stop().0.success());
    }
    assert!(
        fs::read_to_string(certificate)
            .expect("there")
            .contains("END CERTIFICATE")
    );
}

/// A small file system mounted at a folder; unmounted when dropped.
struct SmallDisk(PathBuf);

impl SmallDisk {
    /// Mounts a tmpfs; `None` without the permission to mount.
    fn mount(at: &Path, size: &str) -> Option<Self> {
        fs::create_dir_all(at).expect("the folder can be made");
        let disk = Self(at.to_owned());
        disk.run(&["-t", "tmpfs", "-o", size, "tmpfs"]).then_some(disk)
    }

    fn grow(&self, size: &str) {
        assert!(
            self.run(&["-o", &format!("remount,{size}")]),
            "remount {}",
            self.0.display()
        );
    }

    fn run(&self, arguments: &[&str]) -> bool {
        let mounted = Command::new("mount").args(arguments).arg(&self.0).output();
        mounted.is_ok_and(|output| output.status.success())
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // A failure leaves a mount in a temporary folder.
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

#[test]
fn a_first_start_on_a_full_disk_does_not_hinder_later_ones() {
    let mut failed = 0;
    for pages in [2, 4, 8, 12, 16, 24, 40, 80] {
        let mut site = Site::new();
        site.set("low-water", "1KiB");
        let Some(disk) = SmallDisk::mount(&site.path().join("data"), &format!("size={}k", pages * 4)) else {
            skipped("no file system can be mounted here");
            return;
        };
        let mut daemon = site.spawn();
        if daemon.events().first_of(&[5000, 5032]) != Some(5000) {
            failed += 1;
            daemon.wait();
        }
        drop(daemon);
        disk.grow("size=64m");
        let daemon = site.start();
        daemon.submit(&["bert@posthouse.test"], "there is room");
        site.mailbox("bert").expect("there is room");
        assert!(daemon.stop().0.success());
    }
    assert!(failed > 0, "every start had room");
}

#[test]
fn maildirs_outside_the_data_folder_are_closed_to_others() {
    let site = Site::new();
    let mail = site.path().join("mail");
    let message = mail.join("bert/cur/1:2,S");
    for name in ["cur", "new", "tmp"] {
        fs::create_dir_all(mail.join("bert").join(name)).expect("made");
    }
    fs::write(&message, "Subject: old\n\nsecret\n").expect("written");
    fs::create_dir_all(mail.join("notes")).expect("made");
    for (path, mode) in [(&message, 0o644), (&mail.join("bert"), 0o2775)] {
        fs::set_permissions(path, Permissions::from_mode(mode)).expect("changed");
    }
    open_up(&mail);
    let checked = site.cli(&["check"]);
    assert!(checked.stderr.contains("mailboxes"), "{}", checked.text());
    assert!(checked.stderr.contains("open to every user"), "{}", checked.text());

    let daemon = site.start_with_umask("000");
    let event = daemon.events().take(5071);
    assert!(event.text("folder").ends_with("mail"), "{event:?}");
    let mode = |path: &Path| fs::metadata(path).expect("there").mode() & 0o7777;
    assert_eq!(mode(&mail.join("bert")), 0o2770, "the group keeps its permissions");
    assert_eq!(mode(&message) & 0o007, 0);
    assert_eq!(mode(&mail) & 0o007, 0);
    assert_eq!(
        mode(&mail.join("notes")) & 0o005,
        0o005,
        "no Maildir, and behind a closed folder"
    );
    daemon.submit(&["anna@posthouse.test"], "new");
    site.mailbox("anna").expect("new");
    assert_eq!(mode(&mail.join("anna/new")), 0o700);
    assert!(daemon.stop().0.success());

    let daemon = site.start_with_umask("000");
    assert!(daemon.stop().1.all(5071).is_empty(), "nothing was left to close");
}

#[test]
fn damaged_compiled_code_is_made_again_with_an_event() {
    let site = Site::with_own_cache();
    assert!(site.start().stop().0.success());
    let modules = site.path().join("data/policies/cache/modules");
    let files = |folder: &Path| -> Vec<PathBuf> {
        let entries = fs::read_dir(folder).expect("a folder");
        entries.map(|entry| entry.expect("an entry").path()).collect()
    };
    let mut damaged = 0;
    for file in files(&modules).iter().flat_map(|release| files(release)) {
        if file.extension().is_none_or(|extension| extension != "stats") {
            let bytes = fs::read(&file).expect("the code");
            fs::write(&file, &bytes[..bytes.len() / 2]).expect("cut");
            damaged += 1;
        }
    }
    assert!(damaged > 0, "no compiled code below {}", modules.display());
    let daemon = site.start();
    let event = daemon.events().take(5072);
    assert!(event.text("file").contains("policies/cache"), "{event:?}");
    daemon.submit(&["bert@posthouse.test"], "after the repair");
    assert!(daemon.stop().0.success());
    assert!(site.start().stop().1.all(5072).is_empty(), "the code is whole again");
}
