//! What can be said of a component before it is compiled: whether it is one, which contract it was
//! built for, what it exports and what it uses.

pub mod anatomy;
pub mod builtin;
pub mod encode;
pub mod inspection;
pub mod signature;

use std::collections::BTreeSet;
use std::fmt;

use wasmparser::component_types::{ComponentEntityType, ComponentItem};
use wasmparser::types::TypesRef;
use wasmparser::{Encoding, Parser, Payload, Validator, WasmFeatures};

use host_config::Problem;

const PACKAGE: &str = "posthouse:policy";

/// A version of the contract.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Contract {
    /// Major release.
    pub major: u64,
    /// Minor release; versions of one minor release link with each other.
    pub minor: u64,
    /// Patch release.
    pub patch: u64,
}

impl Contract {
    /// The contracts this host serves, oldest first; the newest is `wit/policy.wit`. Versions of one
    /// minor release link with each other (`wit/README.md`).
    pub const SERVED: [Self; 2] = [Self::new(0, 1, 0), Self::NEWEST];
    /// The contract in `wit/policy.wit`.
    pub const NEWEST: Self = Self::new(0, 2, 0);

    const fn new(major: u64, minor: u64, patch: u64) -> Self {
        Self { major, minor, patch }
    }

    /// An interface's name in this version, as imports and exports have it.
    pub fn interface(self, name: &str) -> String {
        format!("{PACKAGE}/{name}@{self}")
    }

    /// Same major and minor release: the host's serves it.
    fn release(self) -> (u64, u64) {
        (self.major, self.minor)
    }

    /// Reads what follows the `@`. What is after the three numbers does not count.
    fn parse(version: &str) -> Option<Self> {
        let mut parts = version.split(['.', '-', '+']).map(|part| part.parse::<u64>().ok());
        Some(Self::new(parts.next()??, parts.next()??, parts.next()??))
    }
}

impl fmt::Display for Contract {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.major, self.minor, self.patch)
    }
}

/// Questions a module can be asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    /// `exemption`.
    Exemption,
    /// `homing`.
    Homing,
    /// `ndr`.
    Ndr,
}

impl Role {
    /// Every role, in the order of the dialogue.
    pub const ALL: [Self; 3] = [Self::Exemption, Self::Homing, Self::Ndr];

    /// Name of the interface.
    pub fn interface(self) -> &'static str {
        match self {
            Self::Exemption => "exemption",
            Self::Homing => "homing",
            Self::Ndr => "ndr",
        }
    }
}

/// What a component is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shape {
    /// What it was built for: the version of its exports.
    pub contract: Contract,
    /// Roles whose interfaces the component exports.
    pub roles: BTreeSet<Role>,
    /// Interfaces of the contract from which it imports functions. A type alone gives no access.
    pub uses: BTreeSet<String>,
}

impl Shape {
    /// What is used without being granted; `grants_key` is where an operator would grant it.
    pub fn beyond(&self, grants: &[String], grants_key: &str) -> Vec<Problem> {
        let ungranted = self.uses.iter().filter(|used| !grants.contains(used));
        ungranted
            .map(|used| {
                Problem::new(
                    "grants",
                    format!("imports {PACKAGE}/{used}: not granted; add {used:?} to {grants_key}"),
                )
            })
            .collect()
    }
}

/// Parses and validates. All problems of its imports and exports are listed.
pub fn inspect(bytes: &[u8]) -> Result<Shape, Vec<Problem>> {
    let one = |text: String| vec![Problem::new("file", text)];
    recognise(bytes).map_err(one)?;
    let (imports, exports) = names(bytes).map_err(|error| one(damage(&error)))?;
    let mut validator = Validator::new_with_features(features());
    let types = validator.validate_all(bytes).map_err(|error| one(invalid(&error)))?;
    let mut problems = refusals(imports.iter().chain(&exports));
    let mut uses = BTreeSet::new();
    for name in &imports {
        match import(types.as_ref(), name) {
            Ok(used) => uses.extend(used),
            Err(text) => problems.push(text),
        }
    }
    let roles = roles(&exports).map_err(|missing| problems.extend(missing));
    let contract = built_for(&exports).map_err(|mixed| problems.extend(mixed));
    match (roles, contract) {
        (Ok(roles), Ok(contract)) if problems.is_empty() => Ok(Shape { contract, roles, uses }),
        _ => Err(problems.into_iter().map(|text| Problem::new("file", text)).collect()),
    }
}

