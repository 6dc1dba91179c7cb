//! The questions about a mail by the Milter protocol, version 6: a native server that negotiates nothing away, so that
//! each step is a round trip, as with a Milter that inspects everything.

use std::io::{self, BufReader, Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::Arc;
use std::thread;

use criterion::Criterion;
use futures_util::FutureExt;
use host_directory::FileDirectory;

use crate::native::may_send;
use crate::scene::Scene;

/// Macros: `D` with the command that the macros belong to. Macros are not answered; every other packet is.
const MACROS: u8 = b'D';
const CONTINUE: u8 = b'c';

/// Options: version 6, all actions, nothing left out.
const OPTIONS: [u8; 12] = [0, 0, 0, 6, 0, 0, 1, 0xff, 0, 0, 0, 0];

const TO_MAIL: [(u8, &[u8]); 6] = [
    (
        MACROS,
        b"Cj\0mail.example.org\0{daemon_name}\0mail.example.org\0v\0Postfix 3.7.11\0",
    ),
    (b'C', b"laptop.example.org\x004\xc0\x00192.0.2.7\0"),
    (
        MACROS,
        b"H{tls_version}\0TLSv1.3\0{cipher}\0TLS_AES_256_GCM_SHA384\0{cipher_bits}\x00256\0",
    ),
    (b'H', b"laptop.example.org\0"),
    (
        MACROS,
        b"M{auth_type}\0PLAIN\0{auth_authen}\0anna\0{mail_addr}\0anna@example.org\0",
    ),
    (b'M', b"<anna@example.org>\0SIZE=4096\0"),
];

const TO_EOH: [(u8, &[u8]); 7] = [
    (
        MACROS,
        b"R{rcpt_addr}\0otto@example.org\0{rcpt_host}\0example.org\0{rcpt_mailer}\0local\0",
    ),
    (b'R', b"<otto@example.org>\0"),
    (b'T', b""),
    (b'L', b"From\0anna@example.org\0"),
    (b'L', b"To\0otto@example.org\0"),
    (b'L', b"Subject\0Work\0"),
    (b'N', b""),
];

pub fn measure(criterion: &mut Criterion) {
    let scene = Scene::new();
    let path = scene.folder().join("milter");
    let listener = UnixListener::bind(&path).expect("a socket");
    let directory = Arc::clone(&scene.directory);
    thread::spawn(move || serve(listener.accept()?.0, &directory));
    let mut server = BufReader::new(UnixStream::connect(&path).expect("a connection"));
    ask(&mut server, b'O', &OPTIONS);
    let body = scene.message.0.slice(68..);

    let mut group = criterion.benchmark_group("the sender's question elsewhere");
    group.bench_function("Milter at MAIL, Unix socket", |bencher| {
        let [.., (_, macros), (mail, arguments)] = TO_MAIL;
        bencher.iter(|| {
            ask(&mut server, MACROS, macros);
            ask(&mut server, mail, arguments);
        });
    });
    drop(group);
    let mut group = criterion.benchmark_group("all questions about a mail elsewhere");
    group.bench_function("Milter, Unix socket", |bencher| {
        bencher.iter(|| {
            for (command, data) in TO_MAIL.into_iter().chain(TO_EOH) {
                ask(&mut server, command, data);
            }
            ask(&mut server, b'B', &body);
            ask(&mut server, b'E', b"");
        });
    });
}

fn send(connection: &mut impl Write, command: u8, data: &[u8]) -> io::Result<()> {
    let length = u32::try_from(data.len() + 1).map_err(io::Error::other)?;
    let mut packet = Vec::with_capacity(data.len() + 5);
    packet.extend_from_slice(&length.to_be_bytes());
    packet.push(command);
    packet.extend_from_slice(data);
    connection.write_all(&packet)
}

fn receive(connection: &mut impl Read) -> io::Result<(u8, Vec<u8>)> {
    let mut head = [0; 5];
    connection.read_exact(&mut head)?;
    let [a, b, c, d, command] = head;
    let length = u32::from_be_bytes([a, b, c, d]).saturating_sub(1);
    let mut data = vec![0; length as usize];
    connection.read_exact(&mut data)?;
    Ok((command, data))
}

fn ask(server: &mut BufReader<UnixStream>, command: u8, data: &[u8]) {
    send(server.get_mut(), command, data).expect("a command");
    if command != MACROS {
        let (answer, _) = receive(server).expect("an answer");
        assert_eq!(answer, if command == b'O' { b'O' } else { CONTINUE });
    }
}

/// Serves a connection until the client closes. The account comes with the macros of MAIL.
fn serve(connection: UnixStream, directory: &FileDirectory) -> io::Result<()> {
    let mut connection = BufReader::new(connection);
    let mut account = String::new();
    loop {
        let (command, data) = receive(&mut connection)?;
        let text = String::from_utf8_lossy(&data);
        match command {
            MACROS => {
                if let Some(macros) = text.strip_prefix('M') {
                    let mut words = macros.split('\0').skip_while(|word| *word != "{auth_authen}");
                    account = words.nth(1).unwrap_or_default().to_owned();
                }
            }
            b'O' => send(connection.get_mut(), b'O', &OPTIONS)?,
            b'M' => {
                let sender = text.split('\0').next().unwrap_or_default();
                let sender = sender.trim_start_matches('<').trim_end_matches('>');
                let may = may_send(directory, &account, sender).now_or_never();
                let answer = if may == Some(true) { CONTINUE } else { b'r' };
                send(connection.get_mut(), answer, b"")?;
            }
            _ => send(connection.get_mut(), CONTINUE, b"")?,
        }
    }
}
