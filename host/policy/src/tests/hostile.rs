//! Files that are no policies, and guests that misuse the host.

use std::time::Duration;

use serde_json::json;

use crate::testing::{Bench, address, anna, load, path, stranger};
use host_contract::Verdict;
use host_engine::component::{Role, builtin, inspect};
use host_mail::{ReversePath, SessionId};

fn complaint(bytes: &[u8]) -> String {
    let problems = inspect(bytes).expect_err("not a policy");
    problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
}

fn wat(text: &str) -> Vec<u8> {
    wat::parse_str(text).expect("WAT")
}

/// Replaces every occurrence of a byte string.
fn replaced(bytes: &[u8], from: &[u8], to: &[u8]) -> Vec<u8> {
    assert_eq!(from.len(), to.len());
    let mut out = bytes.to_vec();
    let mut at = 0;
    let mut count = 0;
    while let Some(found) = out[at..].windows(from.len()).position(|window| window == from) {
        at += found;
        out[at..at + to.len()].copy_from_slice(to);
        count += 1;
    }
    assert!(count > 0, "{:?} does not occur", String::from_utf8_lossy(from));
    out
}

#[test]
fn recognises_roles_and_imports_of_real_policies() {
    for bytes in [builtin::DEFAULT, builtin::Q178091, builtin::MISBEHAVING] {
        let shape = inspect(bytes).expect("a policy");
        assert_eq!(shape.roles.into_iter().collect::<Vec<_>>(), Role::ALL);
    }
    // The type `message` is imported by every policy with homing, but no function of the interface.
    let uses = inspect(builtin::FIRST_POLICY).expect("a policy").uses;
    assert!(uses.is_empty(), "{uses:?}");
    // A policy that reads subjects imports functions.
    let uses = inspect(builtin::MISBEHAVING).expect("a policy").uses;
    assert!(uses.len() == 1 && uses.contains("message"), "{uses:?}");
}

