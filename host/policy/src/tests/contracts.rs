//! Policies that were compiled against an older contract, in a chain with policies of the newest contract.

use bytes::Bytes;
use serde_json::json;
use wit_component::{ComponentEncoder, StringEncoding, embed_component_metadata};
use wit_parser::abi::WasmType;
use wit_parser::{
    ManglingAndAbi, Resolve, ResourceIntrinsic, TypeDefKind, WasmExport, WasmExportKind, WasmImport, WorldId, WorldItem,
};

use std::fmt::Write as _;
use std::sync::Arc;

use crate::testing::{Bench, address, anna, envelope, load, path, stranger};
use host_contract::{Admission, Disposition, Verdict};
use host_engine::component::{Contract, builtin, inspect};
use host_mail::{InMemory, MessageId, SessionId};

/// Policies that were compiled against 0.1.0 and are never compiled again.
const DEFAULT_0_1: &[u8] = include_bytes!("../../../../tests/guests/contract-0.1/default.wasm");
const Q178091_0_1: &[u8] = include_bytes!("../../../../tests/guests/contract-0.1/q178091.wasm");
const FIRST_0_1: &[u8] = include_bytes!("../../../../tests/guests/contract-0.1/first-policy.wasm");

/// Returns a component that exports and imports everything of a frozen contract; every export traps.
fn everything(wit: &str, world: &str) -> Vec<u8> {
    let mut resolve = Resolve::default();
    let package = resolve.push_source("policy.wit", wit).expect("a contract");
    let world = resolve.select_world(&[package], Some(world)).expect("the world");
    let mut module = wat::parse_str(core_module(&resolve, world)).expect("a module");
    embed_component_metadata(&mut module, &resolve, world, StringEncoding::UTF8).expect("metadata");
    let encoder = ComponentEncoder::default().module(&module).expect("a module");
    encoder.validate(true).encode().expect("a component")
}

/// Returns the text of a core module that imports every function and resource of a world's interfaces, and exports every
/// function.
fn core_module(resolve: &Resolve, world: WorldId) -> String {
    let world = &resolve.worlds[world];
    let abi = ManglingAndAbi::Standard32;
    let mut text = "(module\n".to_owned();
    for (name, item) in &world.imports {
        let WorldItem::Interface { id, .. } = item else {
            continue;
        };
        let interface = Some(name);
        for func in resolve.interfaces[*id].functions.values() {
            let (module, name) = resolve.wasm_import_name(abi, WasmImport::Func { interface, func });
            let signature = resolve.wasm_signature(abi.import_variant(), func);
            let types = core_types("param", &signature.params) + &core_types("result", &signature.results);
            writeln!(text, "(import {module:?} {name:?} (func{types}))").expect("a string");
        }
        for resource in resolve.interfaces[*id].types.values().copied() {
            if matches!(resolve.types[resource].kind, TypeDefKind::Resource) {
                let intrinsic = ResourceIntrinsic::ImportedDrop;
                let import = WasmImport::ResourceIntrinsic {
                    interface,
                    resource,
                    intrinsic,
                };
                let (module, name) = resolve.wasm_import_name(abi, import);
                writeln!(text, "(import {module:?} {name:?} (func (param i32)))").expect("a string");
            }
        }
    }
    for (name, item) in &world.exports {
        let WorldItem::Interface { id, .. } = item else {
            continue;
        };
        for func in resolve.interfaces[*id].functions.values() {
            let export = WasmExport::Func {
                interface: Some(name),
                func,
                kind: WasmExportKind::Normal,
            };
            let name = resolve.wasm_export_name(abi, export);
            let signature = resolve.wasm_signature(abi.export_variant(), func);
            let types = core_types("param", &signature.params) + &core_types("result", &signature.results);
            writeln!(text, "(func (export {name:?}){types} unreachable)").expect("a string");
        }
    }
    let memory = resolve.wasm_export_name(abi, WasmExport::Memory);
    let realloc = resolve.wasm_export_name(abi, WasmExport::Realloc);
    let types = "(param i32 i32 i32 i32) (result i32)";
    writeln!(
        text,
        "(memory (export {memory:?}) 0)\n(func (export {realloc:?}) {types} unreachable))"
    )
    .expect("a string");
    text
}

/// Returns parameters or results of a core function in text form.
fn core_types(kind: &str, types: &[WasmType]) -> String {
    let name = |each: &WasmType| match each {
        WasmType::I32 | WasmType::Pointer | WasmType::Length => " i32",
        WasmType::I64 | WasmType::PointerOrI64 => " i64",
        WasmType::F32 => " f32",
        WasmType::F64 => " f64",
    };
    match types {
        [] => String::new(),
        _ => format!(" ({kind}{})", types.iter().map(name).collect::<String>()),
    }
}

#[test]
fn detects_the_contract_version_of_a_policy() {
    for old in [DEFAULT_0_1, Q178091_0_1, FIRST_0_1] {
        assert_eq!(inspect(old).expect("a policy").contract.to_string(), "0.1.0");
    }
    assert_eq!(inspect(builtin::DEFAULT).expect("a policy").contract, Contract::NEWEST);
}

