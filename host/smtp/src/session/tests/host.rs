//! A test host with a listener, and a test client.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use tempfile::TempDir;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use crate::session::{ConnectionSlot, SessionContext, SessionPermits, serve};
use host_config::{Config, Listener, ListenerTls};
use host_directory::{Directory, Entry, Login, LookupError};
use host_events::{Captured, Event, Events};
use host_mail::Mailbox;
use host_spool::{ListFilter, Message, Spool, SpoolOptions};
use host_testing::NoPolicy;

/// A directory with a single account: `anna` with the password `secret`.
struct Anna;

impl Directory for Anna {
    fn is_member<'a>(&'a self, _: &'a Mailbox, _: &'a Mailbox) -> BoxFuture<'a, Result<bool, LookupError>> {
        Box::pin(async { Ok(false) })
    }

    fn lookup<'a>(&'a self, _: &'a Mailbox) -> BoxFuture<'a, Result<Vec<Entry>, LookupError>> {
        Box::pin(async { Ok(Vec::new()) })
    }

    fn may_send_as<'a>(&'a self, _: &'a str, _: &'a Mailbox) -> BoxFuture<'a, Result<bool, LookupError>> {
        Box::pin(async { Ok(true) })
    }

    fn is_local_domain<'a>(&'a self, _: &'a str) -> BoxFuture<'a, Result<bool, LookupError>> {
        Box::pin(async { Ok(true) })
    }

    fn authenticate<'a>(&'a self, login: Login<'a>) -> BoxFuture<'a, Result<Option<String>, LookupError>> {
        let known = login.user == "anna" && login.password == "secret";
        Box::pin(async move { Ok(known.then(|| "anna".to_owned())) })
    }
}

/// A host that serves test sessions.
pub struct Host {
    pub context: SessionContext,
    pub listener: Listener,
    pub captured: Captured,
    pub stop: watch::Sender<bool>,
    pub folder: TempDir,
}

