//! Errors of a configuration.

pub use crate::toml_reader::Problem;

/// Every problem found in a configuration; displayed with a line for each.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))]
pub struct ConfigError(pub Vec<Problem>);
