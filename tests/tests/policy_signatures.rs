//! Signatures of policies, required at every way on which code comes to run, and of the code that runs already.

use std::path::Path;

use posthouse_tests::{Client, Daemon, Site, eventually, example};
use serde_json::Value;

/// Returns the status of the only module.
fn policy_status(site: &Site) -> Value {
    let said = site.cli(&["policy", "status", "--json"]).ok();
    let modules: Value = serde_json::from_str(&said).expect("status is JSON");
    modules[0].clone()
}

/// Sends MAIL FROM from the host that is exempt from every check, and returns the reply code.
fn mail_from(daemon: &Daemon) -> u16 {
    mail_from_address(daemon, "127.0.0.3")
}

fn mail_from_address(daemon: &Daemon, address: &str) -> u16 {
    let mut client = daemon.connect_from(address);
    client.ehlo();
    client.send(b"MAIL FROM:<far@example.org>\r\n");
    let code = client.reply().expect("a reply").code;
    client.quit();
    code
}

fn signer() -> minisign::KeyPair {
    minisign::KeyPair::generate_unencrypted_keypair().expect("keys")
}

fn sign(keys: &minisign::KeyPair, file: &Path) -> String {
    let bytes = std::fs::read(file).expect("a file");
    let signature = minisign::sign(None, &keys.sk, bytes.as_slice(), None, None);
    signature.expect("a signature").into_string()
}

#[test]
fn loads_only_signed_code() {
    let mut site = Site::new();
    let (anna, mallory) = (signer(), signer());
    site.set("policy.signed-by", anna.pk.to_base64());
    let daemon = site.start();
    assert_eq!(mail_from(&daemon), 250, "the built-in policy needs no signature");
    let file = site.file("policy.wasm", std::fs::read(example("misbehaving")).expect("built"));
    let path = file.to_string_lossy().into_owned();
    let said = site.cli(&["policy", "load", &path, "--settings", "{}"]).failed();
    assert!(
        said.contains("signature: unsigned") && said.contains("minisign -S"),
        "{said}"
    );
    let wrong = site.file("wrong.minisig", sign(&mallory, &file));
    let said = site
        .cli(&[
            "policy",
            "load",
            &path,
            "--settings",
            "{}",
            "--signature",
            &wrong.to_string_lossy(),
        ])
        .failed();
    assert!(said.contains("none of policy[0].signed-by"), "{said}");
    site.file("policy.wasm.minisig", sign(&anna, &file));
    site.cli(&["policy", "load", &path, "--settings", "{}"]).ok();
    let (status, _) = daemon.stop();
    assert!(status.success());

    // Stored code is checked as well at the start.
    site.set("policy.signed-by", mallory.pk.to_base64());
    let daemon = site.start();
    let refused = daemon.events().take(5004);
    assert!(
        refused.text("problems").contains("none of policy[0].signed-by"),
        "{refused:?}"
    );
    assert_ne!(policy_status(&site)["name"], "misbehaving");
}

#[test]
fn rollback_requires_a_currently_accepted_signature() {
    let mut site = Site::new();
    let (anna, bert) = (signer(), signer());
    let copy = |name: &str, keys: &minisign::KeyPair| {
        let file = site.file(&format!("{name}.wasm"), std::fs::read(example(name)).expect("built"));
        site.file(&format!("{name}.wasm.minisig"), sign(keys, &file));
        file
    };
    let (hers, his) = (copy("q178091", &anna), copy("misbehaving", &bert));
    site.set("policy.file", hers.display().to_string());
    site.set("policy.settings", toml::Table::new());
    site.set("policy.signed-by", vec![anna.pk.to_base64(), bert.pk.to_base64()]);
    let daemon = site.start();
    let panics = r#"{"mode": "panic", "stage": "sender"}"#;
    site.cli(&["policy", "load", &his.to_string_lossy(), "--settings", panics])
        .ok();
    let on_probation = |site: &Site| !policy_status(site)["probation"].is_null();
    assert!(on_probation(&site));
    // Bert's policy is active, and Anna's signature is no longer accepted.
    site.set("policy.signed-by", bert.pk.to_base64());
    site.cli(&["reload"]).ok();
    assert!(
        on_probation(&site),
        "a reload that changes no generation ends no probation"
    );
    // Each fault is of another client network.
    let mut network = 0;
    let refused = eventually("enough faults", || {
        network += 1;
        assert_eq!(mail_from_address(&daemon, &format!("127.0.{network}.1")), 451);
        (!daemon.events().all(5004).is_empty()).then(|| daemon.events().take(5004))
    });
    assert_eq!(refused.text("by"), "probation");
    assert!(
        refused.text("problems").contains("none of policy[0].signed-by"),
        "{refused:?}"
    );
    assert!(!on_probation(&site));
    assert_eq!(policy_status(&site)["name"], "misbehaving");
    assert!(daemon.events().all(5024).is_empty());
}

