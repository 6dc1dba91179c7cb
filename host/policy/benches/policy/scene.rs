//! The scene of all measurements: a client, a message and a directory.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use criterion::Bencher;
use host_config::Config;
use host_directory::FileDirectory;
use host_events::Events;
use host_mail::{Client, Envelope, Identity, InMemory, Mailbox, ReversePath, TlsSession};
use host_policy::PolicyManager;
use tempfile::TempDir;
use tokio::runtime::{Builder, Runtime};

const DIRECTORY: &str = r#"
domains = ["example.org"]

[[account]]
name = "anna"
addresses = ["anna@example.org"]

[[account]]
name = "otto"
addresses = ["otto@example.org"]
"#;

/// Anna, authenticated, writes to Otto; both have local accounts.
pub struct Scene {
    pub client: Client,
    pub sender: ReversePath,
    pub recipient: Mailbox,
    pub envelope: Envelope,
    /// 4 KiB.
    pub message: Arc<InMemory>,
    pub directory: Arc<FileDirectory>,
    folder: TempDir,
}

impl Scene {
    pub fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("directory.toml");
        std::fs::write(&file, DIRECTORY).expect("a file");
        let directory = FileDirectory::open(file, folder.path(), address("anna@example.org")).expect("a directory");
        let sender = ReversePath::Mailbox(address("anna@example.org"));
        let mut envelope = Envelope::from_sender(sender.clone());
        envelope.recipients.push(address("otto@example.org"));
        let body = "All work and no play makes Jack a dull boy.\r\n".repeat(88);
        let message = format!("From: anna@example.org\r\nTo: otto@example.org\r\nSubject: Work\r\n\r\n{body}");
        Self {
            client: client(),
            sender,
            recipient: address("otto@example.org"),
            envelope,
            message: Arc::new(InMemory(message.into())),
            directory: Arc::new(directory),
            folder,
        }
    }

    /// Returns a folder for sockets.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Returns a chain like the daemon's, with instances that are configured when made; `module` is the rest of the
    /// `[[policy]]` table.
    pub fn policies(&self, module: &str) -> Arc<PolicyManager> {
        runtime().block_on(self.chain("prepare-after = \"1h\"", module))
    }

    /// Returns a chain with pre-initialised instances; pre-initialisation runs on `runtime`.
    pub fn prepared(&self, runtime: &Runtime, module: &str) -> Arc<PolicyManager> {
        runtime.block_on(async {
            let policies = self.chain("prepare-after = \"1ms\"", module).await;
            while policies.status()[0].prepared == "not yet" {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            policies
        })
    }

    async fn chain(&self, engine: &str, module: &str) -> Arc<PolicyManager> {
        // The limit is raised because a measurement asks many questions in a unit of work.
        let text = format!(
            "hostname = \"mail.example.org\"\nadministrator = \"anna@example.org\"\n\
             [policy-engine]\n{engine}\n\
             [[policy]]\nname = \"measured\"\n{module}\n[policy.limits]\nhost-calls = 1000000000\n"
        );
        let config = Config::parse(&text, self.folder()).expect("a configuration");
        let directory = Arc::clone(&self.directory);
        let started = PolicyManager::ephemeral(&config, directory, Events::discard()).await;
        started.expect("a policy that loads")
    }
}

pub fn address(text: &str) -> Mailbox {
    text.parse().expect("an address")
}

fn client() -> Client {
    Client {
        listener: "submission".to_owned(),
        address: [192, 0, 2, 7].into(),
        port: 49152,
        name: Some("laptop.example.org".to_owned()),
        helo: Some("laptop.example.org".to_owned()),
        tls: Some(TlsSession {
            version: "TLSv1.3".to_owned(),
            cipher: "TLS_AES_256_GCM_SHA384".to_owned(),
            subject: None,
        }),
        identity: Some(Identity {
            account: "anna".to_owned(),
            mechanism: "PLAIN".to_owned(),
        }),
        exemptions: Arc::default(),
    }
}

/// Returns a runtime of a single thread, like a worker of the daemon.
pub fn runtime() -> Runtime {
    Builder::new_current_thread().enable_all().build().expect("a runtime")
}

/// Measures `step`, repeated without leaving the runtime.
pub fn each(bencher: &mut Bencher<'_>, runtime: &Runtime, mut step: impl AsyncFnMut()) {
    bencher.iter_custom(|times| {
        runtime.block_on(async {
            let began = Instant::now();
            for _ in 0..times {
                step().await;
            }
            began.elapsed()
        })
    });
}

/// Returns cargo's target folder.
pub fn target() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target"),
        PathBuf::from,
    )
}

/// Returns a policy that the host's build, or the tests of languages, left in the target folder.
pub fn built(file: &str) -> Option<PathBuf> {
    let file = target().join(file);
    let found = file.canonicalize().ok();
    if found.is_none() {
        println!("SKIPPED: no {}", file.display());
    }
    found
}

/// Returns a policy that the host carries.
pub fn carried(name: &str) -> Option<PathBuf> {
    built(&format!("policy-wasm/wasm32-wasip2/policy/{name}.wasm"))
}
