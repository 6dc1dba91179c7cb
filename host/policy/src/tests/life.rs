//! History, rollback, dry runs and signatures.

use serde_json::json;

use crate::testing::{Bench, address, load, path, stranger};
use crate::{Activation, How, LoadRequest, ModuleHistory};
use host_config::PolicyLimits;
use host_engine::component::{builtin, inspect};
use host_events::Event;
use host_mail::SessionId;
use host_testing::{Signer, sign};

async fn working_policy() -> Bench {
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
async fn history_lists_activations_and_rollback_restores_them() {
    let mut bench = working_policy().await;
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
    let captured = bench.captured.events();
    let Some(Event::PolicyRolledBack {
        was, to, how, reason, ..
    }) = captured.last()
    else {
        panic!("{captured:?}");
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
async fn rollback_without_stored_code_is_refused() {
    let bench = working_policy().await;
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

/// Starts with a generation that imports `directory`, loads a generation without imports, and takes the grant away by a
/// reload. Generation 3 is active then.
async fn grant_taken_away() -> Bench {
    let mut bench = Bench::with(&[("m", builtin::Q178091, json!({}))]).await;
    assert!(inspect(builtin::Q178091).expect("a policy").uses.contains("directory"));
    assert!(inspect(builtin::FIRST_POLICY).expect("a policy").uses.is_empty());
    let loaded = bench.policies.load(load(Some(builtin::FIRST_POLICY), None)).await;
    assert_eq!(loaded.expect("loaded").generation, 2);
    bench.config.policies[0].grants.retain(|grant| grant != "directory");
    let (changed, problems) = bench.policies.reload(&bench.config).await;
    assert_eq!(problems, []);
    assert_eq!(changed, ["policy m: generation 3 instead of 2"]);
    bench
}

#[tokio::test(flavor = "multi_thread")]
async fn rollback_never_widens_grants() {
    let mut bench = grant_taken_away().await;
    let before = history(&bench).await;
    assert_eq!((before.active, before.rollback), (Some(3), Some(1)));
    let activations = before.activations.len();
    // Both ways to name the generation, and a second attempt after a restart.
    for to in [None, Some(1)] {
        let events = bench.captured.ids();
        let refused = bench.policies.roll_back(None, to, "a tester", "").await;
        let problems: Vec<String> = refused
            .expect_err("not granted")
            .iter()
            .map(ToString::to_string)
            .collect();
        assert_eq!(
            problems,
            ["grants: imports posthouse:policy/directory: not granted; add \"directory\" to policy[0].grants"]
        );
        assert_eq!(
            bench.captured.ids(),
            [events, vec![5004]].concat(),
            "refused, not rolled back"
        );
        assert_eq!(active(&bench), ("first-policy".to_owned(), 3));
        assert_eq!(granted(&bench), ["message", "host"]);
        let after = history(&bench).await;
        assert_eq!((after.active, after.activations.len()), (Some(3), activations));
        bench.restart().await;
        assert_eq!(bench.captured.ids(), [5003]);
        assert_eq!(active(&bench), ("first-policy".to_owned(), 3));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn rollback_works_once_the_grant_is_back() {
    let mut bench = grant_taken_away().await;
    bench.config.policies[0].grants.push("directory".to_owned());
    let (_, problems) = bench.policies.reload(&bench.config).await;
    assert_eq!(problems, []);
    back(&bench, Some(1)).await;
    assert_eq!(active(&bench).0, "q178091");
    assert_eq!(granted(&bench), ["message", "host", "directory"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn rolled_back_generation_has_the_limits_of_today() {
    let mut bench = Bench::with(&[("m", builtin::Q178091, json!({}))]).await;
    assert!(!recipient_faults(&bench).await, "1000 host calls are enough");
    bench
        .policies
        .load(load(Some(builtin::FIRST_POLICY), None))
        .await
        .expect("loaded");
    let limits = PolicyLimits {
        host_calls: 0,
        memory: 8 << 20,
        ..bench.config.policies[0].limits.clone()
    };
    bench.config.policies[0].limits = limits.clone();
    let (_, problems) = bench.policies.reload(&bench.config).await;
    assert_eq!(problems, []);
    assert_eq!(back(&bench, Some(1)).await.generation, 4);
    assert_eq!(active(&bench), ("q178091".to_owned(), 4));
    assert_eq!(bench.policies.setup(None).expect("a module").limits, limits);
    assert!(
        recipient_faults(&bench).await,
        "a host call is beyond the limit of today"
    );
    let fault = bench.fault();
    assert_eq!(fault.generation, 4);
    assert!(fault.code.contains("more than 0 calls to the host"), "{}", fault.code);
}

/// Returns name and number of the active generation.
fn active(bench: &Bench) -> (String, u64) {
    let status = bench.policies.status().remove(0);
    (status.name, status.generation)
}

fn granted(bench: &Bench) -> Vec<String> {
    bench.policies.setup(None).expect("a module").grants
}

/// Asks about a recipient that the policy looks up in the directory.
async fn recipient_faults(bench: &Bench) -> bool {
    let mut transaction = bench.policies.transaction(SessionId::generate());
    let (sender, recipient) = (path("a@example.net"), address("other@example.org"));
    transaction.recipient(&stranger(), &sender, &recipient).await.fault
}

#[tokio::test(flavor = "multi_thread")]
async fn check_activates_nothing_and_emits_no_event() {
    let bench = working_policy().await;
    let before = bench.captured.ids();
    let checked = bench
        .policies
        .check(load(Some(builtin::Q178091), None))
        .await
        .expect("good");
    assert_eq!((checked.name.as_str(), checked.active), ("q178091", Some(1)));
    assert!(checked.changes.code.is_some() && !checked.contract.is_empty());
    let problems = bench.policies.check(load(None, Some(json!({ "mode": "dance" })))).await;
    assert_eq!(problems.expect_err("no such mode")[0].key, "settings");
    assert_eq!(bench.captured.ids(), before);
    assert_eq!(history(&bench).await.activations.len(), 1);
}

fn signed(signer: &Signer, code: &[u8]) -> LoadRequest {
    LoadRequest {
        signature: Some(sign(signer, code)),
        ..load(Some(code), Some(json!({})))
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn code_without_a_trusted_signature_never_runs() {
    let mut bench = working_policy().await;
    let (anna, bert) = (Signer::new(), Signer::new());
    bench
        .policies
        .load(signed(&anna, builtin::Q178091))
        .await
        .expect("no signer is configured");
    // With a signer in the configuration, signed code runs and other code does not.
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

    // With another signer, neither the running code nor earlier code is trusted, at a reload or at a start.
    bench.config.policies[0].signed_by = vec![bert.public.clone()];
    let (_, problems) = bench.policies.reload(&bench.config).await;
    assert!(problems[0].text.contains("none of policy[0].signed-by"), "{problems:?}");
    assert_eq!(bench.policies.status()[0].name, "first-policy");
    bench.restart().await;
    assert!(bench.captured.ids().contains(&5019), "{:?}", bench.captured.ids());
    bench
        .policies
        .load(signed(&bert, builtin::FIRST_POLICY))
        .await
        .expect("his");
    bench.restart().await;
    assert_eq!(bench.policies.status()[0].name, "first-policy");
}

#[tokio::test(flavor = "multi_thread")]
async fn signature_of_a_configured_file_is_read_beside_it() {
    let mut bench = working_policy().await;
    let anna = Signer::new();
    bench.config.policies[0].signed_by = vec![anna.public.clone()];
    let beside = bench.folder.path().join("m.wasm.minisig");
    std::fs::write(&beside, sign(&anna, builtin::Q178091)).expect("written");
    bench.restart().await;
    assert!(bench.captured.ids().contains(&5019), "another file's signature");
    std::fs::write(&beside, sign(&anna, builtin::MISBEHAVING)).expect("written");
    bench.restart().await;
    assert_eq!(bench.policies.status()[0].name, "misbehaving");
    // The built-in policy needs no signature.
    bench.config.policies[0].file = None;
    bench.restart().await;
    assert_eq!(bench.policies.status()[0].health, "running");
}
