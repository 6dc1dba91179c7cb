//! Loads, refusals, restores and reloads: the active generation after each operation.

use serde_json::{Value, json};

use crate::PolicyManager;
use crate::testing::{Bench, load, stranger};
use host_engine::component::builtin;
use host_events::Event;
use host_mail::{ReversePath, SessionId};

async fn sender_faults(policies: &PolicyManager) -> bool {
    let mut transaction = policies.transaction(SessionId::generate());
    transaction.sender(&stranger(), &ReversePath::Null).await.fault
}

fn panics() -> Value {
    json!({ "mode": "panic", "stage": "sender" })
}

async fn working_policy() -> Bench {
    Bench::with(&[("m", builtin::MISBEHAVING, json!({}))]).await
}

#[tokio::test(flavor = "multi_thread")]
async fn load_applies_to_new_transactions_only() {
    let bench = working_policy().await;
    let mut before = bench.policies.transaction(SessionId::generate());
    let done = bench.policies.load(load(None, Some(panics()))).await.expect("loaded");
    assert_eq!(
        (done.module.as_str(), done.generation, done.previous),
        ("m", 2, Some(1))
    );
    assert!(!before.sender(&stranger(), &ReversePath::Null).await.fault);
    assert!(sender_faults(&bench.policies).await);
    assert_eq!(bench.captured.ids(), [5003, 5003, 4037]);
    let status = &bench.policies.status()[0];
    assert_eq!(
        (status.generation, status.by.as_str(), status.calls),
        (2, "a tester", 1)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn refused_load_changes_nothing() {
    let bench = working_policy().await;
    let problems = bench
        .policies
        .load(load(Some(b"\0asm\x01\0\0\0"), None))
        .await
        .expect_err("a core module");
    assert!(
        problems[0].text.contains("core module, not a component"),
        "{problems:?}"
    );
    let problems = bench
        .policies
        .load(load(None, Some(json!({ "mode": "dance" }))))
        .await
        .expect_err("no such mode");
    assert_eq!(problems[0].key, "settings");
    assert_eq!(bench.captured.ids(), [5003, 5004, 5004]);
    assert!(!sender_faults(&bench.policies).await);
    assert_eq!(bench.policies.status()[0].generation, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn loaded_generation_survives_a_restart_with_its_number() {
    let mut bench = working_policy().await;
    bench
        .policies
        .load(load(Some(builtin::Q178091), None))
        .await
        .expect("loaded");
    let before = bench.policies.status().remove(0);
    bench.restart().await;
    let after = bench.policies.status().remove(0);
    assert_eq!(after.name, "q178091");
    assert_eq!(
        (after.generation, after.since, &after.by),
        (before.generation, before.since, &before.by)
    );
    assert_eq!(bench.captured.ids(), [5003]);
}

#[tokio::test(flavor = "multi_thread")]
async fn newer_configuration_overrides_loaded_code_and_settings_separately() {
    let mut bench = working_policy().await;
    bench
        .policies
        .load(load(Some(builtin::Q178091), Some(json!({ "x": 1 }))))
        .await
        .expect("loaded");
    // Settings in the file are newer than the loaded settings; the loaded code stays.
    bench.config.policies[0].settings.insert("y".to_owned(), json!(2));
    bench.restart().await;
    let status = bench.policies.status().remove(0);
    assert_eq!((status.name.as_str(), status.generation), ("q178091", 3));
    // The file is newer than the loaded code.
    bench.config.policies[0].settings.clear();
    let file = bench.config.policies[0].file.clone().expect("a file");
    std::fs::write(file, builtin::DEFAULT).expect("written");
    bench.restart().await;
    let status = bench.policies.status().remove(0);
    assert_ne!(status.name, "q178091");
    assert_eq!(status.generation, 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn restores_the_last_good_generation_if_the_configured_one_fails() {
    let mut bench = working_policy().await;
    let digest = bench.policies.status()[0].digest.clone();
    let file = bench.config.policies[0].file.clone().expect("a file");
    std::fs::write(&file, b"\0asm").expect("written");
    for _ in 0..2 {
        bench.restart().await;
        assert_eq!(bench.captured.ids(), [5004, 5003, 5005]);
        let status = bench.policies.status().remove(0);
        assert_eq!(
            (status.digest.as_str(), status.generation, status.health.as_str()),
            (&*digest, 1, "running")
        );
    }
    std::fs::write(&file, builtin::Q178091).expect("written");
    bench.restart().await;
    assert_eq!(bench.captured.ids(), [5003]);
    assert_eq!(bench.policies.status()[0].name, "q178091");
}

#[tokio::test(flavor = "multi_thread")]
async fn restore_never_widens_grants() {
    let mut bench = Bench::with(&[("m", builtin::Q178091, json!({}))]).await;
    bench.config.policies[0].grants.retain(|grant| grant != "directory");
    bench.restart().await;
    let ids = bench.captured.ids();
    assert_eq!(ids, [5004, 5019]);
    let Event::PolicyRefused { problems, .. } = &bench.captured.events()[0] else {
        panic!("refused")
    };
    assert_eq!(
        problems,
        &["grants: imports posthouse:policy/directory: not granted; add \"directory\" to policy[0].grants"]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn damaged_store_loses_only_the_loads() {
    let mut bench = working_policy().await;
    bench
        .policies
        .load(load(Some(builtin::Q178091), None))
        .await
        .expect("loaded");
    std::fs::write(bench.folder.path().join("policies/activations.json"), "{").expect("written");
    bench.restart().await;
    assert_eq!(bench.captured.ids(), [5012, 5003]);
    let status = bench.policies.status().remove(0);
    assert_eq!(status.name, "misbehaving");
    assert!(status.generation > 1_000_000, "a number never comes back");
}

#[tokio::test(flavor = "multi_thread")]
async fn damaged_loaded_code_falls_back_to_the_configured_code() {
    let mut bench = working_policy().await;
    let loaded = bench
        .policies
        .load(load(Some(builtin::Q178091), None))
        .await
        .expect("loaded");
    let code = bench.folder.path().join(format!("policies/{}.wasm", loaded.digest));
    std::fs::write(code, "damaged").expect("written");
    bench.restart().await;
    assert_eq!(bench.captured.ids(), [5004, 5003, 5005]);
    assert_eq!(bench.policies.status()[0].name, "misbehaving");
}

#[tokio::test(flavor = "multi_thread")]
async fn reload_is_all_or_nothing() {
    let bench = working_policy().await;
    let mut config = bench.config.clone();
    let mut second = config.policies[0].clone();
    second.name = "second".to_owned();
    second.settings.insert("mode".to_owned(), json!("dance"));
    config.policies.insert(0, second);
    config.policies[1].limits.memory = 32 << 20;
    let (changed, problems) = bench.policies.reload(&config).await;
    assert!(changed.is_empty());
    assert_eq!(problems[0].key, "policy[0].settings");
    assert_eq!(bench.policies.status().len(), 1);
    assert_eq!(bench.policies.status()[0].generation, 1);

    config.policies[0].settings.clear();
    let (changed, problems) = bench.policies.reload(&config).await;
    assert_eq!(problems, []);
    assert_eq!(changed.len(), 2, "{changed:?}");
    let names: Vec<_> = bench
        .policies
        .status()
        .into_iter()
        .map(|status| status.module)
        .collect();
    assert_eq!(names, ["second", "m"]);

    config.policies.reverse();
    let (changed, _) = bench.policies.reload(&config).await;
    assert_eq!(changed, ["policies are asked in the order m, second"]);
    config.policies.pop();
    let (changed, _) = bench.policies.reload(&config).await;
    assert_eq!(changed, ["policy second: no longer asked"]);
    config.policy_engine.instances += 1;
    let (changed, problems) = bench.policies.reload(&config).await;
    assert!(changed.is_empty());
    assert_eq!(problems[0].key, "policy-engine.instances");
}

#[tokio::test(flavor = "multi_thread")]
async fn reload_keeps_loaded_code() {
    let bench = working_policy().await;
    bench
        .policies
        .load(load(Some(builtin::Q178091), None))
        .await
        .expect("loaded");
    let (changed, problems) = bench.policies.reload(&bench.config).await;
    assert_eq!((changed, problems), (vec![], vec![]));
    assert_eq!(bench.policies.status()[0].name, "q178091");
}

#[tokio::test(flavor = "multi_thread")]
async fn load_needs_a_module_name_if_there_are_several() {
    let bench = Bench::with(&[
        ("a", builtin::MISBEHAVING, json!({})),
        ("b", builtin::MISBEHAVING, json!({})),
    ])
    .await;
    let problems = bench
        .policies
        .load(load(None, Some(json!({}))))
        .await
        .expect_err("which?");
    assert_eq!(problems[0].to_string(), "module: which of a, b?");
    let mut request = load(None, Some(panics()));
    request.module = Some("b".to_owned());
    let done = bench.policies.load(request).await.expect("loaded");
    assert_eq!(
        (done.module.as_str(), done.generation, done.previous),
        ("b", 3, Some(2))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn load_repairs_a_module_that_cannot_run() {
    let bench = Bench::with(&[("m", builtin::MISBEHAVING, json!({ "mode": "dance" }))]).await;
    assert_eq!(bench.policies.status()[0].generation, 0);
    let done = bench.policies.load(load(None, Some(json!({})))).await.expect("loaded");
    assert_eq!((done.generation, done.previous), (1, None));
    assert!(!sender_faults(&bench.policies).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn concurrent_loads_are_serialised() {
    let bench = working_policy().await;
    let loads = (0..8).map(|n| {
        let policies = bench.policies.clone();
        tokio::spawn(async move {
            let code = if n % 2 == 0 {
                builtin::Q178091
            } else {
                builtin::MISBEHAVING
            };
            policies.load(load(Some(code), Some(json!({})))).await
        })
    });
    let mut numbers = Vec::new();
    for load in loads.collect::<Vec<_>>() {
        let done = load.await.expect("no panic").expect("loaded");
        numbers.push(done.generation);
    }
    let newest = numbers.into_iter().max().expect("some");
    assert_eq!(bench.policies.status()[0].generation, newest);
}

#[tokio::test(flavor = "multi_thread")]
async fn ephemeral_manager_writes_nothing() {
    let bench = working_policy().await;
    let folder = tempfile::tempdir().expect("a folder");
    let mut config = bench.config.clone();
    config.data = folder.path().to_owned();
    let start = |config: host_config::Config| async move {
        let directory = std::sync::Arc::new(crate::testing::TestDirectory);
        PolicyManager::ephemeral(&config, directory, host_events::Events::discard()).await
    };
    let policies = start(config.clone()).await.expect("an engine");
    assert!(!sender_faults(&policies).await);
    assert_eq!(std::fs::read_dir(folder.path()).expect("a folder").count(), 0);
    config.policies[0].settings.insert("mode".to_owned(), json!("dance"));
    let problems = start(config).await.err().expect("a problem");
    assert_eq!(problems[0].key, "policy[0].settings");
}
