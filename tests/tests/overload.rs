//! Overload: refusal of clients, eviction of idle sessions, limits on memory and descriptors, and recovery.

use posthouse_tests::{Client, Daemon, Site, eventually};
use rustix::process::{Pid, Resource, Rlimit, prlimit};

/// Connects repeatedly until the host greets the client.
fn connect_when_possible(daemon: &Daemon) -> Client {
    eventually("a place", || {
        let mut client = Client::connect(daemon.address("smtp"), Some("127.0.0.9"));
        let reply = client.reply().expect("a banner");
        assert!(matches!(reply.code, 220 | 421), "{}", reply.line());
        (reply.code == 220).then_some(client)
    })
}

/// Starts a transaction, up to the first line of the message.
fn begin_a_message(client: &mut Client) {
    client.ehlo();
    client.command("MAIL FROM:<far@example.org>", 250);
    client.command("RCPT TO:<anna@posthouse.test>", 250);
    client.command("DATA", 354);
    client.send(b"Subject: begun\r\n");
}

#[test]
fn refuses_clients_while_all_connection_slots_are_taken() {
    let mut site = Site::new();
    site.set("limits.sessions", 2).set("overload.make-way", "1h");
    let daemon = site.start();
    let (mut first, second) = (daemon.connect(), daemon.connect_from("127.0.0.2"));
    for _ in 0..3 {
        let mut third = Client::connect(daemon.address("smtp"), Some("127.0.0.3"));
        let reply = third.expect_reply(421);
        assert!(reply.line().starts_with("421 4.3.2 "), "{}", reply.line());
        third.expect_close();
    }
    daemon.events().take(5060);
    let status = site.cli(&["status"]).stdout;
    assert!(status.contains("sessions       2 of 2"), "{status}");
    assert!(status.contains("overload       all 2 places"), "{status}");

    first.ehlo();
    drop(first);
    drop(second);
    let enough = daemon.events().take(5061);
    assert_eq!(
        (&enough.fields["refused"], &enough.fields["made-way"]),
        (&3.into(), &0.into())
    );
    daemon.connect_from("127.0.0.3");
    assert_eq!(daemon.events().all(5060).len(), 1);
}

#[test]
fn evicts_idle_sessions_the_idlest_first() {
    let mut site = Site::new();
    site.set("limits.sessions", 3).set("overload.make-way", "1ms");
    let daemon = site.start();
    let mut idle = daemon.connect();
    idle.ehlo();
    let mut in_data = daemon.connect_from("127.0.0.3");
    begin_a_message(&mut in_data);
    let mut in_a_command = daemon.connect();
    in_a_command.ehlo();
    in_a_command.send(b"NO");

    let mut let_in_later = Vec::new();
    for drips in [&mut idle, &mut in_data, &mut in_a_command] {
        let mut client = connect_when_possible(&daemon);
        let reply = drips.expect_reply(421);
        assert!(reply.line().starts_with("421 4.4.2 "), "{}", drips.transcript());
        drips.expect_close();
        client.ehlo();
        let_in_later.push(client);
    }
    drop(let_in_later);
    let made_way = &daemon.events().take(5061).fields["made-way"];
    assert!(made_way.as_u64() >= Some(3), "{made_way}");
    assert_eq!(site.mailbox("anna").messages().len(), 0, "half a message is none");
}

#[test]
fn messages_beyond_the_memory_budget_arrive_complete() {
    let mut site = Site::new();
    site.set("overload.memory", "64KiB");
    let daemon = site.start();
    let line = format!("{}\r\n", "x".repeat(70));
    let mut clients: Vec<Client> = (0..8).map(|_| daemon.connect_from("127.0.0.3")).collect();
    for client in &mut clients {
        begin_a_message(client);
    }
    for (number, client) in clients.iter_mut().enumerate() {
        client.send(format!("X-Number: {number}\r\n\r\n{}", line.repeat(3000)).as_bytes());
    }
    for (number, mut client) in clients.into_iter().enumerate() {
        client.send(format!("last of {number}\r\n.\r\n").as_bytes());
        client.expect_reply(250);
        let arrived = site.mailbox("anna").expect(&format!("last of {number}")).text;
        assert_eq!(arrived.matches(line.trim_end()).count(), 3000);
    }
}

#[test]
fn few_file_descriptors_reduce_the_connection_slots() {
    let site = Site::new();
    let daemon = site.start_with_descriptors(700);
    let told = daemon.events().take(5066);
    assert_eq!(told.fields["descriptors"], 700);
    let places = usize::try_from(told.fields["sessions"].as_u64().expect("a number")).expect("few");
    let held: Vec<Client> = (0..places).map(|_| daemon.connect_from("127.0.0.3")).collect();
    Client::connect(daemon.address("smtp"), Some("127.0.0.4")).expect_reply(421);
    drop(held);
    connect_when_possible(&daemon);
}

#[test]
fn recovers_after_running_out_of_file_descriptors() {
    let site = Site::new();
    let daemon = site.start();
    let open = std::fs::read_dir(format!("/proc/{}/fd", daemon.pid())).expect("it runs");
    let few = Some(open.count() as u64 + 8);
    let pid = Pid::from_raw(daemon.pid().cast_signed());
    let limit = Rlimit {
        current: few,
        maximum: few,
    };
    prlimit(pid, Resource::Nofile, limit).expect("one's own process");

    let address = daemon.address("smtp");
    let more: Vec<Client> = (0..20).map(|_| Client::connect(address, Some("127.0.0.3"))).collect();
    daemon.events().take(5031);
    drop(more);
    let mut client = daemon.connect_from("127.0.0.3");
    client.ehlo();
    let reply = client.submit(
        "near@example.org",
        &["bert@posthouse.test"],
        "Subject: later\n\nHello.\n",
    );
    assert_eq!(reply.code, 250, "{}", client.transcript());
    site.mailbox("bert").expect("later");
    let told = daemon.events().all(5031).len();
    assert!(told <= 20, "told {told} times for 20 clients");
}
