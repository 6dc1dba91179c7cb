//! The documents about writing and changing a policy, whose console examples are executed verbatim.

use std::path::Path;

use posthouse_tests::{Console, example, tool};

fn page(name: &str) -> String {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/guide").join(name);
    std::fs::read_to_string(&page).expect("the page")
}

#[test]
fn console_examples_about_changing_a_policy_work() {
    let Some(_) = tool("swaks") else { return };
    let folder = tempfile::tempdir().expect("a folder");
    let built = example("misbehaving");
    let built = built.parent().expect("a component is in a folder").to_string_lossy();
    Console::new(folder.path())
        .replacing("/path/to/posthouse/target/policy-wasm/wasm32-wasip2/policy", built)
        .play(&page("policy-operations.md"));
}

#[test]
fn console_examples_about_writing_a_policy_work() {
    let Some(_) = tool("swaks") else { return };
    let folder = tempfile::tempdir().expect("a folder");
    let repository = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the repository");
    let kept = Path::new(env!("CARGO_TARGET_TMPDIR"));
    Console::new(folder.path())
        .replacing("/path/to/posthouse", repository.to_string_lossy())
        // The toolchain of these tests has the Wasm target; the newest toolchain may lack the target.
        .with_variable("RUSTUP_TOOLCHAIN", env!("CARGO_PKG_RUST_VERSION").to_owned() + ".0")
        .with_variable("CARGO_NET_OFFLINE", "true")
        // Build results are kept for the next run.
        .with_variable("CARGO_BUILD_BUILD_DIR", kept.join("new-policies").to_string_lossy())
        .with_variable("XDG_CACHE_HOME", kept.join("cache").to_string_lossy())
        .play(&page("policy-guide.md"));
}
