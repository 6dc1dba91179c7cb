//! The page about changing a policy, played as it stands.

use std::path::Path;

use posthouse_tests::{Console, example, tool};

#[test]
fn the_page_about_changing_a_policy_is_true() {
    let Some(_) = tool("swaks") else { return };
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/policy-operations.md");
    let page = std::fs::read_to_string(&page).expect("the page");
    let folder = tempfile::tempdir().expect("a folder");
    let built = example("misbehaving");
    let built = built.parent().expect("a component is in a folder").to_string_lossy();
    Console::new(folder.path())
        .replacing("/path/to/posthouse/target/policy-wasm/wasm32-wasip2/policy", built)
        .play(&page);
}