#[test]
fn names_what_is_wrong_with_a_file_that_is_no_policy() {
    let http = wat(r#"(component (import "wasi:http/types@0.2.10" (instance)))"#);
    let files = wat(r#"(component (import "wasi:filesystem/types@0.2.6" (instance)))"#);
    let other = replaced(builtin::MISBEHAVING, b"@0.2.0", b"@0.3.0");
    let asynchronous = wat(r#"(component (core func (canon task.cancel)))"#);
    for (bytes, expected) in [
        (&b""[..], "empty file"),
        (b"#!/bin/sh", "not WebAssembly"),
        (
            b"\0asm\x01\0\0\0",
            "this is a core module, not a component: build for wasm32-wasip2",
        ),
        (b"\0asm\x0d\0", "truncated or damaged at offset 6"),
        (b"\x7fELF\x02\x01", "native code is not accepted"),
        (&builtin::MISBEHAVING[..5_000], "truncated or damaged at offset"),
        (&http, "imports wasi:http/types@0.2.10: not granted"),
        (&files, "exports no posthouse:policy/lifecycle"),
        (&files, "exports none of posthouse:policy/exemption, homing and ndr"),
        (
            &other,
            "built for posthouse:policy@0.3.0; this host serves 0.1.x and 0.2.x: upgrade this host, or rebuild",
        ),
        (&asynchronous, "rebuild with --sync"),
    ] {
        let text = complaint(bytes);
        assert!(text.contains(expected), "{expected:?} is not in {text:?}");
    }
}

/// Returns a component with functions of a wrong type; `start` runs at instantiation.
fn wrongly_typed(start: &str) -> Vec<u8> {
    wat(&format!(
        r#"(component
            (core module $m
                (func $start {start})
                (start $start)
                (func (export "f") (result i32) i32.const 0))
            (core instance $i (instantiate $m))
            (func $f (result u32) (canon lift (core func $i "f")))
            (instance $lifecycle (export "describe" (func $f)) (export "configure" (func $f)))
            (instance $exemption (export "admit" (func $f)))
            (export "posthouse:policy/lifecycle@0.2.0" (instance $lifecycle))
            (export "posthouse:policy/exemption@0.2.0" (instance $exemption)))"#
    ))
}

#[tokio::test(flavor = "multi_thread")]
async fn refuses_missing_exports_and_exports_of_wrong_types() {
    let bench = Bench::with(&[("m", builtin::MISBEHAVING, json!({}))]).await;
    let empty = wat(r#"(component
            (instance $none)
            (export "posthouse:policy/lifecycle@0.2.0" (instance $none))
            (export "posthouse:policy/homing@0.2.0" (instance $none)))"#);
    for (code, expected) in [(empty, "describe"), (wrongly_typed("nop"), "type mismatch")] {
        let problems = bench.policies.load(load(Some(&code), None)).await.expect_err("refused");
        let text = &problems[0].text;
        assert!(
            text.starts_with("does not fit the contract") && text.contains(expected),
            "{text}"
        );
    }
    assert!(bench.faults().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn refuses_a_component_that_faults_at_instantiation() {
    let bench = Bench::with(&[("m", builtin::MISBEHAVING, json!({}))]).await;
    for (start, class) in [
        ("(loop $l (br $l))", "cpu-timeout"),
        ("unreachable", "panic"),
        ("call $start", "stack"),
    ] {
        let problems = bench
            .policies
            .load(load(Some(&wrongly_typed(start)), None))
            .await
            .expect_err("refused");
        let expected = format!("faults in instantiate: {class}");
        assert!(problems[0].text.starts_with(&expected), "{problems:?}");
    }
    assert_eq!(bench.policies.status()[0].generation, 1);
}

/// A deterministic random generator, so that a failure can be repeated.
struct RandomBits(u64);

impl RandomBits {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % bound as u64).expect("below a usize")
    }
}

/// A flipped bit may leave a policy that runs, but never takes the host down.
#[tokio::test(flavor = "multi_thread")]
async fn flipped_bits_never_take_the_host_down() {
    let bench = Bench::with(&[("m", builtin::MISBEHAVING, json!({}))]).await;
    let mut random = RandomBits(0x1f2e_3d4c_5b6a_7988);
    let mut tried = 0;
    for _ in 0..1_000 {
        let mut bytes = builtin::MISBEHAVING.to_vec();
        let at = random.below(bytes.len());
        bytes[at] ^= 1 << random.below(8);
        if inspect(&bytes).is_ok() && tried < 25 {
            tried += 1;
            // Both results are fine; the host must answer.
            let _ = bench.policies.load(load(Some(&bytes), None)).await;
        }
    }
    assert_eq!(tried, 25, "few flips left a component that can be inspected");
    for _ in 0..200 {
        let end = random.below(builtin::MISBEHAVING.len());
        assert!(inspect(&builtin::MISBEHAVING[..end]).is_err());
    }
    bench
        .policies
        .load(load(Some(builtin::MISBEHAVING), None))
        .await
        .expect("the host goes on");
}

#[tokio::test(flavor = "multi_thread")]
async fn undecodable_result_is_an_abi_fault() {
    let bench = Bench::with(&[("m", builtin::MISBEHAVING, json!({}))]).await;
    let garbled = replaced(builtin::MISBEHAVING, b"does what its settings say", &[0xff; 26]);
    let problems = bench
        .policies
        .load(load(Some(&garbled), None))
        .await
        .expect_err("refused");
    assert!(problems[0].text.starts_with("faults in describe: abi:"), "{problems:?}");
    let fault = bench.fault();
    assert_eq!(
        (fault.class.as_str(), fault.stage.as_str(), fault.generation),
        ("abi", "describe", 0)
    );
    assert!(fault.code.contains("utf-8"), "{}", fault.code);
    assert_eq!(bench.policies.status()[0].generation, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn exceeding_the_memory_limit_at_instantiation_is_a_memory_fault() {
    let mut bench = Bench::with(&[("m", builtin::MISBEHAVING, json!({}))]).await;
    bench.config.policies[0].limits.memory = 64 * 1024;
    let (_, problems) = bench.policies.reload(&bench.config).await;
    assert!(problems[0].text.contains("memory"), "{problems:?}");
    assert_eq!(bench.fault().class, "memory");
}

#[tokio::test(flavor = "multi_thread")]
async fn refuses_a_component_larger_than_the_limit() {
    let mut bench = Bench::with(&[("m", builtin::MISBEHAVING, json!({}))]).await;
    bench.config.policies[0].limits.component_size = 1_000;
    let (_, problems) = bench.policies.reload(&bench.config).await;
    assert!(
        problems[0].text.contains("larger than limits.component-size"),
        "{problems:?}"
    );
    bench.restart().await;
    let problems = bench
        .policies
        .load(load(Some(builtin::Q178091), None))
        .await
        .expect_err("too large");
    assert!(
        problems[0].text.contains("larger than limits.component-size"),
        "{problems:?}"
    );
}

/// Returns the fault of a policy that looks up `recipient`; the test directory misbehaves for some addresses.
async fn fault_of_lookup(recipient: &str, change: impl Fn(&mut host_config::PolicyLimits)) -> (String, String) {
    let mut bench = Bench::with(&[("old", builtin::Q178091, json!({}))]).await;
    change(&mut bench.config.policies[0].limits);
    bench.restart().await;
    let mut transaction = bench.policies.transaction(SessionId::generate());
    let asked = transaction
        .recipient(&stranger(), &path("a@example.net"), &address(recipient))
        .await;
    assert!(asked.fault && matches!(asked.answer, Verdict::Defer(_)), "{asked:?}");
    let fault = bench.fault();
    (fault.class, fault.code)
}

#[tokio::test(flavor = "multi_thread")]
async fn host_call_that_does_not_return_is_a_host_timeout() {
    let (class, _) = fault_of_lookup("slow@example.org", |limits| limits.wall = Duration::from_millis(300)).await;
    assert_eq!(class, "host-timeout");
}

#[tokio::test(flavor = "multi_thread")]
async fn host_panic_is_contained_as_a_host_bug() {
    let (class, code) = fault_of_lookup("panic@example.org", |_| {}).await;
    assert_eq!(
        (class.as_str(), code.as_str()),
        ("host-bug", "the host panicked: the directory broke")
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn exceeding_the_host_call_limit_is_a_trap() {
    let (class, code) = fault_of_lookup("other@example.org", |limits| limits.host_calls = 0).await;
    assert_eq!(class, "trap");
    assert!(code.contains("more than 0 calls to the host"), "{code}");
}

/// Runs on a single worker, which a guest that does not yield would block.
#[tokio::test(flavor = "current_thread")]
async fn spinning_guest_yields_to_other_tasks() {
    let mut bench = Bench::misbehaving("loop", "sender").await;
    bench.config.policies[0].limits.cpu = Duration::from_secs(60);
    bench.config.policies[0].limits.wall = Duration::from_secs(120);
    bench.restart().await;
    let mut spinning = bench.policies.transaction(SessionId::generate());
    let client = stranger();
    let spin = spinning.sender(&client, &ReversePath::Null);
    let others = async {
        let mut transaction = bench.policies.transaction(SessionId::generate());
        let recipient = address("anna@example.org");
        transaction
            .recipient(&anna(), &path("anna@example.org"), &recipient)
            .await
    };
    tokio::select! {
        biased;
        _ = spin => panic!("it spins for a minute"),
        asked = others => assert!(!asked.fault),
    }
}
