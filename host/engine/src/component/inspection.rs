//! What a component is and wants, as far as its bytes tell: nothing is compiled, nothing runs.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use wasmparser::{KnownCustom, Parser, Payload, Validator};

use crate::component::{
    Role, damage, features, has_functions, inspect, invalid, is_inert, names, of_contract, recognise,
};
use crate::generation::digest;
use host_config::Problem;

/// Tools of one kind that are listed; more are somebody's joke.
const PRODUCERS: usize = 32;

/// What a component is and wants.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Inspection {
    /// SHA-256, hexadecimal.
    pub digest: String,
    /// Bytes.
    pub size: u64,
    /// Versions of `posthouse:policy` it was built for: one, unless something went wrong.
    pub contract: Vec<String>,
    /// Questions it answers: `exemption`, `homing`, `ndr`.
    pub roles: Vec<String>,
    /// Interfaces of the contract whose functions it calls. Each needs a grant.
    pub uses: Vec<String>,
    /// Interfaces of the contract from which it imports types alone. They need no grant.
    pub types_only: Vec<String>,
    /// Parts of WASI it imports; they are there and can do nothing.
    pub inert: Vec<String>,
    /// What it imports beside these: no policy can be granted it.
    pub foreign: Vec<String>,
    /// What it exports beside the contract; nobody asks for it.
    pub other_exports: Vec<String>,
    /// `language`, `processed-by` and `sdk`, as its tools recorded them.
    pub producers: BTreeMap<String, Vec<String>>,
    /// Why this host would not load it, whatever is granted.
    pub problems: Vec<String>,
}

impl Inspection {
    /// The line of the configuration that grants what it needs, and nothing else.
    pub fn grants_line(&self) -> String {
        let quoted: Vec<String> = self.uses.iter().map(|name| format!("{name:?}")).collect();
        format!("grants = [{}]", quoted.join(", "))
    }
}

/// Looks into a component. An error only if it is none, or damaged; what keeps a good one from
/// being a policy here is in [`Inspection::problems`].
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

/// The producers sections of the component and of everything inside it. They are hearsay: a section
/// that cannot be read is passed over.
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
                if known.len() < PRODUCERS {
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
    fn a_policy_tells_what_it_wants() {
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
    fn what_cannot_be_a_policy_is_still_described() {
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
