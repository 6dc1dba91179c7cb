//! Detection of mail loops.

use std::net::TcpListener;

use posthouse_tests::{Site, example};

/// Returns a port that is free at the moment.
fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.local_addr().expect("bound").port()
}

/// Creates a host that is its own smart host, with a module `copies` before the site's policy.
fn site() -> Site {
    let mut site = Site::new();
    let address = format!("127.0.0.1:{}", free_port());
    site.set("listener.address", address.as_str());
    site.set("delivery.smart-host", address.as_str());
    site.set("limits.hops", 20);
    site.set("policy.name", "copies");
    site.set("policy.file", example("misbehaving").to_string_lossy().into_owned());
    site.set("policy.settings", toml::Value::Table(toml::Table::new()));
    site.add(
        r#"
        [[policy]]
        name = "main"
        [policy.settings.accept]
        from = "authenticated"
        [[policy.settings.accept.hosts]]
        network = "127.0.0.0/8"
        exempt = ["authentication", "encryption", "homing", "originator", "relay"]
        "#,
    );
    site
}

#[test]
fn stops_a_loop_of_a_policy_and_names_the_policy() {
    let mut site = site();
    site.set("policy.settings.mode", "add-recipient");
    let daemon = site.start();
    let mut client = daemon.connect();
    client.ehlo();
    let message = "From: <anna@posthouse.test>\nSubject: round and round\n\nHello.\n";
    let reply = client.submit("anna@posthouse.test", &["bert@posthouse.test"], message);
    assert_eq!(reply.code, 250, "{}", client.transcript());
    site.mailbox("bert").expect("round and round");

    let event = daemon.events().take(4115);
    assert_eq!(
        (event.text("policy"), &event.fields["passes"]),
        ("copies".into(), &4.into())
    );
    assert!(daemon.events().take(4031).text("reply").contains("5.4.6"));
    assert!(daemon.events().all(4098).is_empty(), "it ends before the hop limit");
    assert_eq!(site.mailbox("bert").containing("round and round").len(), 1);
    // The sender did not authenticate: the report goes to the administrator, who can correct the policy.
    site.mailbox("admin").expect("5.4.6");
}

#[test]
fn blames_no_policy_for_other_loops() {
    let site = site();
    let daemon = site.start();
    let mut client = daemon.connect();
    client.ehlo();
    let message = "From: <anna@posthouse.test>\nSubject: round and round\n\nHello.\n";
    let reply = client.submit("anna@posthouse.test", &["elsewhere@loop.example"], message);
    assert_eq!(reply.code, 250, "{}", client.transcript());
    daemon.events().take(4098);
    assert!(daemon.events().all(4115).is_empty());
}
