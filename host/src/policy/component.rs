//! What can be said of a component before it is compiled: whether it is one, which contract it was
//! built for, what it exports and what it uses.

use std::collections::BTreeSet;

use wasmparser::component_types::{ComponentEntityType, ComponentItem};
use wasmparser::types::TypesRef;
use wasmparser::{Encoding, Parser, Payload, Validator, WasmFeatures};

use crate::config::Problem;

/// The contract this host serves.
const PACKAGE: &str = "posthouse:policy/";
const CONTRACT: &str = "posthouse:policy@0.2.0";
/// Versions of one minor release link with each other (`wit/README.md`).
const SERVED: (u64, u64) = (0, 2);

/// Questions a module can be asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Role {
    /// `exemption`.
    Exemption,
    /// `homing`.
    Homing,
    /// `ndr`.
    Ndr,
}

impl Role {
    pub(super) const ALL: [Self; 3] = [Self::Exemption, Self::Homing, Self::Ndr];

    /// Name of the interface.
    pub(super) fn interface(self) -> &'static str {
        match self {
            Self::Exemption => "exemption",
            Self::Homing => "homing",
            Self::Ndr => "ndr",
        }
    }
}

/// What a component is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Shape {
    pub(super) roles: BTreeSet<Role>,
    /// Interfaces of the contract from which it imports functions. A type alone gives no access.
    pub(super) uses: BTreeSet<String>,
}

impl Shape {
    /// What is used without being granted; `grants_key` is where an operator would grant it.
    pub(super) fn beyond(&self, grants: &[String], grants_key: &str) -> Vec<Problem> {
        let ungranted = self.uses.iter().filter(|used| !grants.contains(used));
        ungranted
            .map(|used| {
                Problem::new(
                    "grants",
                    format!("imports {PACKAGE}{used}: not granted; add {used:?} to {grants_key}"),
                )
            })
            .collect()
    }
}

/// Parses and validates. All problems of its imports and exports are listed.
pub(super) fn inspect(bytes: &[u8]) -> Result<Shape, Vec<Problem>> {
    let one = |text: String| vec![Problem::new("file", text)];
    recognise(bytes).map_err(one)?;
    let (imports, exports) = names(bytes).map_err(|error| one(damage(&error)))?;
    let mut validator = Validator::new_with_features(features());
    let types = validator.validate_all(bytes).map_err(|error| one(invalid(&error)))?;
    let mut shape = Shape::default();
    let mut problems = Vec::new();
    for name in &imports {
        match import(types.as_ref(), name) {
            Ok(Some(used)) => {
                shape.uses.insert(used);
            }
            Ok(None) => {}
            Err(text) => problems.push(Problem::new("file", text)),
        }
    }
    problems.extend(
        roles(&exports, &mut shape)
            .into_iter()
            .map(|text| Problem::new("file", text)),
    );
    if problems.is_empty() { Ok(shape) } else { Err(problems) }
}

/// Tells the other things that are handed over as a policy.
fn recognise(bytes: &[u8]) -> Result<(), String> {
    if bytes.starts_with(b"\x7fELF") {
        return Err(
            "precompiled by wasmtime or another native program: native code is not accepted; \
                    give the component itself"
                .to_owned(),
        );
    }
    if bytes.is_empty() {
        return Err("empty file".to_owned());
    }
    if !bytes.starts_with(b"\0asm") {
        return Err("not WebAssembly: a component begins with the bytes 00 61 73 6d".to_owned());
    }
    if bytes.len() < 8 {
        return Err(format!("truncated or damaged at offset {}", bytes.len()));
    }
    if Parser::is_core_wasm(bytes) {
        return Err(
            "this is a core module, not a component: build for wasm32-wasip2, or run \
                    wasm-tools component new"
                .to_owned(),
        );
    }
    Ok(())
}

