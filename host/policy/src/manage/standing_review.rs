//! The review of every module's standing after a change of the chain: compares what runs with the configuration.

use crate::evaluate::chain::Module;
use crate::manage::activation_history::How;
use crate::manage::activation_store::Ledger;
use crate::manage::candidate::configured_code;
use crate::manage::changes::Changes;
use crate::manage::policy_set::PolicySet;
use host_config::PolicyModule;
use host_engine::generation::Generation;

/// Digits of a digest in a text.
const SHORT: usize = 12;

/// Brings the standing of every module up to date. Called with the ledger locked, after a chain was published.
pub(crate) async fn review(set: &PolicySet, ledger: &Ledger) {
    let chain = set.chain.load_full();
    for module in &chain.modules {
        let differs = differences(module).await;
        let last = ledger.modules.get(&*module.name);
        let undone = last.filter(|last| last.how == How::Probation).map(|last| {
            let number = module.running.as_ref().map_or(0, |running| running.number);
            format!("generation {number} was put back automatically: {}", last.why)
        });
        let number = module.running.as_ref().ok().map(|running| running.number);
        set.set_standing(&module.name, |standing| {
            standing.differs = differs;
            standing.undone = undone;
            standing.untrusted.take_if(|(untrusted, _)| Some(*untrusted) != number);
        });
    }
}

/// Compares what runs with what the configuration says.
async fn differences(module: &Module) -> Vec<String> {
    let Ok(running) = &module.running else {
        return Vec::new();
    };
    let configured = configured_code(&module.configured).await;
    let configured = configured.ok().map(|code| code.digest);
    differences_of(running, &module.configured, configured.as_deref())
}

/// Compares a generation with the configuration; `digest` is that of the configured code, if it can be read.
fn differences_of(running: &Generation, configured: &PolicyModule, digest: Option<&str>) -> Vec<String> {
    let candidate = &running.candidate;
    let mut differs = Vec::new();
    if digest.is_some_and(|digest| digest != candidate.code.digest) {
        let file = configured.file.as_ref().map(|file| file.display().to_string());
        differs.push(format!(
            "code: {} from {} instead of {}",
            short(&candidate.code.digest),
            candidate.origin,
            file.as_deref().unwrap_or("the built-in policy")
        ));
    }
    let changes = Changes::of_settings(&configured.settings, &candidate.settings);
    if let Some(text) = changes.settings_in_words() {
        differs.push(format!("settings: {text}"));
    }
    differs
}

/// Returns the first digits of a digest.
fn short(digest: &str) -> &str {
    digest.get(..SHORT).unwrap_or(digest)
}
