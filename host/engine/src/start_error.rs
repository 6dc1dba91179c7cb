//! Why the engine cannot start.

/// Error of making the engine itself; a bad policy is never the reason.
#[derive(Debug, thiserror::Error)]
#[error("policy engine: {0}")]
pub struct StartError(pub String);
