//! Encoding of core modules as components. Compilers of C and Zig produce a core module with types in a custom section;
//! the host does the last step, so that authors need no further tool.

use wasi_preview1_component_adapter_provider::{
    WASI_SNAPSHOT_PREVIEW1_ADAPTER_NAME as WASI, WASI_SNAPSHOT_PREVIEW1_REACTOR_ADAPTER as REACTOR,
};
use wasmparser::{Parser, Payload};
use wit_component::ComponentEncoder;

/// Prefix of sections with the types of an interface, as `wit-bindgen` writes.
const TYPES_PREFIX: &str = "component-type";

/// Reason for which no component can be made of a core module.
#[derive(Debug, thiserror::Error)]
pub enum EncodeError {
    /// The module was not built against a WIT world.
    #[error(
        "a core module without type information: nothing says which world of posthouse:policy it was built for; \
         link what wit-bindgen generated (in C the object file *_component_type.o), or build for wasm32-wasip2"
    )]
    Untyped,
    /// The module does not match its types, or is damaged.
    #[error("a core module that cannot be made a component: {0}")]
    Unfit(String),
}

/// Encodes a core module as a component, with an adapter from WASI preview 1 to 0.2 if the module imports preview 1.
/// Returns bytes that are not a core module unchanged, since loading the policy checks them.
///
/// # Errors
/// The bytes are a core module of which no component can be made.
pub fn component_of(bytes: Vec<u8>) -> Result<Vec<u8>, EncodeError> {
    if !Parser::is_core_wasm(&bytes) {
        return Ok(bytes);
    }
    let traits = ModuleTraits::of(&bytes).map_err(|error| EncodeError::Unfit(error.to_string()))?;
    if !traits.typed {
        return Err(EncodeError::Untyped);
    }
    let encode = || {
        let mut encoder = ComponentEncoder::default().module(&bytes)?.validate(true);
        if traits.wasi {
            encoder = encoder.adapter(WASI, REACTOR)?;
        }
        encoder.encode()
    };
    encode().map_err(|error| EncodeError::Unfit(format!("{error:#}")))
}

/// Properties of a core module that decide about the encoding.
struct ModuleTraits {
    typed: bool,
    wasi: bool,
}

impl ModuleTraits {
    fn of(module: &[u8]) -> wasmparser::Result<Self> {
        let (mut typed, mut wasi) = (false, false);
        for payload in Parser::new(0).parse_all(module) {
            match payload? {
                Payload::CustomSection(section) => typed |= section.name().starts_with(TYPES_PREFIX),
                Payload::ImportSection(section) => {
                    for import in section.into_imports() {
                        wasi |= import?.module == WASI;
                    }
                }
                _ => {}
            }
        }
        Ok(Self { typed, wasi })
    }
}

#[cfg(test)]
mod tests {
    use wit_component::{DecodedWasm, StringEncoding, embed_component_metadata};

    use super::*;
    use crate::component::builtin::FIRST_POLICY;
    use crate::component::inspect;

    #[test]
    fn leaves_other_bytes_unchanged() {
        for bytes in [&b""[..], b"\x7fELF", b"\0asm\x0d\0\x01\0"] {
            assert_eq!(component_of(bytes.to_vec()).expect("as it is"), bytes);
        }
        let default = crate::component::builtin::DEFAULT;
        assert_eq!(component_of(default.to_vec()).expect("as it is"), default);
    }

    #[test]
    fn refuses_a_module_without_types() {
        let module = wat::parse_str("(module)").expect("a module");
        assert!(matches!(component_of(module), Err(EncodeError::Untyped)));
    }

    #[test]
    fn refuses_a_damaged_module() {
        let module = wat::parse_str("(module (func (export \"a\")))").expect("a module");
        for end in 8..module.len() {
            assert!(component_of(module[..end].to_vec()).is_err(), "{end}");
        }
    }

    #[test]
    fn encodes_a_module_with_types() {
        let module = with_types(first_module(FIRST_POLICY));
        assert!(Parser::is_core_wasm(&module));
        let component = component_of(module).expect("a component");
        assert_eq!(inspect(&component), inspect(FIRST_POLICY));
    }

    #[test]
    fn refuses_a_module_that_does_not_match_its_types() {
        let module = wat::parse_str("(module (memory (export \"memory\") 1))").expect("a module");
        assert!(matches!(component_of(with_types(module)), Err(EncodeError::Unfit(_))));
    }

    /// Returns the first core module of a component.
    fn first_module(component: &[u8]) -> Vec<u8> {
        let mut payloads = Parser::new(0).parse_all(component);
        let range = payloads.find_map(|payload| match payload.expect("a good component") {
            Payload::ModuleSection { unchecked_range, .. } => Some(unchecked_range),
            _ => None,
        });
        component[range.expect("a module")].to_vec()
    }

    /// Adds the types of the first policy in a custom section, as a linker does.
    fn with_types(mut module: Vec<u8>) -> Vec<u8> {
        let decoded = wit_component::decode(FIRST_POLICY).expect("a good component");
        let DecodedWasm::Component(resolve, world) = decoded else {
            panic!("it is a component");
        };
        embed_component_metadata(&mut module, &resolve, world, StringEncoding::UTF8).expect("types");
        module
    }
}
