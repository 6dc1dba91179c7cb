//! Requests to the manager, as the control socket and the watched folder make them.

use serde::{Deserialize, Serialize};

/// A request to activate code, settings or both.
#[derive(Debug, Clone, Default)]
pub struct LoadRequest {
    /// Module of the chain; none is the only one, or an error if there are several.
    pub module: Option<String>,
    /// The component's bytes; none keeps the code.
    pub code: Option<Vec<u8>>,
    /// The text of the code's `.minisig` file, if there is one.
    pub signature: Option<String>,
    /// Where the bytes came from, for status.
    pub origin: String,
    /// New settings; none keeps them.
    pub settings: Option<serde_json::Map<String, serde_json::Value>>,
    /// Who asks, for the event.
    pub by: String,
    /// Even if it is held back because it was rolled back by itself.
    pub force: bool,
    /// Where core dumps go until the next load or reload; none is as configured.
    pub core_dumps: Option<std::path::PathBuf>,
    /// Why, in their own words; may be empty.
    pub reason: String,
    /// It comes from the watched folder.
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
