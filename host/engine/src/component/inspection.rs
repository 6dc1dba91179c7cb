//! Inspection of a component's identity, imports and exports from its bytes. Compiles and runs nothing.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use wasmparser::{KnownCustom, Parser, Payload, Validator};

use crate::component::digest::digest;
use crate::component::{
    Role, damage, features, has_functions, inspect, invalid, is_inert, names, of_contract, recognise,
};
use host_config::Problem;

/// Maximum number of listed tools of a kind.
const MAX_PRODUCERS: usize = 32;

/// Result of an inspection.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Inspection {
    /// SHA-256 in hexadecimal.
    pub digest: String,
    /// Size in bytes.
    pub size: u64,
    /// Versions of `posthouse:policy` in imports and exports; a good policy has a single version.
    pub contract: Vec<String>,
    /// Exported roles: `exemption`, `homing`, `ndr`.
    pub roles: Vec<String>,
    /// Interfaces of the contract with imported functions. Each needs a grant.
    pub uses: Vec<String>,
    /// Interfaces of the contract with imported types only. No grant is needed.
    pub types_only: Vec<String>,
    /// Imported interfaces of WASI, whose implementations are inert.
    pub inert: Vec<String>,
    /// Other imports, which no policy can be granted.
    pub foreign: Vec<String>,
    /// Exports outside of the contract, which the host ignores.
    pub other_exports: Vec<String>,
    /// Tools by field of the producers sections: `language`, `processed-by` and `sdk`.
    pub producers: BTreeMap<String, Vec<String>>,
    /// Problems for which this host would not load the component, even with all grants.
    pub problems: Vec<String>,
}

impl Inspection {
    /// Returns the configuration line that grants exactly the used interfaces.
    pub fn grants_line(&self) -> String {
        let quoted: Vec<String> = self.uses.iter().map(|name| format!("{name:?}")).collect();
        format!("grants = [{}]", quoted.join(", "))
    }
}

/// Inspects a component. Problems that keep a valid component from being a policy are in [`Inspection::problems`].
///
/// # Errors
/// The bytes are not a component, or damaged.
pub fn inspect_component(bytes: &[u8]) -> Result<Inspection, Vec<Problem>> {
    let one = |text: String| vec![Problem::new("file", text)];
    recognise(bytes).map_err(one)?;
    let (imports, exports) = names(bytes).map_err(|error| one(damage(&error)))?;
    let mut validator = Validator::new_with_features(features());
    let types = validator.validate_all(bytes).map_err(|error| one(invalid(&error)))?;
    let mut found = Inspection {
        digest: digest(bytes),
        size: bytes.len() as u64,
        producers: producers(bytes),
        ..Inspection::default()
    };
    let mut contract = BTreeSet::new();
    for name in &imports {
        if let Some((interface, version)) = of_contract(name) {
            contract.insert(version.to_owned());
            let list = if has_functions(types.as_ref(), name) {
                &mut found.uses
            } else {
                &mut found.types_only
            };
            list.push(interface.to_owned());
        } else if is_inert(name) {
            found.inert.push(name.clone());
        } else {
            found.foreign.push(name.clone());
        }
    }
    for name in &exports {
        match of_contract(name) {
            Some((interface, version)) => {
                contract.insert(version.to_owned());
                let roles = Role::ALL.iter().map(|role| role.interface());
                found
                    .roles
                    .extend(roles.filter(|role| *role == interface).map(str::to_owned));
            }
            None => found.other_exports.push(name.clone()),
        }
    }
    found.roles.sort();
    found.uses.sort();
    found.contract = contract.into_iter().collect();
    let problems = inspect(bytes).err().unwrap_or_default();
    found.problems = problems.into_iter().map(|problem| problem.text).collect();
    Ok(found)
}

/// Reads the producers sections of the component and of all nested modules. Tools write these sections at will, so an
/// unreadable section is skipped.
fn producers(bytes: &[u8]) -> BTreeMap<String, Vec<String>> {
    let mut found: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for payload in Parser::new(0).parse_all(bytes).map_while(Result::ok) {
        let Payload::CustomSection(section) = payload else {
            continue;
        };
        let KnownCustom::Producers(fields) = section.as_known() else {
            continue;
        };
        for field in fields.into_iter().map_while(Result::ok) {
            let known = found.entry(field.name.to_owned()).or_default();
            for value in field.values.into_iter().map_while(Result::ok) {
                if known.len() < MAX_PRODUCERS {
                    known.insert(format!("{} {}", value.name, value.version).trim_end().to_owned());
                }
            }
        }
    }
    let listed = |(kind, values): (String, BTreeSet<String>)| (kind, values.into_iter().collect());
    found.into_iter().map(listed).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::component::builtin;

    #[test]
    fn describes_the_default_policy() {
        let found = inspect_component(builtin::DEFAULT).expect("a component");
        assert_eq!(found.problems, [""; 0]);
        assert_eq!(found.roles.len(), 3);
        assert_eq!(found.contract.len(), 1, "{found:?}");
        assert!(found.uses.contains(&"directory".to_owned()), "{found:?}");
        assert!(found.types_only.contains(&"types".to_owned()), "{found:?}");
        assert!(found.inert.iter().all(|name| name.starts_with("wasi:")), "{found:?}");
        assert!(found.foreign.is_empty());
        assert!(found.producers["language"].contains(&"Rust".to_owned()), "{found:?}");
        assert!(found.grants_line().starts_with("grants = [\"directory\""));
    }

    #[test]
    fn describes_a_component_that_cannot_be_a_policy() {
        let wat = r#"(component (import "wasi:http/types@0.2.0" (instance)) (import "posthouse:policy/host@9.1.0" (instance)))"#;
        let found = inspect_component(&wat::parse_str(wat).expect("WAT")).expect("a component");
        assert_eq!(found.foreign, ["wasi:http/types@0.2.0"]);
        assert_eq!(found.contract, ["9.1.0"]);
        assert!(found.problems.iter().any(|text| text.contains("9.1.0")), "{found:?}");
        assert!(
            found.problems.iter().any(|text| text.contains("lifecycle")),
            "{found:?}"
        );
        let problems = inspect_component(b"\0asm\x01\0\0\0").expect_err("a core module");
        assert!(problems[0].text.contains("core module"), "{problems:?}");
    }
}
