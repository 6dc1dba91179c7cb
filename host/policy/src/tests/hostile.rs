//! What is handed over as a policy and is none, and guests that misuse the host.

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

/// The text changed wherever it stands.
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
fn real_policies_are_recognised() {
    for bytes in [builtin::DEFAULT, builtin::Q178091, builtin::MISBEHAVING] {
        let shape = inspect(bytes).expect("a policy");
        assert_eq!(shape.roles.into_iter().collect::<Vec<_>>(), Role::ALL);
    }
    // It imports the type `message`, as every policy with homing must, but no function of it.
    let uses = inspect(builtin::FIRST_POLICY).expect("a policy").uses;
    assert!(uses.is_empty(), "{uses:?}");
    // The one that looks at subjects does.
    let uses = inspect(builtin::MISBEHAVING).expect("a policy").uses;
    assert!(uses.len() == 1 && uses.contains("message"), "{uses:?}");
}

#[test]
fn each_thing_that_is_no_policy_is_called_by_its_name() {
    let http = wat(r#"(component (import "wasi:http/types@0.2.10" (instance)))"#);
    let files = wat(r#"(component (import "wasi:filesystem/types@0.2.6" (instance)))"#);
    let other = replaced(builtin::MISBEHAVING, b"@0.2.0", b"@0.3.0");
    let asynchronous = wat(r#"(component (core func (canon task.cancel)))"#);
    for (bytes, says) in [
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
        assert!(text.contains(says), "{says:?} is not in {text:?}");
    }
}

/// Every function there is, with a type of its own; `start` runs when it is instantiated.
fn misfit(start: &str) -> Vec<u8> {
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
async fn exports_of_other_types_or_none_do_not_fit_the_contract() {
    let bench = Bench::with(&[("m", builtin::MISBEHAVING, json!({}))]).await;
    let empty = wat(r#"(component
            (instance $none)
            (export "posthouse:policy/lifecycle@0.2.0" (instance $none))
            (export "posthouse:policy/homing@0.2.0" (instance $none)))"#);
    for (code, says) in [(empty, "describe"), (misfit("nop"), "type mismatch")] {
        let problems = bench.policies.load(load(Some(&code), None)).await.expect_err("refused");
        let text = &problems[0].text;
        assert!(
            text.starts_with("does not fit the contract") && text.contains(says),
            "{text}"
        );
    }
    assert!(bench.faults().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_component_that_misbehaves_at_birth_is_refused() {
    let bench = Bench::with(&[("m", builtin::MISBEHAVING, json!({}))]).await;
    for (start, class) in [
        ("(loop $l (br $l))", "cpu-timeout"),
        ("unreachable", "panic"),
        ("call $start", "stack"),
    ] {
        let problems = bench
            .policies
            .load(load(Some(&misfit(start)), None))
            .await
            .expect_err("refused");
        let says = format!("faults in instantiate: {class}");
        assert!(problems[0].text.starts_with(&says), "{problems:?}");
    }
    assert_eq!(bench.policies.status()[0].generation, 1);
}

/// Deterministic, so that a failure can be repeated.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, below: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % below as u64).expect("below a usize")
    }
}

/// A flipped bit may leave a policy that runs; it never takes the host down.
#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_flipped_bits_break_nothing_but_the_component() {
    let bench = Bench::with(&[("m", builtin::MISBEHAVING, json!({}))]).await;
    let mut dice = Dice(0x1f2e_3d4c_5b6a_7988);
    let mut tried = 0;
    for _ in 0..1_000 {
        let mut bytes = builtin::MISBEHAVING.to_vec();
        let at = dice.roll(bytes.len());
        bytes[at] ^= 1 << dice.roll(8);
        if inspect(&bytes).is_ok() && tried < 25 {
            tried += 1;
            // Either is fine; what matters is that there is an answer.
            let _ = bench.policies.load(load(Some(&bytes), None)).await;
        }
    }
    for _ in 0..200 {
        let end = dice.roll(builtin::MISBEHAVING.len());
        assert!(inspect(&builtin::MISBEHAVING[..end]).is_err());
    }
    bench
        .policies
        .load(load(Some(builtin::MISBEHAVING), None))
        .await
        .expect("the host goes on");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_result_that_cannot_be_decoded_is_a_fault_without_a_trap() {
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
async fn more_memory_than_the_limit_at_birth_is_a_memory_fault() {
    let mut bench = Bench::with(&[("m", builtin::MISBEHAVING, json!({}))]).await;
    bench.config.policies[0].limits.memory = 64 * 1024;
    let (_, problems) = bench.policies.reconfigure(&bench.config).await;
    assert!(problems[0].text.contains("memory"), "{problems:?}");
    assert_eq!(bench.fault().class, "memory");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_component_larger_than_its_limit_is_not_even_read() {
    let mut bench = Bench::with(&[("m", builtin::MISBEHAVING, json!({}))]).await;
    bench.config.policies[0].limits.component_size = 1_000;
    let (_, problems) = bench.policies.reconfigure(&bench.config).await;
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

/// The policy of 1999 looks recipients up; the test directory misbehaves for some.
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
async fn a_host_function_that_does_not_return_is_a_host_timeout() {
    let (class, _) = fault_of_lookup("slow@example.org", |limits| limits.wall = Duration::from_millis(300)).await;
    assert_eq!(class, "host-timeout");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_panic_of_the_host_stays_in_its_unit_of_work() {
    let (class, code) = fault_of_lookup("panic@example.org", |_| {}).await;
    assert_eq!(
        (class.as_str(), code.as_str()),
        ("host-bug", "the host panicked: the directory broke")
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_to_the_host_are_counted() {
    let (class, code) = fault_of_lookup("other@example.org", |limits| limits.host_calls = 0).await;
    assert_eq!(class, "trap");
    assert!(code.contains("more than 0 calls to the host"), "{code}");
}

/// With one worker a guest that held it would hold everything.
#[tokio::test(flavor = "current_thread")]
async fn a_guest_that_spins_gives_others_their_turn() {
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