impl Host {
    /// Creates a host without TLS; `change` modifies the configuration.
    pub async fn new(change: impl FnOnce(&mut Config)) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let mut config = Config::parse("administrator = \"postmaster@example.org\"", folder.path()).expect("valid");
        config.hostname = "mail.example.org".to_owned();
        config.data = folder.path().join("data");
        config.policies.clear();
        config.low_water = 0;
        change(&mut config);
        let (events, captured) = Events::capture();
        let directory: Arc<dyn Directory> = Arc::new(Anna);
        let spool = SpoolOptions {
            low_water: config.low_water,
            memory: config.overload.memory,
            wait: config.overload.disk,
            ..SpoolOptions::default()
        };
        let session_permits = SessionPermits::new(config.overload.transactions);
        let context = SessionContext {
            tls: None,
            policies: Arc::new(NoPolicy),
            spool: Spool::open(&folder.path().join("spool"), spool, events.clone()).expect("a spool"),
            config: Arc::new(config),
            directory,
            logins: Arc::default(),
            events,
            session_permits,
        };
        let listener = Listener {
            name: "test".into(),
            address: ([127, 0, 0, 1], 0).into(),
            proxies: Vec::new(),
            tls: ListenerTls::Off,
            auth: true,
            mechanisms: None,
            client_ca: None,
            auth_without_tls: false,
            undeclared_eight_bit: true,
            strict_hello: false,
            bare_addresses: false,
            xclient: Vec::new(),
            disabled_extensions: Vec::new(),
            require_authentication: false,
            require_encryption: false,
        };
        Self {
            context,
            listener,
            captured,
            stop: watch::channel(false).0,
            folder,
        }
    }

    /// Enables STARTTLS or implicit TLS.
    pub fn with_tls(mut self, tls: ListenerTls) -> Self {
        let files = host_config::make_self_signed(self.folder.path(), "mail.example.org")
            .expect("a certificate")
            .files;
        let config = host_config::server_config(&files).expect("usable");
        self.context.tls = Some(config.into());
        self.listener.tls = tls;
        self
    }

    /// Connects a client without serving the connection. The returned closure starts the session.
    pub async fn connect_unserved(&self) -> (Client<TcpStream>, impl FnOnce()) {
        let socket = TcpListener::bind(self.listener.address).await.expect("loopback");
        let stream = TcpStream::connect(socket.local_addr().expect("bound"))
            .await
            .expect("loopback");
        let (accepted, peer) = socket.accept().await.expect("loopback");
        let (context, listener) = (self.context.clone(), Arc::new(self.listener.clone()));
        let stop = self.stop.subscribe();
        let start = move || {
            tokio::spawn(serve(
                context,
                listener,
                accepted,
                peer,
                Arc::<ConnectionSlot>::default(),
                stop,
            ));
        };
        (Client { stream }, start)
    }

    /// Connects a client and reads the greeting.
    pub async fn connect(&self) -> Client<TcpStream> {
        let (mut client, start) = self.connect_unserved().await;
        start();
        assert!(client.reply().await.starts_with("220 mail.example.org "));
        client
    }

    /// Connects a client, reads the greeting and sends EHLO.
    pub async fn greeted(&self) -> Client<TcpStream> {
        let mut client = self.connect().await;
        assert!(
            client
                .say("EHLO client.example")
                .await
                .starts_with("250-mail.example.org\r\n")
        );
        client
    }

    /// Lists the messages in the spool.
    pub fn spooled(&self) -> Vec<Message> {
        let all = ListFilter {
            limit: 1000,
            ..ListFilter::default()
        };
        self.context.spool.list(&all).expect("readable").messages
    }

    /// Returns the content of the only message in the spool.
    pub fn content(&self) -> Vec<u8> {
        let [message] = &self.spooled()[..] else {
            panic!("not one message")
        };
        let (_, content) = self.context.spool.get(message.id).expect("readable").expect("there");
        assert_eq!(content.size(), message.size);
        content.read(0, usize::MAX).expect("readable").to_vec()
    }

    /// Waits for an event, at most 10 seconds.
    pub async fn event(&self, id: u32) -> Event {
        for _ in 0..1000 {
            if let Some(event) = self.captured.events().into_iter().find(|event| event.entry().id == id) {
                return event;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("no event {id} among {:?}", self.captured.ids());
    }
}

/// The client's side of a connection.
pub struct Client<S> {
    pub stream: S,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Client<S> {
    pub async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.stream.write_all(bytes.as_ref()).await.expect("the host listens");
    }

    /// Reads a reply with all lines; empty at the end of the connection.
    pub async fn reply(&mut self) -> String {
        let mut text = String::new();
        loop {
            let start = text.len();
            while !text[start..].ends_with("\r\n") {
                match self.stream.read_u8().await {
                    Ok(octet) => text.push(char::from(octet)),
                    Err(_) => return text,
                }
            }
            if text.as_bytes().get(start + 3) == Some(&b' ') {
                return text;
            }
        }
    }

    /// Sends a command and reads the reply.
    pub async fn say(&mut self, line: &str) -> String {
        self.send(format!("{line}\r\n")).await;
        self.reply().await
    }

    /// Sends each command and checks the beginning of the reply.
    pub async fn play(&mut self, script: &[(&str, &str)]) {
        for (line, expected) in script {
            let reply = self.say(line).await;
            assert!(reply.starts_with(expected), "{line}: expected {expected}, got {reply}");
        }
    }

    /// Sends a message to a single recipient and returns the reply to the final dot.
    pub async fn deliver(&mut self, parameters: &str, message: impl AsRef<[u8]>) -> String {
        let mail = format!("MAIL FROM:<anna@example.org>{parameters}");
        self.play(&[(&mail, "250"), ("RCPT TO:<bob@example.org>", "250"), ("DATA", "354")])
            .await;
        self.send(message).await;
        self.send("\r\n.\r\n").await;
        self.reply().await
    }

    /// Reads up to the end of the connection.
    pub async fn rest(&mut self) -> String {
        let mut rest = Vec::new();
        let _ = self.stream.read_to_end(&mut rest).await;
        String::from_utf8_lossy(&rest).into_owned()
    }
}
