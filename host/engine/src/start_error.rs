//! Error of starting the engine.

/// Failure to make the engine; a bad policy is never the reason.
#[derive(Debug, thiserror::Error)]
#[error("policy engine: {0}")]
pub struct StartError(pub String);
