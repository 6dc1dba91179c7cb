//! The pages about writing and about changing a policy, played as they stand.

use std::path::Path;

use posthouse_tests::{Console, example, tool};

fn page(name: &str) -> String {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs").join(name);
    std::fs::read_to_string(&page).expect("the page")
}

#[test]
fn the_page_about_changing_a_policy_is_true() {
    let Some(_) = tool("swaks") else { return };
    let folder = tempfile::tempdir().expect("a folder");
    let built = example("misbehaving");
    let built = built.parent().expect("a component is in a folder").to_string_lossy();
    Console::new(folder.path())
        .replacing("/path/to/posthouse/target/policy-wasm/wasm32-wasip2/policy", built)
        .play(&page("policy-operations.md"));
}

#[test]
fn the_page_about_writing_a_policy_is_true() {
    let Some(_) = tool("swaks") else { return };
    let folder = tempfile::tempdir().expect("a folder");
    let repository = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the repository");
    let kept = Path::new(env!("CARGO_TARGET_TMPDIR"));
    Console::new(folder.path())
        .replacing("/path/to/posthouse", repository.to_string_lossy())
        // What these tests were built with, which has the target, in place of the newest.
        .with("RUSTUP_TOOLCHAIN", env!("CARGO_PKG_RUST_VERSION").to_owned() + ".0")
        .with("CARGO_NET_OFFLINE", "true")
        // What is compiled on the way is kept for the next time.
        .with("CARGO_BUILD_BUILD_DIR", kept.join("new-policies").to_string_lossy())
        .with("XDG_CACHE_HOME", kept.join("cache").to_string_lossy())
        .play(&page("policy-guide.md"));
}
