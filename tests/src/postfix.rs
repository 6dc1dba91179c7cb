//! A Postfix of a test's own: its folder, its port on loopback, its queue. The system's Postfix is left alone.

use std::io::Write as _;
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use crate::skip::skipped;
use crate::tool::{free_address, tool};
use crate::wait::eventually;

/// A running Postfix. Stopped when dropped.
pub struct Postfix {
    program: PathBuf,
    folder: tempfile::TempDir,
    address: SocketAddr,
    master: Child,
}

impl Postfix {
    /// Starts a Postfix with `settings` added to its `main.cf`; it listens on a loopback address of
    /// this process and relays what it gets from loopback. `None`, with a line SKIPPED, without Postfix or without root.
    ///
    /// # Panics
    /// If Postfix does not start.
    pub fn start(settings: &str) -> Option<Self> {
        let program = tool("postfix")?;
        if !rustix::process::geteuid().is_root() {
            skipped("only root can run Postfix");
            return None;
        }
        let folder = tempfile::Builder::new().prefix("posthouse-postfix-").tempdir().ok()?;
        let address = free_address();
        write_files(folder.path(), address, settings);
        let configuration = folder.path().join("etc");
        let checked = Command::new(&program)
            .arg("-c")
            .arg(&configuration)
            .arg("check")
            .output();
        let checked = checked.expect("Postfix runs");
        assert!(checked.status.success(), "{}", String::from_utf8_lossy(&checked.stderr));
        let master = Command::new("/usr/lib/postfix/sbin/master")
            .args(["-d", "-c"])
            .arg(&configuration)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("Postfix's master starts");
        let postfix = Self {
            program,
            folder,
            address,
            master,
        };
        eventually("Postfix", || TcpStream::connect(postfix.address()).ok());
        Some(postfix)
    }

    /// Returns the address of the SMTP server.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Returns the log so far.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }

    /// Has the deferred messages of the queue tried at once.
    pub fn flush(&self) {
        let _ = Command::new(&self.program)
            .arg("-c")
            .arg(self.folder.path().join("etc"))
            .arg("flush")
            .output();
    }
}

impl Drop for Postfix {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("Postfix's log:\n{}", self.log());
        }
        // The master ends its own processes when it is told to stop.
        let stopped = Command::new(&self.program)
            .arg("-c")
            .arg(self.folder.path().join("etc"))
            .arg("stop")
            .output();
        if stopped.is_err() {
            let _ = self.master.kill();
        }
        let _ = self.master.wait();
    }
}

fn write_files(folder: &Path, address: SocketAddr, settings: &str) {
    for part in ["etc", "queue", "data"] {
        std::fs::create_dir_all(folder.join(part)).expect("a folder");
    }
    // Its processes run as another user.
    std::fs::set_permissions(folder, std::os::unix::fs::PermissionsExt::from_mode(0o755)).expect("a folder");
    let owned = Command::new("chown").arg("postfix").arg(folder.join("data")).status();
    assert!(owned.is_ok_and(|status| status.success()), "chown");
    let root = folder.display();
    let main = format!(
        "compatibility_level = 3.6\nqueue_directory = {root}/queue\ndata_directory = {root}/data\n\
         command_directory = /usr/sbin\ndaemon_directory = /usr/lib/postfix/sbin\nmaillog_file = {root}/log\n\
         maillog_file_prefixes = {root}\nmyhostname = mx.postfix.test\nmydestination =\ninet_interfaces = 127.0.0.1\n\
         inet_protocols = ipv4\nmynetworks = 127.0.0.0/8\nalias_maps =\nlocal_recipient_maps =\n\
         smtpd_recipient_restrictions = permit_mynetworks, reject\nin_flow_delay = 0\n{settings}\n"
    );
    std::fs::write(folder.join("etc/main.cf"), main).expect("main.cf");
    let shipped = std::fs::read_to_string("/usr/share/postfix/master.cf.dist").expect("Debian's master.cf");
    let mut master = std::fs::File::create(folder.join("etc/master.cf")).expect("master.cf");
    for line in shipped.lines() {
        writeln!(master, "{}", service(line, address)).expect("master.cf");
    }
}

/// Returns a line of Debian's `master.cf` without chroot and with our address.
fn service(line: &str, address: SocketAddr) -> String {
    let mut words: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
    if words.len() < 8 || line.starts_with(['#', ' ']) {
        return line.to_owned();
    }
    words[4] = "n".to_owned();
    if words[0] == "smtp" && words[1] == "inet" {
        words[0] = address.to_string();
    }
    words.join(" ")
}
