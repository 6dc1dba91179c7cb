//! Tests of reading case files: contents, and positions of errors.

#![allow(clippy::expect_used, clippy::unwrap_used, reason = "a test fails by panicking")]

use posthouse_cases::{CaseFile, Client, ReversePath, Service};

fn error(text: &str) -> String {
    CaseFile::parse(text, "cases.toml").expect_err(text).to_string()
}

#[test]
fn errors_name_file_line_and_key() {
    for (text, expected) in [
        ("[[case]\n", "cases.toml:1:8: "),
        (
            "nwo = 1\n[[case]]\nname = \"a\"\n",
            "cases.toml:1:1: nwo: unknown field `nwo`, expected one of",
        ),
        (
            "[[case]]\nname = \"a\"\n\n[[case]]\nname = \"b\"\nclient = { adress = \"::1\" }\n",
            "cases.toml:6:12: case[1].client.adress: unknown field",
        ),
        (
            "[[case]]\nname = \"a\"\nclient = { address = \"10.0.0.300\" }\n",
            "case[0].client.address: \"10.0.0.300\" is no IP address",
        ),
        (
            "[[case]]\nname = 1\n",
            "cases.toml:2:8: case[0].name: invalid type: integer `1`, expected a string",
        ),
        (
            "[[case]]\nname = \"a\"\nsender = \"anna\"\n",
            "cases.toml:3:10: case[0].sender: \"anna\" is no reverse-path",
        ),
        (
            "[[case]]\nname = \"a\"\nexpect.admit = \"accept\"\n",
            "cases.toml:3:16: case[0].expect.admit: \"accept\" is no decision here: expected one of pass, admit, refuse, fault",
        ),
        (
            "[[case]]\nname = \"a\"\nsender = \"<>\"\nexpect.sender = \"reject 450\"\n",
            "case[0].expect.sender: \"reject 450\": a reply to reject has a code from 500 to 599",
        ),
        (
            "[[case]]\nname = \"a\"\nsender = \"<>\"\nexpect.sender = { edits = [] }\n",
            "edits is of message, not of recipient",
        ),
        (
            "[[case]]\nname = \"a\"\nrecipient = \"x@y.example\"\n",
            "cases.toml:1:1: case[0].sender: is missing",
        ),
        (
            "[[case]]\nname = \"a\"\nsender = \"<>\"\nmessage = \"x\"\n",
            "case[0].recipients: is missing",
        ),
        (
            "[[case]]\nname = \"a\"\n\n[[case]]\nname = \"a\"\n",
            "cases.toml:4:1: case[1].name: the case in line 1 has this name too",
        ),
        (
            "[[case]]\nname = \"a\"\nexpect.ndr = \"tell nobody\"\n",
            "case[0].expect.ndr: the case has no failure",
        ),
        (
            "[[case]]\nname = \"a\"\nfailure = { class = \"x\", sender = \"<>\", failed = [\"x@y.example: 250 2.0.0 fine\"] }\n",
            "case[0].failure.failed[0]: \"250 2.0.0 fine\" is no reply",
        ),
        (
            "[[case]]\nname = \"a\"\nsender = \"<>\"\nrecipient = \"a@b.example\"\nmessage-file = \"no-such.eml\"\n",
            "case[0].message-file: ./no-such.eml: ",
        ),
        ("case = []\n", "cases.toml: there is no [[case]] in it"),
        (
            "now = 2026-11-23\ncase = [{ name = \"a\" }]\n",
            "now: expected a time with its offset",
        ),
        (
            "[dns]\n\"a.example\" = { exchanges = [\"mx\"] }\n[[case]]\nname = \"a\"\n",
            "cases.toml:2:30: dns.a.example.exchanges[0]: \"mx\" is no exchanger",
        ),
    ] {
        let found = error(text);
        assert!(found.contains(expected), "{text}\n  {found}\n  {expected}");
    }
}

