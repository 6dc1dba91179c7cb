//! An Exim of a test's own: its folder, its port on loopback, its queue.

use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use crate::skip::skipped;
use crate::tool::{free_address, tool};
use crate::wait::eventually;

/// Folder of Exim's files where Postfix is installed: the packages of the two exclude each other.
const BESIDE_POSTFIX: &str = "/opt/posthouse-exim/usr/sbin/exim4";

/// A running Exim. Stopped when dropped.
pub struct Exim {
    folder: tempfile::TempDir,
    address: SocketAddr,
    daemon: Child,
}

impl Exim {
    /// Starts an Exim that passes mail on by `routes`, each a domain and the address of its host. `None`, with a line
    /// SKIPPED, without Exim or without root.
    ///
    /// # Panics
    /// If Exim does not start.
    pub fn start(routes: &[(&str, SocketAddr)]) -> Option<Self> {
        let program = match Path::new(BESIDE_POSTFIX) {
            file if file.is_file() => file.to_owned(),
            _ => tool("exim4")?,
        };
        if !rustix::process::geteuid().is_root() {
            skipped("only root can run Exim");
            return None;
        }
        let folder = tempfile::Builder::new().prefix("posthouse-exim-").tempdir().ok()?;
        std::fs::set_permissions(folder.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755)).ok()?;
        for part in ["spool", "log"] {
            let part = folder.path().join(part);
            std::fs::create_dir(&part).expect("a folder");
            let owned = Command::new("chown").arg("Debian-exim").arg(part).status();
            assert!(owned.is_ok_and(|status| status.success()), "chown");
        }
        let address = free_address();
        let configuration = folder.path().join("exim.conf");
        std::fs::write(&configuration, text(&program, folder.path(), address, routes)).expect("exim.conf");
        let daemon = Command::new(&program)
            .arg("-C")
            .arg(&configuration)
            .args(["-bdf", "-q5s"])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("Exim starts");
        let exim = Self {
            folder,
            address,
            daemon,
        };
        eventually("Exim", || TcpStream::connect(exim.address).ok());
        Some(exim)
    }

    /// Returns the address of the SMTP server.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Returns the main log so far.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("log/mainlog")).unwrap_or_default()
    }
}

impl Drop for Exim {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("Exim's log:\n{}", self.log());
        }
        let _ = self.daemon.kill();
        let _ = self.daemon.wait();
    }
}

fn text(program: &Path, folder: &Path, address: SocketAddr, routes: &[(&str, SocketAddr)]) -> String {
    let (root, program) = (folder.display(), program.display());
    let (ip, port) = (address.ip(), address.port());
    let routes: Vec<String> = routes
        .iter()
        .map(|(domain, host)| format!("{domain} {}::{} byname", host.ip(), host.port()))
        .collect();
    let routes = routes.join(" ; ");
    format!(
        "exim_path = {program}\nprimary_hostname = mx.exim.test\nspool_directory = {root}/spool\n\
         log_file_path = {root}/log/%slog\npid_file_path = {root}/exim.pid\nlocal_interfaces = <; [{ip}]:{port}\n\
         dsn_advertise_hosts = *\nchunking_advertise_hosts = *\ntls_advertise_hosts =\nacl_smtp_rcpt = any\n\
         host_lookup =\nrfc1413_query_timeout = 0s\nnever_users =\nkeep_environment =\n\
         begin acl\nany:\n  accept\n\
         begin routers\nall:\n  driver = manualroute\n  domains = *\n  route_list = {routes}\n  transport = out\n  self = send\n\
         begin transports\nout:\n  driver = smtp\n  hosts_try_chunking = *\n  interface = 127.0.0.3\n  allow_localhost\n\
         begin retry\n* * F,1h,1s\n"
    )
}
