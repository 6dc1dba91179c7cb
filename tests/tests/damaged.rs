//! Robustness against damaged components: a thousand damaged copies are loaded into a daemon under traffic.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use posthouse_tests::{Daemon, PASSWORD, Site, example};

/// Random numbers with a fixed seed (xorshift64), so that the damage is reproducible.
struct Random(u64);

impl Random {
    fn below(&mut self, below: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % below as u64).expect("below a usize")
    }
}

/// Returns a damaged copy of a component: truncated, or with 1 to 2048 flipped bits.
fn damage(component: &[u8], random: &mut Random) -> Vec<u8> {
    let mut bytes = component.to_vec();
    if random.below(2) == 0 {
        bytes.truncate(random.below(component.len()));
        return bytes;
    }
    let bits = if random.below(16) == 0 { 1 } else { 8 << random.below(9) };
    for _ in 0..bits {
        let at = random.below(bytes.len());
        bytes[at] ^= 1 << random.below(8);
    }
    bytes
}

/// Sends the request of `posthouse policy load --as extra` and returns status and answer.
fn load(socket: &Path, component: &[u8]) -> (u16, String) {
    let code = STANDARD.encode(component);
    let body = format!(r#"{{"module": "extra", "origin": "damaged", "code": "{code}"}}"#);
    let mut stream = UnixStream::connect(socket).expect("the daemon listens");
    let head = format!(
        "POST /policies HTTP/1.1\r\nHost: posthouse\r\nConnection: close\r\n\
         Content-Type: application/json\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes()).expect("written");
    stream.write_all(body.as_bytes()).expect("written");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an answer");
    let status = answer.split(' ').nth(1).and_then(|code| code.parse().ok());
    (status.unwrap_or_else(|| panic!("no answer: {answer}")), answer)
}

/// Submits messages until `done`, checks that each message is accepted, and returns the number of messages.
fn traffic(daemon: &Daemon, done: &AtomicBool) -> usize {
    let mut client = daemon.connect();
    client.login("anna", PASSWORD);
    let mut accepted = 0;
    while !done.load(Ordering::Relaxed) {
        let message = "From: <anna@posthouse.test>\nSubject: meanwhile\n\nHello.\n";
        let reply = client.submit("anna@posthouse.test", &["bert@posthouse.test"], message);
        assert_eq!(reply.code, 250, "{}", client.transcript());
        accepted += 1;
        thread::sleep(std::time::Duration::from_millis(20));
    }
    accepted
}

#[test]
fn damaged_components_are_refused_without_harm_to_the_daemon() {
    let mut site = Site::new();
    site.add("[[policy]]\nname = \"extra\"\n");
    let mut daemon = site.start();
    let pid = daemon.pid();
    let frozen = Path::new(env!("CARGO_MANIFEST_DIR")).join("guests/contract-0.1");
    let components: Vec<Vec<u8>> = [
        example("first-policy"),
        example("misbehaving"),
        example("posthouse-default-policy"),
        frozen.join("default.wasm"),
        frozen.join("first-policy.wasm"),
    ]
    .iter()
    .map(|file| std::fs::read(file).expect("a component"))
    .collect();

    let socket = site.path().join("data/control.sock");
    let mut random = Random(178_091);
    let done = AtomicBool::new(false);
    let (mut refused, mut loaded) = (0, 0);
    thread::scope(|scope| {
        let mail = scope.spawn(|| traffic(&daemon, &done));
        for number in 0..1000 {
            let component = damage(&components[number % components.len()], &mut random);
            match load(&socket, &component) {
                (200, _) => loaded += 1,
                (422, answer) => {
                    assert!(!answer.contains("defect of the host"), "{number}: {answer}");
                    refused += 1;
                }
                (status, answer) => panic!("{number}: {status}: {answer}"),
            }
            if mail.is_finished() {
                break;
            }
        }
        done.store(true, Ordering::Relaxed);
        assert!(mail.join().expect("all mail is accepted") > 0);
    });
    // Damage in unused sections, such as line tables, leaves a working policy.
    assert_eq!(refused + loaded, 1000);
    assert!(refused > 0, "no damage was ever found");
    println!("{refused} refused, {loaded} loaded");
    assert!(daemon.is_running());
    assert_eq!(daemon.pid(), pid);
    assert!(
        daemon.events().all(5037).is_empty(),
        "damaged code is never compiled in the daemon"
    );
}