/// A site whose policies anna or bert may sign; bert's key is withdrawn, or the only one, by [`Signers::accept`].
struct Signers {
    site: Site,
    anna: minisign::KeyPair,
    bert: minisign::KeyPair,
}

impl Signers {
    /// Makes a site that accepts components of anna only.
    fn new() -> Self {
        let (anna, bert) = (signer(), signer());
        let mut site = Site::new();
        site.set("policy.signed-by", anna.pk.to_base64());
        Self { site, anna, bert }
    }

    /// Writes an example under a name of its own, with the signature beside it.
    fn component(&self, example_name: &str, name: &str, keys: &minisign::KeyPair) -> String {
        let bytes = std::fs::read(example(example_name)).expect("built");
        let file = self.site.file(&format!("{name}.wasm"), bytes);
        self.site.file(&format!("{name}.wasm.minisig"), sign(keys, &file));
        file.display().to_string()
    }

    /// Withdraws anna's key: only bert's counts from the next reload on.
    fn withdraw(&mut self) {
        self.site.set("policy.signed-by", self.bert.pk.to_base64());
    }

    fn load(&self, file: &str) -> posthouse_tests::Output {
        self.site.cli(&["policy", "load", file, "--settings", "{}"])
    }
}

fn health(site: &Site) -> Value {
    let said = site.cli(&["status", "--json"]);
    let status: Value = serde_json::from_str(&said.stdout).expect("status is JSON");
    status["health"].clone()
}