/// Tells the other things that are handed over as a policy.
pub(crate) fn recognise(bytes: &[u8]) -> Result<(), String> {
    if bytes.starts_with(b"\x7fELF") {
        return Err(
            "precompiled by wasmtime or another native program: native code is not accepted; \
                    give the component itself"
                .to_owned(),
        );
    }
    if bytes.is_empty() {
        return Err("empty file: build the policy again".to_owned());
    }
    if !bytes.starts_with(b"\0asm") {
        return Err("not WebAssembly: a component begins with the bytes 00 61 73 6d; \
                    name the .wasm file that the build makes"
            .to_owned());
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
pub(crate) fn names(bytes: &[u8]) -> wasmparser::Result<(Vec<String>, Vec<String>)> {
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
pub(crate) fn features() -> WasmFeatures {
    WasmFeatures::default() & !WasmFeatures::CM_ASYNC
}

pub(crate) fn damage(error: &wasmparser::BinaryReaderError) -> String {
    format!("truncated or damaged at offset {}: {}", error.offset(), error.message())
}

pub(crate) fn invalid(error: &wasmparser::BinaryReaderError) -> String {
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
    if let Some((interface, _)) = of_contract(name) {
        return Ok(has_functions(types, name).then(|| interface.to_owned()));
    }
    if is_inert(name) {
        return Ok(None);
    }
    Err(format!("imports {name}: not granted, and no policy can be granted it"))
}

/// `posthouse:policy/INTERFACE@VERSION`.
pub(crate) fn of_contract(name: &str) -> Option<(&str, &str)> {
    let rest = name.strip_prefix(PACKAGE)?.strip_prefix('/')?;
    Some(rest.split_once('@').unwrap_or((rest, "")))
}

/// One problem for each version that is not served, however many names have it.
fn refusals<'a>(names: impl Iterator<Item = &'a String>) -> Vec<String> {
    let versions: BTreeSet<&str> = names
        .filter_map(|name| of_contract(name))
        .map(|(_, version)| version)
        .collect();
    versions
        .into_iter()
        .filter_map(|version| served(version).err())
        .collect()
}

/// Why a version of the contract is not served, and what to do about it.
fn served(version: &str) -> Result<Contract, String> {
    let serves: Vec<String> = Contract::SERVED
        .iter()
        .map(|c| format!("{}.{}.x", c.major, c.minor))
        .collect();
    let serves = serves.join(" and ");
    let newest = Contract::NEWEST;
    let Some(contract) = Contract::parse(version) else {
        return Err(format!(
            "built for {PACKAGE} without a version; this host serves {serves}: \
             rebuild the policy against {PACKAGE}@{newest}"
        ));
    };
    if Contract::SERVED
        .iter()
        .any(|served| served.release() == contract.release())
    {
        return Ok(contract);
    }
    let advice = if contract > newest {
        format!("upgrade this host, or rebuild the policy against {PACKAGE}@{newest}")
    } else {
        format!("rebuild the policy against {PACKAGE}@{newest}")
    };
    Err(format!(
        "built for {PACKAGE}@{contract}; this host serves {serves}: {advice}"
    ))
}

/// The version of all exports: questions are asked in the words of one contract. Imports may be of
/// another that is served, as those of a part that was linked in are.
fn built_for(exports: &[String]) -> Result<Contract, Option<String>> {
    let exported = exports.iter().filter_map(|name| of_contract(name));
    let versions: BTreeSet<Contract> = exported.filter_map(|(_, version)| Contract::parse(version)).collect();
    let mut versions = versions.into_iter();
    match (versions.next(), versions.next()) {
        (Some(only), None) => Ok(only),
        // What is missing has been said.
        (None, _) => Err(None),
        (Some(one), Some(other)) => Err(Some(format!(
            "exports interfaces of {PACKAGE}@{one} and of {PACKAGE}@{other}: build all of it against one of them"
        ))),
    }
}

pub(crate) fn has_functions(types: TypesRef<'_>, import: &str) -> bool {
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
pub(crate) fn is_inert(name: &str) -> bool {
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
fn roles(exports: &[String]) -> Result<BTreeSet<Role>, Vec<String>> {
    let exported: BTreeSet<&str> = exports
        .iter()
        .filter_map(|name| of_contract(name))
        .map(|(name, _)| name)
        .collect();
    let roles: BTreeSet<Role> = Role::ALL
        .into_iter()
        .filter(|role| exported.contains(role.interface()))
        .collect();
    let mut missing = Vec::new();
    if !exported.contains("lifecycle") {
        missing.push(format!("exports no {PACKAGE}/lifecycle: not a policy"));
    }
    if roles.is_empty() {
        missing.push(format!(
            "exports none of {PACKAGE}/exemption, homing and ndr: it could never be asked"
        ));
    }
    if missing.is_empty() { Ok(roles) } else { Err(missing) }
}
