//! Comparison of a configuration with what operators loaded, by the ledger alone: for `check`, which runs without the
//! daemon and changes nothing.

use crate::manage::activation_store::{Activated, ActivationStore};
use crate::manage::candidate::configured_code;
use crate::manage::changes::Changes;
use host_config::{Config, PolicyModule, Problem};

/// Returns a warning for each module whose loaded code or settings differ from the configuration, and whether they stay
/// or go at the next reload or start.
pub async fn loaded_differences(config: &Config) -> Vec<Problem> {
    let folder = config.data.join("policies");
    let ledger = tokio::task::spawn_blocking(move || ActivationStore::peek(&folder)).await;
    let Ok(Some(ledger)) = ledger else {
        return Vec::new();
    };
    let mut warnings = Vec::new();
    for (index, module) in config.policies.iter().enumerate() {
        if let Some(was) = ledger.modules.get(&module.name) {
            warnings.extend(code_difference(index, module, was).await);
            warnings.extend(settings_difference(index, module, was));
        }
    }
    warnings
}

async fn code_difference(index: usize, module: &PolicyModule, was: &Activated) -> Option<Problem> {
    let code = configured_code(module)
        .await
        .ok()
        .filter(|code| code.digest != was.code)?;
    if !was.code_loaded {
        return None;
    }
    let stays = code.identity == was.configured.code;
    Some(Problem::new(
        format!("policy[{index}].file"),
        format!("code from {} is loaded ({}); {}", was.origin, by(was), outcome(stays)),
    ))
}

fn settings_difference(index: usize, module: &PolicyModule, was: &Activated) -> Option<Problem> {
    if !was.settings_loaded {
        return None;
    }
    let text = Changes::of_settings(&module.settings, &was.settings).settings_in_words()?;
    let stays = was.configured.settings == module.settings;
    Some(Problem::new(
        format!("policy[{index}].settings"),
        format!("other settings are loaded ({}): {text}; {}", by(was), outcome(stays)),
    ))
}

fn by(was: &Activated) -> String {
    format!("generation {} by {} at {}", was.generation, was.by, was.since)
}

fn outcome(stays: bool) -> &'static str {
    match stays {
        true => "that stays until the configuration changes",
        false => "the configuration is newer and replaces that at the next reload or start",
    }
}
