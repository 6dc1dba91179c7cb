//! Whose signature a policy needs: at a load, at a start, and before anything is put back.

use std::path::Path;

use posthouse_tests::{Daemon, Site, eventually, example};
use serde_json::Value;

/// Of the only module.
fn policy_status(site: &Site) -> Value {
    let said = site.cli(&["policy", "status", "--json"]).ok();
    let modules: Value = serde_json::from_str(&said).expect("status is JSON");
    modules[0].clone()
}

/// The reply to MAIL FROM of a host that may do everything.
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
fn only_signed_code_is_loaded() {
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

    // The store is no way around it.
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
fn probation_brings_back_nothing_that_has_not_the_signature_asked_for_now() {
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
    // What runs is his, and her signature is no longer asked for.
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
