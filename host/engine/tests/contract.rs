//! Compatibility of the contract, which may only grow (`wit/README.md`): every item that a compiled policy links with
//! must stay as it is. Compares the frozen contracts in `wit/` with the current contract.

#![expect(clippy::expect_used, reason = "a test fails by panicking")]

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use sha2::{Digest as _, Sha256};
use wit_parser::{Handle, Resolve, Type, TypeDefKind, TypeId, WorldItem, WorldKey};

/// Released contracts, and policies that were compiled against a release, with digests. Lines are never edited; a new
/// release adds lines.
const FROZEN: [(&str, &str); 5] = [
    (
        "wit/0.1/policy.wit",
        "e631e20a17b634e1aee8d06d66d36737668fc67124040a84100c6070db0f673a",
    ),
    (
        "wit/0.2/policy.wit",
        "15310221da1bd207ff98da48612aed983e8539da75ecde6dc1559ce515715be7",
    ),
    (
        "tests/guests/contract-0.1/default.wasm",
        "0c301b19554d20931854f6dcb5c993b7f3e05503f80ff666ba9b2b57ad711739",
    ),
    (
        "tests/guests/contract-0.1/first-policy.wasm",
        "e3d2bd883af3e0c865dd0a31c989715ec0cfae0a119c72c825a5d8768ddfff08",
    ),
    (
        "tests/guests/contract-0.1/q178091.wasm",
        "6f6f9c5c41193405bd5e9d2c36a6dc209f64ccba2936035861d64bdfe904abe5",
    ),
];

/// Interfaces that policies export. The host calls every function, so no function may be added.
const EXPORTED: [&str; 4] = ["exemption", "homing", "ndr", "lifecycle"];

#[test]
fn frozen_files_are_unchanged() {
    for (path, digest) in FROZEN {
        let found: String = Sha256::digest(read(path))
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect();
        assert_eq!(
            found, digest,
            "{path} was released and must stay as it was: see wit/README.md"
        );
    }
}

#[test]
fn current_contract_is_compatible_with_frozen_ones() {
    let now = text("wit/policy.wit");
    for (path, _) in FROZEN.iter().filter(|(path, _)| path.ends_with(".wit")) {
        let broken = broken(&text(path), &now);
        assert!(
            broken.is_empty(),
            "wit/policy.wit would break policies compiled against {path} (see wit/README.md):\n{}",
            broken.join("\n")
        );
    }
}

/// Checks the comparison.
#[test]
fn distinguishes_breaking_changes_from_growth() {
    let now = text("wit/policy.wit");
    let changed = |from: &str, to: &str| {
        assert_eq!(now.matches(from).count(), 1, "{from:?} occurs once");
        broken(&now, &now.replace(from, to))
    };
    for (from, to, says) in [
        ("    port: u16,\n", "    port: u32,\n", "record types.client"),
        ("    port: u16,\n", "    port: u16, asn: u32,\n", "record types.client"),
        ("    discard,\n", "    discard, hold,\n", "variant homing.disposition"),
        (
            "enum level { debug, info,",
            "enum level { info, debug,",
            "enum host.level",
        ),
        (
            "lookup: func(address: string)",
            "lookup: func(address: string, deep: bool)",
            "function directory.lookup",
        ),
        (
            "  size: func() -> u64;",
            "  size: func() -> u32;",
            "function message.[method]message.size",
        ),
        ("  now: func() -> u64;\n", "", "function host.now"),
        (
            "plan: func(",
            "ready: func() -> bool; plan: func(",
            "function ndr.ready",
        ),
        (
            "world ndr-policy { include imports; export lifecycle;",
            "world ndr-policy { include imports;",
            "world ndr-policy",
        ),
    ] {
        let broken = changed(from, to);
        assert!(
            broken.iter().any(|text| text.contains(says)),
            "{says:?} is not in {broken:?}"
        );
    }
    for (from, to) in [
        (
            "  now: func() -> u64;\n",
            "  now: func() -> u64;\n  zone: func() -> string;\n",
        ),
        (
            "resource more-client {}",
            "resource more-client { asn: func() -> u32; }",
        ),
        (
            "world imports {",
            "interface geography { country: func(address: string) -> string; }\nworld imports {",
        ),
        (
            "  record exchange {",
            "  record service { port: u16 }\n  record exchange {",
        ),
    ] {
        assert_eq!(changed(from, to), Vec::<String>::new(), "{to:?}");
    }
}

