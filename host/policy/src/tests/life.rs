//! History, going back, signatures.

use serde_json::json;

use crate::testing::{Bench, load};
use crate::{Activation, How, LoadRequest, ModuleHistory};
use host_engine::component::builtin;
use host_events::Event;
use host_testing::{Signer, sign};

async fn good() -> Bench {
    Bench::with(&[("m", builtin::MISBEHAVING, json!({}))]).await
}

async fn history(bench: &Bench) -> ModuleHistory {
    bench.policies.history(Some("m")).await.expect("a history").remove(0)
}

async fn back(bench: &Bench, to: Option<u64>) -> Activation {
    let done = bench.policies.roll_back(None, to, "a tester", "it was worse").await;
    done.expect("rolled back")
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_active_is_remembered_and_gone_back_to() {
    let mut bench = good().await;
    let mut request = load(Some(builtin::Q178091), Some(json!({ "x": 1 })));
    request.reason = "to see".to_owned();
    let done = bench.policies.load(request).await.expect("loaded");
    assert_eq!(done.changes.settings_added, ["x"]);
    assert!(done.changes.code.is_some());
    bench
        .policies
        .load(load(Some(builtin::FIRST_POLICY), Some(json!({}))))
        .await
        .expect("loaded");
    bench.restart().await;

    let was = history(&bench).await;
    let lines: Vec<_> = was
        .activations
        .iter()
        .map(|r| (r.past.generation, r.past.how, r.kept))
        .collect();
    assert_eq!(
        lines,
        [(3, How::Load, true), (2, How::Load, true), (1, How::Start, true)]
    );
    assert_eq!(was.activations[1].past.why, "to see");
    assert_eq!((was.active, was.rollback), (Some(3), Some(2)));

    let done = back(&bench, None).await;
    assert_eq!((done.generation, done.previous), (4, Some(3)));
    assert_eq!(bench.policies.status()[0].name, "q178091");
    let done = back(&bench, None).await;
    assert_eq!(done.generation, 5);
    assert_eq!(bench.policies.status()[0].name, "misbehaving");
    let told = bench.told.events();
    let Some(Event::PolicyRolledBack {
        was, to, how, reason, ..
    }) = told.last()
    else {
        panic!("{told:?}");
    };
    assert_eq!(
        (*was, *to, how.as_str(), reason.as_str()),
        (Some(4), 1, "rollback", "it was worse")
    );
    let problems = bench
        .policies
        .roll_back(None, None, "a tester", "")
        .await
        .expect_err("the first");
    assert!(problems[0].text.contains("nothing else was active"), "{problems:?}");

    assert_eq!(back(&bench, Some(3)).await.generation, 6);
    bench.restart().await;
    let status = bench.policies.status().remove(0);
    assert_eq!((status.name.as_str(), status.generation), ("first-policy", 6));
    let problems = bench
        .policies
        .roll_back(None, Some(99), "a tester", "")
        .await
        .expect_err("never was");
    assert!(
        problems[0].text.contains("generation 99 is not in the history"),
        "{problems:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn code_that_is_gone_is_named() {
    let bench = good().await;
    let first = bench.policies.status()[0].digest.clone();
    bench
        .policies
        .load(load(Some(builtin::Q178091), None))
        .await
        .expect("loaded");
    std::fs::remove_file(bench.folder.path().join(format!("policies/{first}.wasm"))).expect("removed");
    let problems = bench
        .policies
        .roll_back(None, None, "a tester", "")
        .await
        .expect_err("gone");
    assert!(problems[0].text.contains("generation 1 is not kept"), "{problems:?}");
    assert_eq!(bench.policies.status()[0].generation, 2);
    assert!(!history(&bench).await.activations[1].kept);
}

#[tokio::test(flavor = "multi_thread")]
async fn going_back_never_widens_what_is_granted() {
    let mut bench = Bench::with(&[("m", builtin::Q178091, json!({}))]).await;
    bench
        .policies
        .load(load(Some(builtin::MISBEHAVING), Some(json!({}))))
        .await
        .expect("loaded");
    bench.config.policies[0].grants.clear();
    bench.restart().await;
    let ids = bench.told.ids();
    if ids.contains(&5019) {
        // This guest wants a grant, too: there is nothing to go back from.
        return;
    }
    let problems = bench
        .policies
        .roll_back(None, None, "a tester", "")
        .await
        .expect_err("not granted");
    assert_eq!(problems[0].key, "grants");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_check_activates_nothing_and_says_nothing() {
    let bench = good().await;
    let before = bench.told.ids();
    let checked = bench
        .policies
        .check(load(Some(builtin::Q178091), None))
        .await
        .expect("good");
    assert_eq!((checked.name.as_str(), checked.active), ("q178091", Some(1)));
    assert!(checked.changes.code.is_some() && !checked.contract.is_empty());
    let problems = bench.policies.check(load(None, Some(json!({ "mode": "dance" })))).await;
    assert_eq!(problems.expect_err("no such mode")[0].key, "settings");
    assert_eq!(bench.told.ids(), before);
    assert_eq!(history(&bench).await.activations.len(), 1);
}

fn signed(signer: &Signer, code: &[u8]) -> LoadRequest {
    LoadRequest {
        signature: Some(sign(signer, code)),
        ..load(Some(code), Some(json!({})))
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn unsigned_code_is_not_loaded_at_start_either() {
    let mut bench = good().await;
    let (anna, bert) = (Signer::new(), Signer::new());
    bench
        .policies
        .load(signed(&anna, builtin::Q178091))
        .await
        .expect("nobody asks");
    // From now on somebody asks: what was loaded with her signature is fine, the rest is not.
    bench.config.policies[0].signed_by = vec![anna.public.clone()];
    bench.restart().await;
    assert_eq!(bench.policies.status()[0].name, "q178091");
    for wrong in [
        load(Some(builtin::FIRST_POLICY), None),
        signed(&bert, builtin::FIRST_POLICY),
    ] {
        let problems = bench.policies.load(wrong).await.expect_err("not hers");
        assert_eq!(problems[0].key, "signature");
    }
    let problems = bench
        .policies
        .roll_back(None, Some(1), "a tester", "")
        .await
        .expect_err("unsigned");
    assert!(problems[0].text.contains("unsigned"), "{problems:?}");
    bench
        .policies
        .load(load(None, Some(json!({}))))
        .await
        .expect("her code, other settings");
    bench
        .policies
        .load(signed(&anna, builtin::FIRST_POLICY))
        .await
        .expect("hers");

    // Another key: neither what runs nor what was, at a reload nor at a start.
    bench.config.policies[0].signed_by = vec![bert.public.clone()];
    let (_, problems) = bench.policies.reconfigure(&bench.config).await;
    assert!(problems[0].text.contains("none of policy[0].signed-by"), "{problems:?}");
    assert_eq!(bench.policies.status()[0].name, "first-policy");
    bench.restart().await;
    assert!(bench.told.ids().contains(&5019), "{:?}", bench.told.ids());
    bench
        .policies
        .load(signed(&bert, builtin::FIRST_POLICY))
        .await
        .expect("his");
    bench.restart().await;
    assert_eq!(bench.policies.status()[0].name, "first-policy");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_configured_file_has_its_signature_beside_it() {
    let mut bench = good().await;
    let anna = Signer::new();
    bench.config.policies[0].signed_by = vec![anna.public.clone()];
    let beside = bench.folder.path().join("m.wasm.minisig");
    std::fs::write(&beside, sign(&anna, builtin::Q178091)).expect("written");
    bench.restart().await;
    assert!(bench.told.ids().contains(&5019), "another file's signature");
    std::fs::write(&beside, sign(&anna, builtin::MISBEHAVING)).expect("written");
    bench.restart().await;
    assert_eq!(bench.policies.status()[0].name, "misbehaving");
    // The built-in policy came with the program.
    bench.config.policies[0].file = None;
    bench.restart().await;
    assert_eq!(bench.policies.status()[0].health, "running");
}
