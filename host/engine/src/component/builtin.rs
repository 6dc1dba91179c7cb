//! The components the host carries; `build.rs` makes them from `policy-wasm`.

/// The policy of every module that names no file.
pub const DEFAULT: &[u8] = include_bytes!(env!("POSTHOUSE_DEFAULT_POLICY_WASM"));

/// The policy of 1999: takes for granted that whoever submitted a message has authenticated.
pub const Q178091: &[u8] = include_bytes!(env!("POSTHOUSE_Q178091_WASM"));

/// A policy that is wrong in the way its settings say.
pub const MISBEHAVING: &[u8] = include_bytes!(env!("POSTHOUSE_MISBEHAVING_WASM"));

/// The policy of the guide's first chapter.
pub const FIRST_POLICY: &[u8] = include_bytes!(env!("POSTHOUSE_FIRST_POLICY_WASM"));

/// Whether these bytes are part of the host itself.
pub fn carries(bytes: &[u8]) -> bool {
    [DEFAULT, Q178091, MISBEHAVING, FIRST_POLICY].contains(&bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_are_components_that_name_their_functions() {
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