#[test]
fn withdrawn_key_applies_at_the_reload() {
    let mut signers = Signers::new();
    let first = signers.component("first-policy", "first", &signers.anna);
    let hers = signers.component("q178091", "hers", &signers.anna);
    let his = signers.component("misbehaving", "his", &signers.bert);
    let daemon = signers.site.start();
    signers.load(&first).ok();
    signers.load(&hers).ok();
    signers.load(&his).failed();

    signers.withdraw();
    let said = signers.site.cli(&["reload"]).failed();
    assert!(
        said.contains("generation 3 goes on") && said.contains("--require-now"),
        "{said}"
    );
    let event = daemon.events().take(5130);
    assert_eq!(
        (event.text("generation").as_str(), event.text("instead").as_str()),
        ("3", "it goes on")
    );
    let reason = health(&signers.site)["reasons"][0].to_string();
    assert!(
        reason.contains("generation 3 goes on although its code is not trusted"),
        "{reason}"
    );
    // The withdrawn key opens no way any more, and the new key does.
    for refused in [
        signers.load(&first),
        signers.load(&hers),
        signers.site.cli(&["policy", "load", "--settings", r#"{"x": 1}"#]),
        signers.site.cli(&["policy", "rollback"]),
        signers.site.cli(&["policy", "rollback", "2"]),
        signers.site.cli(&["policy", "stage", &first, "--share", "10%"]),
        signers.site.cli(&["policy", "shadow", &first]),
    ] {
        let said = refused.failed();
        assert!(said.contains("none of policy[0].signed-by"), "{said}");
    }
    assert_eq!(policy_status(&signers.site)["generation"], 3);
    // The same finding at a second reload is no second event.
    signers.site.cli(&["reload"]).failed();
    assert!(daemon.events().all(5130).len() == 1, "{:?}", daemon.events().all(5130));
    signers.load(&his).ok();
    assert_eq!(health(&signers.site)["condition"], "running");
    signers.site.cli(&["reload"]).ok();
}

#[test]
fn keys_apply_even_if_the_rest_of_the_policies_cannot_be_reloaded() {
    let mut signers = Signers::new();
    let hers = signers.component("q178091", "hers", &signers.anna);
    let _daemon = signers.site.start();
    signers.load(&hers).ok();
    signers.withdraw();
    signers
        .site
        .add("[[policy]]\nname = \"broken\"\nfile = \"nowhere.wasm\"\n");
    let said = signers.site.cli(&["reload"]).failed();
    assert!(
        said.contains("nowhere.wasm") && said.contains("generation 2 goes on"),
        "{said}"
    );
    let said = signers.load(&hers).failed();
    assert!(said.contains("none of policy[0].signed-by"), "{said}");
}

#[test]
fn require_now_replaces_untrusted_code() {
    // An earlier component that bert signed comes before the built-in policy.
    for (earlier, instead) in [(Some("first-policy"), "first-policy"), (None, "default")] {
        let mut signers = Signers::new();
        let keys = [signers.anna.pk.to_base64(), signers.bert.pk.to_base64()];
        signers.site.set("policy.signed-by", keys.to_vec());
        let his = earlier.map(|name| signers.component(name, "his", &signers.bert));
        let hers = signers.component("q178091", "hers", &signers.anna);
        let daemon = signers.site.start();
        if let Some(his) = &his {
            signers.load(his).ok();
        }
        signers.load(&hers).ok();
        signers.withdraw();
        let said = signers.site.cli(&["reload", "--require-now"]).ok();
        assert!(said.contains("policy main: generation"), "{said}");
        let event = daemon.events().take(5130);
        assert!(event.text("instead").contains("took its place"), "{event:?}");
        assert_eq!(policy_status(&signers.site)["name"], instead);
        assert_eq!(health(&signers.site)["condition"], "running");
        assert_ne!(mail_from(&daemon), 421);
        // What took the place is durable.
        let (status, _) = daemon.stop();
        assert!(status.success());
        let _daemon = signers.site.start();
        assert_eq!(policy_status(&signers.site)["name"], instead);
    }
}

#[test]
fn require_now_without_any_trusted_code_refuses_clients() {
    let mut signers = Signers::new();
    let hers = signers.component("first-policy", "hers", &signers.anna);
    // Without grants the built-in policy cannot take the place either.
    signers
        .site
        .set("policy.file", hers)
        .set("policy.settings", toml::Table::new())
        .set("policy.grants", Vec::<String>::new());
    let daemon = signers.site.start();
    assert_eq!(policy_status(&signers.site)["name"], "first-policy");
    assert_eq!(mail_from(&daemon), 250);
    signers.withdraw();
    signers.site.cli(&["reload", "--require-now"]);
    let event = daemon.events().take(5130);
    assert!(event.text("instead").contains("no trusted code runs"), "{event:?}");
    assert!(
        daemon
            .events()
            .take(5019)
            .text("error")
            .contains("no trusted code runs")
    );
    Client::connect(daemon.address("smtp"), Some("127.0.0.3")).expect_reply(421);
    assert_eq!(health(&signers.site)["condition"], "failed");
    assert_eq!(signers.site.cli(&["status"]).status.code(), Some(5));
    // The key comes back, and with it the policy.
    signers.site.set("policy.signed-by", signers.anna.pk.to_base64());
    signers.site.cli(&["reload"]).ok();
    assert_eq!(policy_status(&signers.site)["name"], "first-policy");
    assert_eq!(mail_from(&daemon), 250);
}

#[test]
fn staged_and_shadowing_code_ends_with_its_key() {
    let mut signers = Signers::new();
    let hers = signers.component("misbehaving", "hers", &signers.anna);
    let daemon = signers.site.start();
    signers
        .site
        .cli(&["policy", "stage", &hers, "--settings", "{}", "--share", "10%"])
        .ok();
    signers
        .site
        .cli(&["policy", "shadow", &hers, "--settings", "{}", "--for", "1h"])
        .ok();
    // A reload that changes no key ends neither.
    signers.site.cli(&["reload"]).ok();
    assert!(!policy_status(&signers.site)["staged"].is_null());
    signers.withdraw();
    signers.site.cli(&["reload"]).ok();
    assert_eq!(daemon.events().take(5046).text("why"), "untrusted");
    assert!(daemon.events().take(5034).text("reason").contains("signed-by"));
    let said = signers.site.cli(&["policy", "promote"]).failed();
    assert!(said.contains("nothing is staged"), "{said}");
}

#[test]
fn watched_folder_follows_the_keys_of_the_reload() {
    let mut signers = Signers::new();
    signers.site.set("policy-engine.watch", "watched");
    let folder = signers.site.path().join("watched");
    std::fs::create_dir(&folder).expect("made");
    let daemon = signers.site.start();
    let move_in = |signers: &Signers, keys: &minisign::KeyPair| {
        let made = signers.component("misbehaving", "draft", keys);
        signers.site.file("watched/main.json", "{}");
        std::fs::rename(format!("{made}.minisig"), folder.join("main.wasm.minisig")).expect("moved");
        std::fs::rename(made, folder.join("main.wasm")).expect("moved");
    };
    signers.withdraw();
    signers.site.cli(&["reload"]).ok();
    move_in(&signers, &signers.anna);
    let refused = daemon.events().take(5004);
    assert!(
        refused.text("problems").contains("none of policy[0].signed-by"),
        "{refused:?}"
    );
    move_in(&signers, &signers.bert);
    daemon.events().take_where(5003, |event| event.text("by") == "watch");
    assert_eq!(policy_status(&signers.site)["name"], "misbehaving");
}
