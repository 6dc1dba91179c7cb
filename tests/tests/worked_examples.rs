//! The worked examples in `policy-wasm/examples`, tested with every command for authors and over SMTP in a running
//! daemon.

use std::path::Path;
use std::process::Command;
use std::time::{SystemTime, UNIX_EPOCH};

use posthouse_tests::{Client, Daemon, Output, PASSWORD, Sink, Site, posthouse, run, worked_example};
use serde_json::{Value, json};

/// Examples, each with the grant that is needed beyond the default grants.
const EXAMPLES: [(&str, Option<&str>); 8] = [
    ("first-policy", None),
    ("printers", Some("counters")),
    ("send-as", None),
    ("members-only", None),
    ("office-hours", None),
    ("quiet-ndr", None),
    ("inside-claims", Some("verification")),
    ("sender-quota", Some("counters")),
];

fn cli(arguments: &[&str]) -> Output {
    let cache = Path::new(env!("CARGO_TARGET_TMPDIR")).join("cache");
    run(
        Command::new(posthouse()).args(arguments).env("XDG_CACHE_HOME", cache),
        "",
    )
}

fn cli_json(arguments: &[&str]) -> Value {
    let output = cli(&[arguments, &["--json"]].concat());
    assert!(output.status.success(), "{arguments:?}: {}", output.text());
    serde_json::from_str(&output.stdout).unwrap_or_else(|error| panic!("{arguments:?}: {error}: {}", output.text()))
}

