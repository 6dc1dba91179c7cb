//! What can be read in a component's bytes: for its author and for whoever is to grant it something.

use std::collections::BTreeMap;

use serde::Serialize;
use wasmparser::{KnownCustom, Parser, Payload};

use crate::component::{damage, names, recognise};
use host_config::Problem;

/// Custom section in which a policy tells its settings: a JSON Schema object.
pub const SETTINGS_SECTION: &str = "posthouse:settings";

/// The contract's package, up to the interface.
const CONTRACT: &str = "posthouse:policy/";

/// A component, from outside.
#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Anatomy {
    /// Bytes.
    pub size: usize,
    /// Versions of the contract that its imports and exports name; one, if all is well.
    pub contracts: Vec<String>,
    /// Interfaces of the contract it exports, without `lifecycle`.
    pub roles: Vec<String>,
    /// Interfaces of the contract it imports; they need grants if functions of them are used.
    pub imports: Vec<String>,
    /// Everything else it imports.
    pub others: Vec<String>,
    /// What made it: field, name and version of each producers section.
    pub producers: BTreeMap<String, Vec<String>>,
    /// Content of [`SETTINGS_SECTION`], if there is one.
    #[serde(skip)]
    pub settings: Option<String>,
    /// Event 4037 can name functions.
    pub has_names: bool,
    /// Event 4037 can name file and line.
    pub has_lines: bool,
    /// Core modules inside.
    pub modules: usize,
}

/// Reads a component from outside, without judging it.
///
/// # Errors
/// It is none, or damaged.
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
        match found.of_contract(name) {
            Some(interface) => found.imports.push(interface),
            None => found.others.push(name.clone()),
        }
    }
    for name in &exports {
        let interface = found.of_contract(name).filter(|interface| interface != "lifecycle");
        found.roles.extend(interface);
    }
    found.roles.sort();
    found.sections(component).map_err(damaged)?;
    Ok(found)
}

impl Anatomy {
    /// The interface, if it is one of the contract's; the version is noted.
    fn of_contract(&mut self, name: &str) -> Option<String> {
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
                            self.made_by(fields)?;
                        }
                    }
                },
                _ => {}
            }
        }
        Ok(())
    }

    fn made_by(&mut self, fields: wasmparser::ProducersSectionReader<'_>) -> wasmparser::Result<()> {
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
    fn the_default_policy_is_recognised() {
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
    fn settings_are_found_wherever_they_are() {
        let text = "(component (core module (@custom \"posthouse:settings\" \"{}\")))";
        let component = wat::parse_str(text).expect("a component");
        assert_eq!(
            anatomy(&component).expect("a component").settings.as_deref(),
            Some("{}")
        );
    }

    #[test]
    fn what_is_damaged_is_an_error() {
        let whole = builtin::DEFAULT;
        assert!(anatomy(&whole[..whole.len() / 2]).is_err());
        assert!(anatomy(b"\0asm\x0d\0\x01\0\x07\xff").is_err());
    }
}
