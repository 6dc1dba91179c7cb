//! Description of a component from its bytes, for authors and for operators who configure grants.

use std::collections::BTreeMap;

use serde::Serialize;
use wasmparser::{KnownCustom, Parser, Payload};

use crate::component::{damage, names, recognise};
use host_config::Problem;

/// Custom section with a JSON Schema object for a policy's settings.
pub const SETTINGS_SECTION: &str = "posthouse:settings";

/// The contract's package, up to the interface.
const CONTRACT: &str = "posthouse:policy/";

/// Properties of a component that are visible without running the code.
#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Anatomy {
    /// Size in bytes.
    pub size: usize,
    /// Versions of the contract in imports and exports; a good policy has a single version.
    pub contracts: Vec<String>,
    /// Exported interfaces of the contract, without `lifecycle`.
    pub roles: Vec<String>,
    /// Imported interfaces of the contract; an interface whose functions are used needs a grant.
    pub imports: Vec<String>,
    /// Other imports.
    pub others: Vec<String>,
    /// Tools by field of the producers sections, with name and version.
    pub producers: BTreeMap<String, Vec<String>>,
    /// Content of [`SETTINGS_SECTION`], if present.
    #[serde(skip)]
    pub settings: Option<String>,
    /// True if Event 4037 can name functions.
    pub has_names: bool,
    /// True if Event 4037 can name file and line.
    pub has_lines: bool,
    /// Number of core modules.
    pub modules: usize,
}

/// Describes a component without judging whether this host would load the policy.
///
/// # Errors
/// The bytes are not a component, or damaged.
pub fn anatomy(component: &[u8]) -> Result<Anatomy, Vec<Problem>> {
    let one = |text: String| vec![Problem::new("file", text)];
    recognise(component).map_err(one)?;
    let damaged = |error: wasmparser::BinaryReaderError| one(damage(&error));
    let (imports, exports) = names(component).map_err(damaged)?;
    let mut found = Anatomy {
        size: component.len(),
        ..Anatomy::default()
    };
    for name in &imports {
        match found.interface_of_contract(name) {
            Some(interface) => found.imports.push(interface),
            None => found.others.push(name.clone()),
        }
    }
    for name in &exports {
        let interface = found
            .interface_of_contract(name)
            .filter(|interface| interface != "lifecycle");
        found.roles.extend(interface);
    }
    found.roles.sort();
    found.sections(component).map_err(damaged)?;
    Ok(found)
}

impl Anatomy {
    /// Returns the interface if `name` is one of the contract's, and records the version.
    fn interface_of_contract(&mut self, name: &str) -> Option<String> {
        let (interface, version) = name.strip_prefix(CONTRACT)?.split_once('@')?;
        if !self.contracts.iter().any(|known| known == version) {
            self.contracts.push(version.to_owned());
        }
        Some(interface.to_owned())
    }

    fn sections(&mut self, component: &[u8]) -> wasmparser::Result<()> {
        for payload in Parser::new(0).parse_all(component) {
            match payload? {
                Payload::ModuleSection { .. } => self.modules += 1,
                Payload::CustomSection(section) => match section.name() {
                    SETTINGS_SECTION => self.settings = Some(String::from_utf8_lossy(section.data()).into_owned()),
                    ".debug_line" => self.has_lines = true,
                    "name" => self.has_names = true,
                    _ => {
                        if let KnownCustom::Producers(fields) = section.as_known() {
                            self.add_producers(fields)?;
                        }
                    }
                },
                _ => {}
            }
        }
        Ok(())
    }

    fn add_producers(&mut self, fields: wasmparser::ProducersSectionReader<'_>) -> wasmparser::Result<()> {
        for field in fields {
            let field = field?;
            let producers = self.producers.entry(field.name.to_owned()).or_default();
            for value in field.values {
                let value = value?;
                let text = format!("{} {}", value.name, value.version).trim_end().to_owned();
                if !producers.contains(&text) {
                    producers.push(text);
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::component::builtin;

    #[test]
    fn describes_the_default_policy() {
        let found = anatomy(builtin::DEFAULT).expect("a component");
        assert_eq!(found.contracts.len(), 1);
        assert_eq!(found.roles, ["exemption", "homing", "ndr"]);
        assert!(found.imports.iter().any(|name| name == "directory"));
        assert!(
            found.others.iter().all(|name| name.starts_with("wasi:")),
            "{:?}",
            found.others
        );
        assert!(found.has_names && found.has_lines);
        assert!(found.producers["language"].iter().any(|name| name.starts_with("Rust")));
        assert_eq!(found.size, builtin::DEFAULT.len());
    }

    #[test]
    fn finds_settings_in_a_nested_module() {
        let text = "(component (core module (@custom \"posthouse:settings\" \"{}\")))";
        let component = wat::parse_str(text).expect("a component");
        assert_eq!(
            anatomy(&component).expect("a component").settings.as_deref(),
            Some("{}")
        );
    }

    #[test]
    fn refuses_damaged_components() {
        let whole = builtin::DEFAULT;
        assert!(anatomy(&whole[..whole.len() / 2]).is_err());
        assert!(anatomy(b"\0asm\x0d\0\x01\0\x07\xff").is_err());
    }
}
