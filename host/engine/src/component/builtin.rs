//! Built-in components, which `build.rs` builds from `policy-wasm`.

/// The default policy, used by every module that names no file.
pub const DEFAULT: &[u8] = include_bytes!(env!("POSTHOUSE_DEFAULT_POLICY_WASM"));

/// A policy of 1999, which assumes that every submitted message is authenticated.
pub const Q178091: &[u8] = include_bytes!(env!("POSTHOUSE_Q178091_WASM"));

/// A faulty policy for tests; settings choose the fault.
pub const MISBEHAVING: &[u8] = include_bytes!(env!("POSTHOUSE_MISBEHAVING_WASM"));

/// The policy of the first chapter of `docs/guide/policy-guide.md`.
pub const FIRST_POLICY: &[u8] = include_bytes!(env!("POSTHOUSE_FIRST_POLICY_WASM"));

/// True if the bytes are a built-in component.
pub fn carries(bytes: &[u8]) -> bool {
    [DEFAULT, Q178091, MISBEHAVING, FIRST_POLICY].contains(&bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn built_in_components_have_debug_information() {
        for (name, component) in [
            ("default", DEFAULT),
            ("q178091", Q178091),
            ("misbehaving", MISBEHAVING),
            ("first-policy", FIRST_POLICY),
        ] {
            assert!(wasmparser::Parser::is_component(component), "{name}");
            // Event 4037 quotes function, file and line.
            for section in [".debug_line", "name"] {
                let found = component
                    .windows(section.len())
                    .any(|window| window == section.as_bytes());
                assert!(found, "{name} has no {section}");
            }
        }
    }
}