#[test]
fn absent_keys_of_a_case_come_from_the_file() {
    let text = r#"
now = 2026-11-23T10:00:00+01:00
settings = { a = 1 }
client = { listener = "inside", identity = "anna", tls = "TLSv1.2" }
counters = { x = 1, y = 2 }

[[case]]
name = "shared"

[[case]]
name = "own"
now = 7
settings = { b = 2026-01-01T00:00:00Z }
counters = { x = 9 }
client = { address = "::ffff:10.0.0.7", identity = { account = "bert", mechanism = "EXTERNAL" } }
sender = "Anna@EXAMPLE.org"
recipient = "x@example.net"
unavailable = ["dns"]

[[case]]
name = "no client"
failure = { class = "x", sender = "", failed = ["a@b.example at mx.example: 550 5.1.1 No"] }
"#;
    let file = CaseFile::parse(text, "cases.toml").unwrap();
    let [shared, own, failure] = &file.cases[..] else {
        panic!()
    };
    assert_eq!(file.now, 1_795_424_400);
    assert_eq!(file.settings_of(shared), &serde_json::json!({"a": 1}));
    assert_eq!(file.settings_of(own), &serde_json::json!({"b": "2026-01-01T00:00:00Z"}));
    let Some(Client {
        listener,
        address,
        identity: Some(identity),
        ..
    }) = &own.client
    else {
        panic!()
    };
    assert_eq!(
        (listener.as_str(), address.as_str(), identity.account.as_str()),
        ("inside", "10.0.0.7", "bert")
    );
    assert_eq!(shared.client.as_ref().unwrap().address, "192.0.2.1");
    assert_eq!(own.sender, Some(ReversePath::Mailbox("Anna@example.org".to_owned())));
    assert_eq!(own.unavailable, [Service::Dns]);
    let fixture = file.fixture(own);
    assert_eq!((fixture.now, fixture.value("x"), fixture.value("y")), (7, Ok(9), Ok(2)));
    assert!(fixture.records("example.org").is_err());
    assert!(failure.client.is_none());
    let failure = failure.failure.as_ref().unwrap();
    assert_eq!(failure.recipients, ["a@b.example"]);
    assert_eq!(failure.failed[0].remote.as_deref(), Some("mx.example"));
    assert_eq!((shared.line, own.line), (7, 10));
}

#[test]
fn directory_gives_the_answers_of_the_hosts_directory() {
    let text = r#"
[directory]
account = [
    { name = "anna", addresses = ["anna@example.org"], send-as = ["sales@example.org", "@shop.example"] },
    { name = "bert", addresses = ["bert@example.org", "info@example.org"], home = "smtp:mail.example.org:25" },
]
alias = [{ address = "info@example.org", to = ["anna@example.org"] }, { address = "boss@example.org", to = ["anna@example.org"] }]
group = [
    { address = "staff@example.org", members = ["bert@example.org", "heads@example.org"] },
    { address = "heads@example.org", members = ["boss@example.org", "staff@example.org"] },
]
[[case]]
name = "a"
"#;
    let directory = CaseFile::parse(text, "cases.toml").unwrap().directory;
    let kinds = |address: &str| -> Vec<&str> { directory.lookup(address).iter().map(|entry| entry.kind).collect() };
    assert_eq!(kinds("Anna@Example.org"), ["account"]);
    assert_eq!(kinds("anna+shop@example.org"), ["account"]);
    assert_eq!(kinds("info@example.org"), ["account", "alias"]);
    assert_eq!(kinds("nobody@example.org"), [""; 0]);
    for (account, address, may) in [
        ("anna", "anna+x@example.org", true),
        ("anna", "sales@example.org", true),
        ("anna", "x@shop.example", true),
        ("anna", "bert@example.org", false),
        ("anna", "x", false),
        ("carl", "anna@example.org", false),
    ] {
        assert_eq!(directory.may_send_as(account, address), may, "{account} {address}");
    }
    assert!(directory.is_local_domain("EXAMPLE.org") && !directory.is_local_domain("shop.example"));
    for (group, address, member) in [
        ("staff@example.org", "BERT@example.org", true),
        ("staff@example.org", "anna@example.org", true),
        ("heads@example.org", "bert@example.org", true),
        ("heads@example.org", "x@example.org", false),
        ("boss@example.org", "anna@example.org", false),
        ("nothing@example.org", "anna@example.org", false),
    ] {
        assert_eq!(directory.is_member(group, address), member, "{group} {address}");
    }
}

#[test]
fn documented_example_is_a_valid_case_file() {
    let file = CaseFile::parse(include_str!("../example.toml"), "example.toml").unwrap();
    assert_eq!(file.cases.len(), 3);
}
