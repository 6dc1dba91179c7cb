//! Signatures of policies, required at load, start and rollback.

use std::path::Path;

use posthouse_tests::{Daemon, Site, eventually, example};
use serde_json::Value;

/// Returns the status of the only module.
fn policy_status(site: &Site) -> Value {
    let said = site.cli(&["policy", "status", "--json"]).ok();
    let modules: Value = serde_json::from_str(&said).expect("status is JSON");
    modules[0].clone()
}

/// Sends MAIL FROM from the host that is exempt from every check, and returns the reply code.
fn mail_from(daemon: &Daemon) -> u16 {
    let mut client = daemon.connect_from("127.0.0.3");
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
    let refused = eventually("enough faults", || {
        assert_eq!(mail_from(&daemon), 451);
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
