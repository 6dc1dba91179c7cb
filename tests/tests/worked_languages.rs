//! The worked examples in JavaScript, Python and C, tested over SMTP in a running daemon with the limits and settings
//! of each README. The test of a language whose tools are unavailable prints SKIPPED; `.ci/run` installs the tools.

use posthouse_tests::{Client, Daemon, Language, PASSWORD, Sink, Site, Toolchain, worked_example};
use serde_json::{Value, json};

/// A daemon with a module of small limits for each example before the default policy, default limits of the compiler,
/// and a sink as the smart host.
struct Office {
    site: Site,
    daemon: Daemon,
    sink: Sink,
}

impl Office {
    fn new() -> Self {
        let sink = Sink::smtp();
        let mut site = Site::new();
        // Clients from the Internet may deliver mail, as in the first configuration of the README.
        site.set("delivery.smart-host", sink.address().to_string())
            .set("policy.settings.accept.from", "anyone")
            .set("policy.settings.accept.listeners.smtp.exempt", vec!["homing"]);
        // Initial component of each module, replaced by the examples.
        let file = worked_example("first-policy");
        for (module, memory) in [("tags", "32MiB"), ("notices", "32MiB"), ("blocklist", "2MiB")] {
            site.prepend_policy(&format!(
                "name = '{module}'\nfile = '{}'\nlimits = {{ memory = '{memory}' }}",
                file.display()
            ));
        }
        let daemon = site.start();
        Self { site, daemon, sink }
    }

    /// Builds and loads an example; false if the tools of the language are unavailable.
    fn load(&self, module: &str, language: Language, example: &str, settings: &Value) -> bool {
        let Some(tools) = Toolchain::find(language) else {
            return false;
        };
        let component = tools.build(&tools.copy(&format!("policy-wasm/languages/{example}")));
        let (component, settings) = (component.display().to_string(), settings.to_string());
        let arguments = ["policy", "load", &component, "--as", module, "--settings", &settings];
        self.site.cli(&arguments).ok();
        true
    }

    /// Connects as a client from the Internet.
    fn outside(&self) -> Client {
        let mut client = self.daemon.connect();
        client.ehlo();
        client
    }

    fn account(&self, name: &str) -> Client {
        let mut client = self.daemon.connect();
        client.login(name, PASSWORD);
        client
    }
}

#[test]
fn examples_decide_in_a_running_daemon() {
    let office = Office::new();
    blocklist(&office);
    subject_tags(&office);
    quiet_notices(&office);
    assert!(office.daemon.events().all(4037).is_empty(), "no faults");
}

fn blocklist(office: &Office) {
    let settings = json!({"networks": ["127.0.0.9"], "recipients": ["bert@posthouse.test"]});
    if !office.load("blocklist", Language::C, "c-blocklist", &settings) {
        return;
    }
    Client::connect(office.daemon.address("smtp"), Some("127.0.0.9")).expect_reply(554);
    for (mut client, code) in [(office.outside(), 550), (office.account("anna"), 250)] {
        client.command("MAIL FROM:<anna@posthouse.test>", 250);
        client.command("RCPT TO:<Bert@posthouse.test>", code);
        client.command("RCPT TO:<admin@posthouse.test>", 250);
    }
}

fn subject_tags(office: &Office) {
    let settings = json!({"tag": "[outside]", "refuse": ["You have won"]});
    if !office.load("tags", Language::JavaScript, "javascript-subject-tags", &settings) {
        return;
    }
    let from_outside = |subject: &str, code: u16| {
        let message = format!("Subject: {subject}\n\nx\n");
        let reply = office
            .outside()
            .submit("x@example.net", &["admin@posthouse.test"], &message);
        assert_eq!(reply.code, code, "{}", reply.line());
    };
    from_outside("You have WON a car", 554);
    from_outside("Hello", 250);
    let mailbox = office.site.mailbox("admin");
    let tagged = mailbox.expect("Hello");
    assert!(tagged.text.contains("Subject: [outside] Hello\n"), "{}", tagged.text);
    let mut anna = office.account("anna");
    let message = "From: <anna@posthouse.test>\nSubject: You have won lunch\n\nx\n";
    let reply = anna.submit("anna@posthouse.test", &["admin@posthouse.test"], message);
    assert_eq!(reply.code, 250, "{}", reply.line());
    let own = mailbox.expect("won lunch");
    assert!(own.text.contains("Subject: You have won lunch\n"), "{}", own.text);
}

fn quiet_notices(office: &Office) {
    let settings = json!({"content": "headers", "administrator": ["address-not-found"]});
    if !office.load("notices", Language::Python, "python-quiet-notices", &settings) {
        return;
    }
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
    assert_eq!(told.text("because"), "notices/automatic");
    fails("Subject: from a person\n");
    // Recipients of the report: the sender, and the administrator that the settings name.
    for account in ["anna", "admin"] {
        let mailbox = office.site.mailbox(account);
        let report = mailbox.expect("from a person");
        assert!(report.text.contains("multipart/report"), "{}", report.text);
        assert!(mailbox.containing("on vacation").is_empty());
    }
}