fn read(path: &str) -> Vec<u8> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    fs::read(root.join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

fn text(path: &str) -> String {
    String::from_utf8(read(path)).expect("text")
}

/// Lists the items that a policy compiled against `old` would miss in `new`.
fn broken(old: &str, new: &str) -> Vec<String> {
    let (old, new) = (items(old), items(new));
    let mut broken = Vec::new();
    for (name, shape) in &old {
        match new.get(name) {
            Some(same) if same == shape => {}
            Some(other) => broken.push(format!("{name}: {shape} became {other}")),
            None => broken.push(format!("{name} is gone")),
        }
    }
    let demanded = |name: &str| EXPORTED.iter().any(|of| name.starts_with(&format!("function {of}.")));
    let added = new.keys().filter(|name| demanded(name) && !old.contains_key(*name));
    broken.extend(added.map(|name| format!("{name} is asked of policies that do not have it")));
    broken
}

/// Returns every type, function and world of a contract by name, with shape and without prose.
fn items(text: &str) -> BTreeMap<String, String> {
    let mut resolve = Resolve::default();
    let package = resolve.push_source("policy.wit", text).expect("a contract");
    let package = &resolve.packages[package];
    let mut items = BTreeMap::new();
    for (of, id) in &package.interfaces {
        let interface = &resolve.interfaces[*id];
        for (name, id) in &interface.types {
            let kind = &resolve.types[*id].kind;
            items.insert(format!("{} {of}.{name}", kind.as_str()), kind_shape(&resolve, kind));
        }
        for (name, function) in &interface.functions {
            let parameters = function
                .params
                .iter()
                .map(|p| format!("{}: {}", p.name, shape(&resolve, &p.ty)));
            let result = function
                .result
                .map_or("nothing".to_owned(), |result| shape(&resolve, &result));
            let parameters: Vec<_> = parameters.collect();
            items.insert(
                format!("function {of}.{name}"),
                format!("({}) -> {result}", parameters.join(", ")),
            );
        }
    }
    for (name, id) in &package.worlds {
        let mut exports: Vec<_> = resolve.worlds[*id]
            .exports
            .iter()
            .map(|item| world_item(&resolve, item))
            .collect();
        exports.sort();
        items.insert(format!("world {name}"), exports.join(", "));
    }
    items
}

fn world_item(resolve: &Resolve, (key, _): (&WorldKey, &WorldItem)) -> String {
    match key {
        WorldKey::Name(name) => name.clone(),
        WorldKey::Interface(id) => resolve.interfaces[*id].name.clone().unwrap_or_default(),
    }
}

/// Shape of a type: the name of a named type, which is listed separately; the structure of any other type.
fn shape(resolve: &Resolve, of: &Type) -> String {
    match of {
        Type::Id(id) => named(resolve, *id).unwrap_or_else(|| kind_shape(resolve, &resolve.types[*id].kind)),
        primitive => format!("{primitive:?}"),
    }
}

fn named(resolve: &Resolve, id: TypeId) -> Option<String> {
    let of = &resolve.types[id];
    let name = of.name.as_ref()?;
    // Resolves aliases made by `use` to the original type.
    if let TypeDefKind::Type(Type::Id(original)) = of.kind {
        return named(resolve, original);
    }
    match of.owner {
        wit_parser::TypeOwner::Interface(id) => {
            let interface = resolve.interfaces[id].name.clone().unwrap_or_default();
            Some(format!("{interface}.{name}"))
        }
        _ => Some(name.clone()),
    }
}

fn kind_shape(resolve: &Resolve, kind: &TypeDefKind) -> String {
    let inner = |of: &Type| shape(resolve, of);
    let optional = |of: &Option<Type>| of.as_ref().map_or("nothing".to_owned(), inner);
    let owner = |id: &TypeId| named(resolve, *id).unwrap_or_default();
    match kind {
        TypeDefKind::Record(record) => {
            let fields: Vec<_> = record
                .fields
                .iter()
                .map(|f| format!("{}: {}", f.name, inner(&f.ty)))
                .collect();
            format!("{{{}}}", fields.join(", "))
        }
        TypeDefKind::Variant(variant) => {
            let cases: Vec<_> = variant
                .cases
                .iter()
                .map(|c| format!("{}({})", c.name, optional(&c.ty)))
                .collect();
            cases.join(" | ")
        }
        TypeDefKind::Enum(cases) => cases
            .cases
            .iter()
            .map(|c| c.name.as_str())
            .collect::<Vec<_>>()
            .join(" | "),
        TypeDefKind::Flags(flags) => flags
            .flags
            .iter()
            .map(|f| f.name.as_str())
            .collect::<Vec<_>>()
            .join(" & "),
        TypeDefKind::Tuple(tuple) => format!("({})", tuple.types.iter().map(inner).collect::<Vec<_>>().join(", ")),
        TypeDefKind::Option(of) => format!("option<{}>", inner(of)),
        TypeDefKind::List(of) => format!("list<{}>", inner(of)),
        TypeDefKind::Result(result) => format!("result<{}, {}>", optional(&result.ok), optional(&result.err)),
        TypeDefKind::Handle(Handle::Own(id)) => format!("own<{}>", owner(id)),
        TypeDefKind::Handle(Handle::Borrow(id)) => format!("borrow<{}>", owner(id)),
        TypeDefKind::Type(of) => inner(of),
        TypeDefKind::Resource => "resource".to_owned(),
        other => format!("{other:?}"),
    }
}
