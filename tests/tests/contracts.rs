//! Policies of different contract versions in a running daemon, and the host functions of the contract.

use std::path::{Path, PathBuf};

use posthouse_tests::{Client, Daemon, PASSWORD, Site, address, dns, example};

/// Settings of the sample site, for another copy of the default policy.
const SETTINGS: &str = r#"{"accept": {"from": "authenticated"}, "homing": {"required": true}}"#;

/// Returns a component that was compiled against contract 0.1.0 and is kept in binary form.
fn contract_0_1_component(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("guests/contract-0.1")
        .join(format!("{name}.wasm"))
}

fn load(site: &Site, file: &Path, settings: &str) -> String {
    site.cli(&["policy", "load", &file.to_string_lossy(), "--settings", settings])
        .ok()
}

fn send(daemon: &Daemon, subject: &str) -> u16 {
    let mut client: Client = daemon.connect();
    client.login("anna", PASSWORD);
    let message = format!("From: <anna@posthouse.test>\r\nSubject: {subject}\r\n\r\nHello.\r\n");
    let reply = client.submit("anna@posthouse.test", &["bert@posthouse.test"], &message);
    client.quit();
    reply.code
}

#[test]
fn swaps_policies_of_contracts_0_1_and_0_2() {
    let site = Site::new();
    let daemon = site.start();
    for (file, contract, subject) in [
        (contract_0_1_component("default"), "0.1.0", "by the old one"),
        (example("posthouse-default-policy"), "0.2.0", "by the new one"),
        (contract_0_1_component("default"), "0.1.0", "by the old one again"),
    ] {
        load(&site, &file, SETTINGS);
        let status = site.cli(&["policy", "status"]).ok();
        assert!(status.contains(&format!("contract    {contract}")), "{status}");
        assert_eq!(send(&daemon, subject), 250);
        site.mailbox("bert").expect(subject);
    }
    assert_eq!(daemon.events().all(4037).len(), 0);
    let (exit, _) = daemon.stop();
    assert!(exit.success());
    // The policy that was loaded last is restored, of either contract.
    let daemon = site.start();
    assert_eq!(send(&daemon, "after a restart"), 250);
    let status = site.cli(&["policy", "status"]).ok();
    assert!(status.contains("contract    0.1.0"), "{status}");
}

#[test]
fn both_contracts_work_in_the_same_chain() {
    let mut site = Site::new();
    let old = contract_0_1_component("first-policy");
    site.add(&format!(
        "[[policy]]\nname = \"old\"\nfile = {:?}\n",
        old.to_string_lossy()
    ));
    let daemon = site.start();
    assert_eq!(send(&daemon, "both"), 250);
    let status = site.cli(&["policy", "status"]).ok();
    for contract in ["contract    0.1.0", "contract    0.2.0"] {
        assert!(status.contains(contract), "{status}");
    }
}

#[test]
fn refuses_an_unknown_contract_with_advice() {
    let site = Site::new();
    let daemon = site.start();
    let file = posthouse_tests::guest("other-contract", site.path());
    let refused = site.cli(&["policy", "load", &file.to_string_lossy()]).failed();
    for says in [
        "built for posthouse:policy@9.0.0",
        "this host serves 0.1.x and 0.2.x",
        "rebuild the policy against posthouse:policy@0.2.0",
    ] {
        assert!(refused.contains(says), "{refused}");
    }
    assert_eq!(refused.matches("9.0.0").count(), 1, "said once:\n{refused}");
    assert_eq!(send(&daemon, "as before"), 250);
}

/// Checks group membership, DNS, counters and verification through a policy. Counters survive a change of the code and
/// a restart of the daemon.
#[test]
fn policy_calls_every_host_function() {
    let mut site = Site::new();
    let server = dns(vec![("listed.test", address([192, 0, 2, 99]))]).to_string();
    site.set("dns.servers", vec![server]);
    let policy = example("inquiry");
    let settings = r#"{"group": "team@posthouse.test", "name": "listed.test"}"#;

    let daemon = site.start();
    let load_inquiry = ["policy", "load", &policy.to_string_lossy(), "--settings", settings];
    let refused = site.cli(&load_inquiry).failed();
    for import in ["counters", "dns", "verification"] {
        assert!(
            refused.contains(&format!("imports posthouse:policy/{import}: not granted")),
            "{refused}"
        );
    }
    drop(daemon.stop());

    let all = ["directory", "message", "host", "dns", "counters", "verification"];
    site.set("policy.grants", all.map(str::to_owned).to_vec());
    let daemon = site.start();
    load(&site, &policy, settings);
    assert_eq!(send(&daemon, "first"), 250);
    let message = site.mailbox("bert").expect("Subject: first").text;
    for line in [
        "X-Member: true",
        "X-Addresses: [\"192.0.2.99\"]",
        "X-Texts: []",
        "X-Exchanges: []",
        "X-Names: []",
        "X-Count: 1",
        "X-Finding: spf=none posthouse.test",
        "X-Finding: dkim=none",
        "X-Finding: arc=none",
        "X-Finding: dmarc=none posthouse.test",
    ] {
        assert!(message.contains(line), "{line:?} is not in\n{message}");
    }
    // A failed lookup is an answer, not a fault.
    load(
        &site,
        &policy,
        r#"{"group": "nobody@posthouse.test", "name": "not a name"}"#,
    );
    assert_eq!(send(&daemon, "second"), 250);
    let message = site.mailbox("bert").expect("Subject: second").text;
    for line in ["X-Member: false", "is not a domain name", "X-Count: 2"] {
        assert!(message.contains(line), "{line:?} is not in\n{message}");
    }
    assert_eq!(daemon.events().all(4037).len(), 0);
    drop(daemon.stop());

    let daemon = site.start();
    assert_eq!(send(&daemon, "third"), 250);
    let message = site.mailbox("bert").expect("Subject: third").text;
    assert!(message.contains("X-Count: 3"), "{message}");
    drop(daemon.stop());

    // A damaged counter file is put aside, and the counters start from zero.
    let counters = site.path().join("data/policies/counters");
    std::fs::write(&counters, "damaged").expect("written");
    let daemon = site.start();
    assert!(daemon.events().take(5039).text("error").contains("put aside"));
    assert_eq!(send(&daemon, "fourth"), 250);
    assert!(
        site.mailbox("bert")
            .expect("Subject: fourth")
            .text
            .contains("X-Count: 1")
    );
}
