//! Bounds on the cost of password hashes.

/// Describes a hash whose cost exceeds the bound `at_most`.
pub(super) fn too_expensive(at_most: &str) -> String {
    format!("asks for too much work: at most {at_most} allowed")
}
