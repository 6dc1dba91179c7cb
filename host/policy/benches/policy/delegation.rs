//! The sender's question by Postfix's policy delegation protocol (`SMTPD_POLICY_README`): a request on a connection
//! that stays open, as with Postfix, to a native server that answers at once.

use std::collections::HashMap;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::Arc;
use std::thread;

use criterion::Criterion;
use futures_util::FutureExt;
use host_directory::FileDirectory;

use crate::native::may_send;
use crate::scene::Scene;

/// Request of Postfix 3.7 at MAIL.
const REQUEST: &str = "request=smtpd_access_policy
protocol_state=MAIL
protocol_name=ESMTP
client_address=192.0.2.7
client_name=laptop.example.org
client_port=49152
reverse_client_name=laptop.example.org
server_address=192.0.2.1
server_port=587
helo_name=laptop.example.org
sender=anna@example.org
recipient=
recipient_count=0
queue_id=
instance=4b2e.67419c1a.5d1b2.0
size=4096
etrn_domain=
stress=
sasl_method=PLAIN
sasl_username=anna
sasl_sender=
ccert_subject=
ccert_issuer=
ccert_fingerprint=
ccert_pubkey_fingerprint=
encryption_protocol=TLSv1.3
encryption_cipher=TLS_AES_256_GCM_SHA384
encryption_keysize=256
policy_context=
compatibility_level=3.6
mail_version=3.7.11

";

pub fn measure(criterion: &mut Criterion) {
    let scene = Scene::new();
    let mut group = criterion.benchmark_group("the sender's question elsewhere");
    let path = scene.folder().join("delegation");
    let listener = UnixListener::bind(&path).expect("a socket");
    let directory = Arc::clone(&scene.directory);
    thread::spawn(move || serve(listener.accept()?.0, &directory));
    let mut client = BufReader::new(UnixStream::connect(&path).expect("a connection"));
    group.bench_function("policy delegation, Unix socket", |bencher| {
        bencher.iter(|| ask(&mut client))
    });

    let listener = TcpListener::bind("127.0.0.1:0").expect("a socket");
    let address = listener.local_addr().expect("an address");
    let directory = Arc::clone(&scene.directory);
    thread::spawn(move || {
        let connection = listener.accept()?.0;
        connection.set_nodelay(true)?;
        serve(connection, &directory)
    });
    let client = TcpStream::connect(address).expect("a connection");
    client.set_nodelay(true).expect("an option");
    let mut client = BufReader::new(client);
    group.bench_function("policy delegation, TCP", |bencher| bencher.iter(|| ask(&mut client)));
}

fn ask<S: Read + Write>(connection: &mut BufReader<S>) {
    connection.get_mut().write_all(REQUEST.as_bytes()).expect("a request");
    let mut answer = String::new();
    while !answer.ends_with("\n\n") {
        assert_ne!(connection.read_line(&mut answer).expect("an answer"), 0);
    }
    assert_eq!(answer, "action=DUNNO\n\n");
}

/// Serves a connection until the client closes.
fn serve<S: Read + Write>(connection: S, directory: &FileDirectory) -> io::Result<()> {
    let mut connection = BufReader::new(connection);
    loop {
        let mut request = String::new();
        while !request.ends_with("\n\n") {
            if connection.read_line(&mut request)? == 0 {
                return Ok(());
            }
        }
        let attributes: HashMap<&str, &str> = request.lines().filter_map(|line| line.split_once('=')).collect();
        let (account, sender) = (attributes["sasl_username"], attributes["sender"]);
        let may = may_send(directory, account, sender).now_or_never();
        let action = if may == Some(true) { "DUNNO" } else { "REJECT" };
        connection
            .get_mut()
            .write_all(format!("action={action}\n\n").as_bytes())?;
    }
}