#[test]
fn runs_every_command_on_every_example() {
    for (name, grant) in EXAMPLES {
        let policy = worked_example(name).display().to_string();
        let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("../policy-wasm/examples")
            .join(name);
        let cases = folder.join("cases.toml").display().to_string();
        let mut asking = vec!["--case", cases.as_str()];
        asking.extend(grant.iter().flat_map(|grant| ["--grant", *grant]));
        let with = |command: &[&'static str]| [&["policy"], command, &[policy.as_str()], &asking[..]].concat();

        let report = cli_json(&with(&["run"]));
        assert!(report["as-expected"].as_u64() > Some(2), "{name}: {report:#}");
        let report = cli_json(&[&with(&["bench"])[..], &["--rounds", "5"]].concat());
        assert_eq!(
            report["policies"].as_array().map(Vec::len),
            Some(2),
            "{name}: {report:#}"
        );
        let shown = cli_json(&with(&["test-faults"]));
        assert!(shown.as_array().map(Vec::len) > Some(2), "{name}: {shown:#}");

        let told = cli_json(&["policy", "explain", &policy]);
        let schema = std::fs::read_to_string(folder.join("settings.schema.json")).expect("a schema");
        let schema: Value = serde_json::from_str(&schema).expect("JSON");
        let of_schema: Vec<&String> = schema["properties"].as_object().expect("keys").keys().collect();
        let settings = told["settings"].as_array().expect("the policy tells its settings");
        let found: Vec<&str> = settings.iter().filter_map(|setting| setting["key"].as_str()).collect();
        assert_eq!(found, of_schema, "{name}");
        assert_eq!(
            told["grants"].to_string().contains("counters"),
            grant == Some("counters"),
            "{name}"
        );
        let told = cli(&["policy", "inspect", &policy]).ok();
        assert!(told.contains("0.2.0"), "{name}: {told}");
    }
}

/// Checks that `policy check` names an import that is not granted.
#[test]
fn check_names_a_missing_grant() {
    for (name, grant) in EXAMPLES {
        let Some(grant) = grant else { continue };
        let policy = worked_example(name).display().to_string();
        let told = cli(&["policy", "check", &policy]).failed();
        assert!(told.contains(grant), "{name}: {told}");
    }
}

/// A daemon with a module before the default policy, and a sink as the smart host.
struct Office {
    site: Site,
    daemon: Daemon,
    sink: Sink,
}

impl Office {
    fn new() -> Self {
        let sink = Sink::smtp();
        let mut site = Site::new();
        site.set("delivery.smart-host", sink.address().to_string());
        let start = worked_example("first-policy");
        site.prepend_policy(&format!(
            "name = 'example'\nfile = '{}'\ngrants = ['directory', 'message', 'host', 'counters', 'verification']",
            start.display()
        ));
        let daemon = site.start();
        Self { site, daemon, sink }
    }

    fn load(&self, name: &str, settings: &Value) {
        let policy = worked_example(name).display().to_string();
        let settings = settings.to_string();
        let arguments = ["policy", "load", &policy, "--as", "example", "--settings", &settings];
        self.site.cli(&arguments).ok();
    }

    fn from(&self, address: &str) -> Client {
        let mut client = self.daemon.connect_from(address);
        client.ehlo();
        client
    }

    /// Connects from the exempt host, which relays mail from the Internet.
    fn outside(&self) -> Client {
        self.from("127.0.0.2")
    }

    fn account(&self, name: &str) -> Client {
        let mut client = self.daemon.connect();
        client.login(name, PASSWORD);
        client
    }
}

fn mail(client: &mut Client, sender: &str, code: u16) {
    client.command(&format!("MAIL FROM:<{sender}>"), code);
}

fn rcpt(client: &mut Client, recipient: &str, code: u16) -> String {
    client
        .command(&format!("RCPT TO:<{recipient}>"), code)
        .line()
        .to_owned()
}

#[test]
fn examples_decide_in_a_running_daemon() {
    let office = Office::new();
    first_policy(&office);
    printers(&office);
    send_as(&office);
    members_only(&office);
    office_hours(&office);
    quiet_ndr(&office);
    inside_claims(&office);
    sender_quota(&office);
    assert!(office.daemon.events().all(4037).is_empty(), "no faults");
}

fn first_policy(office: &Office) {
    office.load("first-policy", &json!({"refuse": ["bert@posthouse.test"]}));
    let mut client = office.account("anna");
    mail(&mut client, "anna@posthouse.test", 250);
    assert!(rcpt(&mut client, "Bert@posthouse.test", 550).contains("This recipient gets no mail"));
    rcpt(&mut client, "admin@posthouse.test", 250);
}

fn printers(office: &Office) {
    // A client that is not a printer has to authenticate.
    mail(&mut office.from("127.0.0.9"), "printer@posthouse.test", 530);
    let settings = json!({"networks": ["127.0.0.8/31"], "recipients": ["@posthouse.test"], "per-hour": 2});
    office.load("printers", &settings);
    let mut client = office.from("127.0.0.9");
    mail(&mut client, "printer@posthouse.test", 250);
    rcpt(&mut client, "x@example.net", 550);
    rcpt(&mut client, "anna@posthouse.test", 250);
    rcpt(&mut client, "bert@posthouse.test", 250);
    rcpt(&mut client, "admin@posthouse.test", 450);
    // Each device has a separate counter, which is kept between connections.
    let mut other = office.from("127.0.0.8");
    mail(&mut other, "printer@posthouse.test", 250);
    rcpt(&mut other, "admin@posthouse.test", 250);
    let mut again = office.from("127.0.0.9");
    mail(&mut again, "printer@posthouse.test", 250);
    rcpt(&mut again, "anna@posthouse.test", 450);
    counters_of_printers(office);
}

/// Lists the counters page by page.
fn counters_of_printers(office: &Office) {
    let counters = |more: &[&str]| {
        let arguments = [&["policy", "counters", "--as", "example"], more].concat();
        office.site.cli(&arguments).ok()
    };
    let page = |more: &[&str]| -> Value {
        serde_json::from_str(&counters(&[more, &["--limit", "1", "--json"]].concat())).expect("JSON")
    };
    let first = page(&[]);
    assert_eq!(
        (&first["running"], &first["limit"]),
        (&json!(2), &json!(10_000)),
        "{first:#}"
    );
    let next = first["next"].as_str().expect("there is another");
    assert_eq!(first["counters"][0]["key"], next);
    let second = page(&["--after", next]);
    assert_eq!(second["next"], Value::Null, "{second:#}");
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .expect("a clock")
        .as_millis();
    for (page, device) in [(&first, "127.0.0.8"), (&second, "127.0.0.9")] {
        let counter = &page["counters"][0];
        assert!(counter["key"].to_string().contains(device), "{counter:#}");
        assert!(counter["value"].as_u64() > Some(0), "{counter:#}");
        assert!(counter["ends"].as_u64().map(u128::from) > Some(now), "{counter:#}");
    }
    let shown = counters(&[]);
    assert!(
        shown.contains("127.0.0.9") && shown.ends_with("2 of 10000 counters\n"),
        "{shown}"
    );
    let refused = office.site.cli(&["policy", "counters"]).failed();
    assert!(refused.contains("which of example, main?"), "{refused}");
}

fn send_as(office: &Office) {
    office.load("send-as", &json!({"domain": "posthouse.test"}));
    let mut client = office.account("anna");
    for (sender, code) in [
        ("anna@posthouse.test", 250),
        ("anna+shop@posthouse.test", 250),
        ("team@posthouse.test", 250),
        ("bert@posthouse.test", 553),
    ] {
        mail(&mut client, sender, code);
        client.command("RSET", 250);
    }
    mail(&mut office.account("admin"), "team@posthouse.test", 553);
}

fn members_only(office: &Office) {
    let settings = json!({"recipients": {"sales@posthouse.test": "team@posthouse.test"}});
    office.load("members-only", &settings);
    for (account, code) in [("anna", 250), ("bert", 250), ("admin", 550)] {
        let mut client = office.account(account);
        mail(&mut client, &format!("{account}@posthouse.test"), 250);
        rcpt(&mut client, "sales@posthouse.test", code);
    }
    let mut client = office.outside();
    mail(&mut client, "anna@posthouse.test", 250);
    let refused = rcpt(&mut client, "sales@posthouse.test", 550);
    assert!(refused.contains("Only members may write"), "{refused}");
}

fn office_hours(office: &Office) {
    let days = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"];
    let hours = |from: u64, until: u64| json!({"recipients": ["bert@posthouse.test"], "days": days, "from": from, "until": until});
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("a clock").as_secs();
    let far = (now / 3_600 + 12) % 24;
    for (settings, code) in [(hours(far, far + 1), 450), (hours(0, 24), 250)] {
        office.load("office-hours", &settings);
        let mut client = office.outside();
        mail(&mut client, "x@example.net", 250);
        rcpt(&mut client, "bert@posthouse.test", code);
        rcpt(&mut client, "admin@posthouse.test", 250);
    }
}

fn quiet_ndr(office: &Office) {
    office.load("quiet-ndr", &json!({}));
    office.sink.answer("RCPT", "550 5.1.1 No such user");
    let fails = |header: &str| {
        let message = format!("From: <anna@posthouse.test>\n{header}\nHello.\n");
        let reply = office
            .account("anna")
            .submit("anna@posthouse.test", &["x@example.net"], &message);
        assert_eq!(reply.code, 250, "{}", reply.line());
    };
    fails("Subject: on vacation\nAuto-Submitted: auto-replied\n");
    let told = office.daemon.events().take(5009);
    assert_eq!(told.text("because"), "example/quiet (Auto-Submitted)");
    fails("Subject: from a person\n");
    office.site.mailbox("anna").expect("from a person");
    assert!(office.site.mailbox("anna").containing("on vacation").is_empty());
}

fn inside_claims(office: &Office) {
    office.load("inside-claims", &json!({"folder": "claims"}));
    let send = |from: &str, subject: &str| {
        let message = format!("From: {from}\nSubject: {subject}\n\nPay this.\n");
        let reply = office
            .outside()
            .submit("x@example.net", &["bert@posthouse.test"], &message);
        assert_eq!(reply.code, 250, "{}", reply.line());
    };
    send("<admin@posthouse.test>", "in our name");
    let kept = office.daemon.events().take(4192);
    assert_eq!(kept.text("because"), "example/inside-claims (admin@posthouse.test)");
    assert!(office.site.mailbox("bert").containing("in our name").is_empty());
    // Mail of an authenticated account is not a false claim.
    let mut client = office.account("anna");
    let reply = client.submit(
        "anna@posthouse.test",
        &["bert@posthouse.test"],
        "From: <anna@posthouse.test>\nSubject: from anna\n\nx\n",
    );
    assert_eq!(reply.code, 250, "{}", reply.line());
    office.site.mailbox("bert").expect("from anna");
}

fn sender_quota(office: &Office) {
    let settings = json!({"recipients": 2, "seconds": 86_400, "accounts": {"admin": 9}});
    office.load("sender-quota", &settings);
    let mut client = office.account("anna");
    mail(&mut client, "anna@posthouse.test", 250);
    rcpt(&mut client, "bert@posthouse.test", 250);
    rcpt(&mut client, "admin@posthouse.test", 250);
    let over = rcpt(&mut client, "team@posthouse.test", 450);
    assert!(over.contains("Too many recipients"), "{over}");
    // The counters survive a change of the code.
    office.load("first-policy", &json!({}));
    office.load("sender-quota", &settings);
    let mut again = office.account("anna");
    mail(&mut again, "anna@posthouse.test", 250);
    rcpt(&mut again, "bert@posthouse.test", 450);
    let mut other = office.account("admin");
    mail(&mut other, "admin@posthouse.test", 250);
    for recipient in ["anna@posthouse.test", "bert@posthouse.test", "sales@posthouse.test"] {
        rcpt(&mut other, recipient, 250);
    }
}
