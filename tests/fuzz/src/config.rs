//! The configuration file.

use std::path::Path;

use host_config::Config;

/// Parses a configuration. Each problem must have a text.
pub fn config(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    if let Err(error) = Config::parse(&text, Path::new("/etc/posthouse")) {
        assert!(!error.0.is_empty());
        assert!(error.0.iter().all(|problem| !problem.text.is_empty()), "{error}");
    }
}
