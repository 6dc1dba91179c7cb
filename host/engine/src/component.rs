//! Checks of a component before compilation: format, contract version, exported roles and imports.

pub mod anatomy;
pub mod builtin;
pub mod digest;
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
    /// Contracts that this host serves, oldest first. Versions of one minor release link with each other
    /// (`wit/README.md`).
    pub const SERVED: [Self; 2] = [Self::new(0, 1, 0), Self::NEWEST];
    /// The contract in `wit/policy.wit`.
    pub const NEWEST: Self = Self::new(0, 2, 0);

    const fn new(major: u64, minor: u64, patch: u64) -> Self {
        Self { major, minor, patch }
    }

    /// Returns the name of an interface in this version, as in imports and exports.
    pub fn interface(self, name: &str) -> String {
        format!("{PACKAGE}/{name}@{self}")
    }

    /// Major and minor release; versions with an equal release link with each other.
    fn release(self) -> (u64, u64) {
        (self.major, self.minor)
    }

    /// Parses the version after the `@`. A suffix after the three numbers is ignored.
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

/// Roles of a module, each with an exported interface.
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
    /// Every role, in the order of the SMTP dialogue.
    pub const ALL: [Self; 3] = [Self::Exemption, Self::Homing, Self::Ndr];

    /// Returns the name of the interface.
    pub fn interface(self) -> &'static str {
        match self {
            Self::Exemption => "exemption",
            Self::Homing => "homing",
            Self::Ndr => "ndr",
        }
    }
}

/// Contract, roles and imports of a component.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shape {
    /// Contract that the component was built for: the version of the exports.
    pub contract: Contract,
    /// Roles whose interfaces the component exports.
    pub roles: BTreeSet<Role>,
    /// Interfaces of the contract with imported functions. An imported type gives no access and is not listed.
    pub uses: BTreeSet<String>,
}

impl Shape {
    /// Lists used interfaces that `grants` lacks. Problems name `grants_key`, the configuration key of the grants.
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

/// Parses and validates a component. Errors list all problems of imports and exports.
pub fn inspect(bytes: &[u8]) -> Result<Shape, Vec<Problem>> {
    let one = |text: String| vec![Problem::new("file", text)];
    recognise(bytes).map_err(one)?;
    let (imports, exports) = names(bytes).map_err(|error| one(damage(&error)))?;
    let mut validator = Validator::new_with_features(features());
    let types = validator.validate_all(bytes).map_err(|error| one(invalid(&error)))?;
    let mut problems = unserved_versions(imports.iter().chain(&exports));
    let mut uses = BTreeSet::new();
    for name in &imports {
        match used_interface(types.as_ref(), name) {
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

/// Refuses files that are not components, with advice: native code, core modules, other formats, truncated files.
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

/// Returns the names of imports and exports of the outermost component, without nested components.
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

/// WebAssembly features that the engine accepts: the defaults without asynchronous functions.
pub(crate) fn features() -> WasmFeatures {
    WasmFeatures::default() & !WasmFeatures::CM_ASYNC
}

/// Text for a component that cannot be parsed.
pub(crate) fn damage(error: &wasmparser::BinaryReaderError) -> String {
    format!("truncated or damaged at offset {}: {}", error.offset(), error.message())
}

/// Text for a component that does not validate.
pub(crate) fn invalid(error: &wasmparser::BinaryReaderError) -> String {
    if error.message().contains("component model async") {
        return format!(
            "uses asynchronous functions ({}), which this host does not serve: rebuild with --sync",
            error.message()
        );
    }
    damage(error)
}

/// Returns the interface of the contract whose functions an import uses, if any.
fn used_interface(types: TypesRef<'_>, name: &str) -> Result<Option<String>, String> {
    if let Some((interface, _)) = of_contract(name) {
        return Ok(has_functions(types, name).then(|| interface.to_owned()));
    }
    if is_inert(name) {
        return Ok(None);
    }
    Err(format!("imports {name}: not granted, and no policy can be granted it"))
}

/// Splits `posthouse:policy/INTERFACE@VERSION` into interface and version.
pub(crate) fn of_contract(name: &str) -> Option<(&str, &str)> {
    let rest = name.strip_prefix(PACKAGE)?.strip_prefix('/')?;
    Some(rest.split_once('@').unwrap_or((rest, "")))
}

/// Returns a problem for each version that is not served.
fn unserved_versions<'a>(names: impl Iterator<Item = &'a String>) -> Vec<String> {
    let versions: BTreeSet<&str> = names
        .filter_map(|name| of_contract(name))
        .map(|(_, version)| version)
        .collect();
    versions
        .into_iter()
        .filter_map(|version| served(version).err())
        .collect()
}

/// Parses a version that this host serves. The error explains why a version is not served, with advice.
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

/// Returns the common version of all exports. Imports may have another served version, as those of a linked library do.
/// The error is `None` without exports, which [`roles`] reports.
fn built_for(exports: &[String]) -> Result<Contract, Option<String>> {
    let exported = exports.iter().filter_map(|name| of_contract(name));
    let versions: BTreeSet<Contract> = exported.filter_map(|(_, version)| Contract::parse(version)).collect();
    let mut versions = versions.into_iter();
    match (versions.next(), versions.next()) {
        (Some(only), None) => Ok(only),
        (None, _) => Err(None),
        (Some(one), Some(other)) => Err(Some(format!(
            "exports interfaces of {PACKAGE}@{one} and of {PACKAGE}@{other}: build all of it against one of them"
        ))),
    }
}

/// True if `import` imports more than types.
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

/// True for packages of WASI that every guest may import, since the host's implementations are inert.
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

/// Returns the exported roles. Exports outside of the contract are ignored, since some toolchains add them.
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