/// Names of the component's own imports and exports; those of components inside it are its own
/// affair.
pub(super) fn names(bytes: &[u8]) -> wasmparser::Result<(Vec<String>, Vec<String>)> {
    let (mut imports, mut exports) = (Vec::new(), Vec::new());
    let mut depth = 0_usize;
    for payload in Parser::new(0).parse_all(bytes) {
        match payload? {
            Payload::Version { encoding, .. } => {
                depth += 1;
                debug_assert!(depth > 1 || encoding == Encoding::Component);
            }
            Payload::End(_) => depth = depth.saturating_sub(1),
            Payload::ComponentImportSection(section) if depth == 1 => {
                for import in section {
                    imports.push(import?.name.name.to_owned());
                }
            }
            Payload::ComponentExportSection(section) if depth == 1 => {
                for export in section {
                    exports.push(export?.name.name.to_owned());
                }
            }
            _ => {}
        }
    }
    Ok((imports, exports))
}

/// What the engine accepts; the same without asynchronous functions, which it does not serve.
fn features() -> WasmFeatures {
    WasmFeatures::default() & !WasmFeatures::CM_ASYNC
}

fn damage(error: &wasmparser::BinaryReaderError) -> String {
    format!("truncated or damaged at offset {}: {}", error.offset(), error.message())
}

fn invalid(error: &wasmparser::BinaryReaderError) -> String {
    if error.message().contains("component model async") {
        return format!(
            "uses asynchronous functions ({}), which this host does not serve: rebuild with --sync",
            error.message()
        );
    }
    damage(error)
}

/// The interface of the contract that an import makes use of, if any.
fn import(types: TypesRef<'_>, name: &str) -> Result<Option<String>, String> {
    if let Some((interface, version)) = of_contract(name) {
        served(name, version)?;
        return Ok(has_functions(types, name).then(|| interface.to_owned()));
    }
    if is_inert(name) {
        return Ok(None);
    }
    Err(format!("imports {name}: not granted, and no policy can be granted it"))
}

/// `posthouse:policy/INTERFACE@VERSION`.
fn of_contract(name: &str) -> Option<(&str, &str)> {
    let rest = name.strip_prefix(PACKAGE)?;
    Some(rest.split_once('@').unwrap_or((rest, "")))
}

fn served(name: &str, version: &str) -> Result<(), String> {
    let mut parts = version.split(['.', '-', '+']).map(|part| part.parse::<u64>().ok());
    if (parts.next().flatten(), parts.next().flatten()) == (Some(SERVED.0), Some(SERVED.1)) {
        return Ok(());
    }
    Err(format!(
        "{name}: built for posthouse:policy@{version}; this host serves {}.{}.x ({CONTRACT})",
        SERVED.0, SERVED.1
    ))
}

fn has_functions(types: TypesRef<'_>, import: &str) -> bool {
    let Some(ComponentItem {
        ty: ComponentEntityType::Instance(id),
        ..
    }) = types.component_item_for_import(import)
    else {
        return true;
    };
    types[*id]
        .exports
        .values()
        .any(|item| !matches!(item.ty, ComponentEntityType::Type { .. }))
}

/// Parts of WASI that every guest may import, since nothing can be reached through them.
fn is_inert(name: &str) -> bool {
    ["cli", "clocks", "filesystem", "io", "random", "sockets"]
        .iter()
        .any(|package| {
            name.strip_prefix("wasi:")
                .and_then(|rest| rest.strip_prefix(package))
                .and_then(|rest| rest.split_once('@'))
                .is_some_and(|(path, version)| path.starts_with('/') && version.starts_with("0.2."))
        })
}

/// More exports than the contract's are none of the host's business: some toolchains add them.
fn roles(exports: &[String], shape: &mut Shape) -> Vec<String> {
    let mut problems = Vec::new();
    let mut lifecycle = false;
    for name in exports {
        let Some((interface, version)) = of_contract(name) else {
            continue;
        };
        if let Err(problem) = served(name, version) {
            problems.push(problem);
        }
        lifecycle |= interface == "lifecycle";
        shape
            .roles
            .extend(Role::ALL.into_iter().filter(|role| role.interface() == interface));
    }
    if !lifecycle {
        problems.push("exports no posthouse:policy/lifecycle: not a policy".to_owned());
    }
    if shape.roles.is_empty() {
        problems.push("exports none of posthouse:policy/exemption, homing and ndr: it could never be asked".to_owned());
    }
    problems
}