/// Every function of each frozen contract can be imported with the original type.
#[tokio::test(flavor = "multi_thread")]
async fn links_every_function_of_each_contract() {
    let bench = Bench::with(&[("m", builtin::MISBEHAVING, json!({}))]).await;
    let runtime = &bench.policies.set().evaluator.runtime;
    for (wit, world) in [
        (include_str!("../../../../wit/0.1/policy.wit"), "policy"),
        (include_str!("../../../../wit/0.2/policy.wit"), "everything"),
        (include_str!("../../../../wit/policy.wit"), "everything"),
    ] {
        let bytes = everything(wit, world);
        let code = host_engine::generation::Code::new(runtime, bytes.into()).await;
        if let Err(problems) = code {
            panic!(
                "{world} of {}: {problems:?}",
                wit.lines().find(|line| line.starts_with("package")).unwrap_or("")
            );
        }
    }
}

/// The old policy refuses a recipient; the new policy decides what the old policy leaves open.
#[tokio::test(flavor = "multi_thread")]
async fn policies_of_both_contracts_decide_in_one_chain() {
    let refusing = json!({ "refuse": ["bert@example.org"] });
    let bench = Bench::with(&[("old", FIRST_0_1, refusing), ("new", builtin::DEFAULT, json!({}))]).await;
    let contracts: Vec<String> = bench
        .policies
        .status()
        .into_iter()
        .map(|module| module.contract)
        .collect();
    assert_eq!(contracts, ["0.1.0", "0.2.0"]);
    let session = SessionId::generate();
    let admitted = bench.policies.admit(session, &stranger()).await;
    assert!(matches!(admitted.answer, Admission::Admit(_)), "{admitted:?}");
    let mut transaction = bench.policies.transaction(session);
    let (sender, recipient) = (path("anna@example.org"), address("anna@example.org"));
    let refused = transaction
        .recipient(&anna(), &sender, &address("bert@example.org"))
        .await;
    assert!(matches!(refused.answer, Verdict::Reject(_)), "{refused:?}");
    assert_eq!(transaction.sender(&anna(), &sender).await.answer, Verdict::Accept);
    assert_eq!(
        transaction.recipient(&anna(), &sender, &recipient).await.answer,
        Verdict::Accept
    );
    let content = Arc::new(InMemory(Bytes::from_static(
        b"From: anna@example.org\r\n\r\nHello.\r\n",
    )));
    let envelope = envelope(sender, &["anna@example.org"]);
    let asked = transaction
        .message(MessageId::generate(), &anna(), &envelope, content)
        .await;
    assert!(matches!(asked.answer, Disposition::Accept(_)), "{asked:?}");
    assert!(bench.faults().is_empty());
}

/// A fault of an old policy is reported with the location in the policy's source.
#[tokio::test(flavor = "multi_thread")]
async fn fault_of_a_0_1_policy_names_its_source_location() {
    let bench = Bench::with(&[("m", Q178091_0_1, json!({}))]).await;
    assert_eq!(bench.policies.status()[0].contract, "0.1.0");
    let failure = super::faults::failure(false);
    let asked = bench.policies.plan(&failure).await;
    assert!(asked.fault && asked.answer.is_none());
    let fault = bench.fault();
    assert_eq!((fault.class.as_str(), fault.stage.as_str()), ("panic", "ndr"));
    assert!(fault.location.is_some_and(|location| location.contains(".rs:")));
}

#[tokio::test(flavor = "multi_thread")]
async fn load_replaces_a_policy_by_one_of_another_contract() {
    let bench = Bench::with(&[("m", DEFAULT_0_1, json!({}))]).await;
    for (code, contract) in [
        (builtin::DEFAULT, "0.2.0"),
        (DEFAULT_0_1, "0.1.0"),
        (builtin::DEFAULT, "0.2.0"),
    ] {
        bench.policies.load(load(Some(code), None)).await.expect("loads");
        assert_eq!(bench.policies.status()[0].contract, contract);
        let session = SessionId::generate();
        let admitted = bench.policies.admit(session, &stranger()).await;
        assert!(matches!(admitted.answer, Admission::Admit(_)), "{admitted:?}");
    }
    assert!(bench.faults().is_empty());
}

/// Each version that is not supported is named a single time, with advice.
#[test]
fn unsupported_versions_are_refused_with_advice() {
    let renamed = |version: &str| {
        let text = format!(
            r#"(component (instance $i)
                (export "posthouse:policy/lifecycle@{version}" (instance $i))
                (export "posthouse:policy/homing@{version}" (instance $i)))"#
        );
        let problems = inspect(&wat::parse_str(text).expect("a component")).expect_err("refused");
        problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
    };
    let serves = "this host serves 0.1.x and 0.2.x: ";
    for newer in ["0.3.0", "1.0.0"] {
        assert_eq!(
            renamed(newer),
            format!(
                "file: built for posthouse:policy@{newer}; {serves}\
                 upgrade this host, or rebuild the policy against posthouse:policy@0.2.0"
            )
        );
    }
    assert_eq!(
        renamed("0.0.9"),
        format!("file: built for posthouse:policy@0.0.9; {serves}rebuild the policy against posthouse:policy@0.2.0")
    );
    let mixed = wat::parse_str(
        r#"(component (instance $i)
            (export "posthouse:policy/lifecycle@0.1.0" (instance $i))
            (export "posthouse:policy/homing@0.2.0" (instance $i)))"#,
    );
    let problems = inspect(&mixed.expect("a component")).expect_err("refused");
    assert!(
        problems[0]
            .text
            .contains("posthouse:policy@0.1.0 and of posthouse:policy@0.2.0"),
        "{problems:?}"
    );
}
