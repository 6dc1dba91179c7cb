//! Policies to load into the daemon.

use std::path::{Path, PathBuf};

/// Assembles `tests/guests/<name>.wat` into a file in `folder`.
///
/// # Panics
/// When it is not good WAT.
pub fn guest(name: &str, folder: &Path) -> PathBuf {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("guests/{name}.wat"));
    let bytes = wat::parse_file(&source).unwrap_or_else(|error| panic!("{}: {error}", source.display()));
    let file = folder.join(format!("{name}.wasm"));
    std::fs::write(&file, bytes).expect("the test's folder can be written");
    file
}

/// The component of `policy-wasm/examples/<name>`, built together with the binary.
///
/// # Panics
/// When it is not there.
pub fn example(name: &str) -> PathBuf {
    let binary = crate::binary::posthouse();
    let target = binary
        .parent()
        .and_then(Path::parent)
        .expect("the binary is in target/<profile>");
    let file = target.join(format!(
        "policy-wasm/wasm32-wasip2/policy/{}.wasm",
        name.replace('-', "_")
    ));
    assert!(
        file.exists(),
        "{} is missing: run `cargo build --release` first",
        file.display()
    );
    file
}
