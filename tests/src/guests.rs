//! Policies to load into the daemon.

use std::path::{Path, PathBuf};

/// Assembles `tests/guests/<name>.wat`, or `<name>.core.wat` in its frame, into a file in `folder`.
///
/// # Panics
/// When it is not good WAT.
pub fn guest(name: &str, folder: &Path) -> PathBuf {
    let guests = Path::new(env!("CARGO_MANIFEST_DIR")).join("guests");
    let read = |file: String| std::fs::read_to_string(guests.join(&file));
    let text = read(format!("{name}.wat")).or_else(|_| {
        let (frame, core) = (read("frame.wat".into())?, read(format!("{name}.core.wat"))?);
        // The frame's own explanation names the mark, too: only the line that is the mark counts.
        std::io::Result::Ok(frame.replace("\n  @CORE@\n", &format!("\n{core}\n")))
    });
    let text = text.unwrap_or_else(|error| panic!("guest {name}: {error}"));
    let bytes = wat::parse_str(&text).unwrap_or_else(|error| panic!("guest {name}: {error}"));
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
