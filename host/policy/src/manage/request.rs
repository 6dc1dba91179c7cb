//! Requests to the manager, made by the control socket, the command line and the watched folder.

use serde::{Deserialize, Serialize};

/// A request to activate code, settings or both.
#[derive(Debug, Clone, Default)]
pub struct LoadRequest {
    /// Module of the chain. None selects the only module, and is an error if there are several.
    pub module: Option<String>,
    /// The component's bytes; none keeps the code.
    pub code: Option<Vec<u8>>,
    /// The text of the code's `.minisig` file, if there is one.
    pub signature: Option<String>,
    /// Origin of the code, for status.
    pub origin: String,
    /// New settings; none keeps them.
    pub settings: Option<serde_json::Map<String, serde_json::Value>>,
    /// Actor, for events.
    pub by: String,
    /// Ignores the back-off after an automatic rollback.
    pub force: bool,
    /// Folder of core dumps until the next load or reload; none uses the configured folder.
    pub core_dumps: Option<std::path::PathBuf>,
    /// Reason in the operator's words; may be empty.
    pub reason: String,
    /// True if the watched folder made the request.
    pub watched: bool,
}

/// Everything that a module runs with.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[allow(missing_docs)]
pub struct ModuleSetup {
    pub module: String,
    /// The component in base64.
    pub code: String,
    pub digest: String,
    pub generation: u64,
    pub settings: serde_json::Map<String, serde_json::Value>,
    pub grants: Vec<String>,
    pub limits: host_config::PolicyLimits,
}
