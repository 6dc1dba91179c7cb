//! Policies to load into the daemon.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

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

/// The component of `policy-wasm/examples/<name>`, as `cargo build` makes it; all are built by the first
/// who asks.
///
/// # Panics
/// When they cannot be built.
pub fn worked_example(name: &str) -> PathBuf {
    static TARGET: OnceLock<PathBuf> = OnceLock::new();
    let target = TARGET.get_or_init(|| {
        let tests = Path::new(env!("CARGO_MANIFEST_DIR"));
        let binary = crate::binary::posthouse();
        let target = binary.parent().and_then(Path::parent);
        let target = target.expect("the binary is in target/<profile>").join("examples");
        let mut cargo = Command::new("cargo");
        cargo
            .current_dir(tests.parent().expect("the repository"))
            .args(["build", "--locked", "--quiet", "--lib", "--profile", "policy"])
            .args(["--target", "wasm32-wasip2", "--target-dir"])
            .arg(&target)
            .env_remove("RUSTFLAGS")
            .env_remove("CARGO_ENCODED_RUSTFLAGS");
        for example in EXAMPLES {
            cargo.args(["--package", example]);
        }
        // It takes as long as a compiler takes.
        let output = cargo.output().expect("cargo can be run");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        target
    });
    target.join(format!("wasm32-wasip2/policy/{}.wasm", name.replace('-', "_")))
}

/// Those that are worked out, with cases and a README.
const EXAMPLES: [&str; 8] = [
    "first-policy",
    "inside-claims",
    "members-only",
    "office-hours",
    "printers",
    "quiet-ndr",
    "send-as",
    "sender-quota",
];

/// A good policy of so many functions that the compiler is busy with it for seconds, in a file in
/// `folder`. It is `panicking-admit` otherwise.
///
/// # Panics
/// When it cannot be assembled.
pub fn large_guest(functions: usize, folder: &Path) -> PathBuf {
    let guests = Path::new(env!("CARGO_MANIFEST_DIR")).join("guests");
    let read = |file: &str| std::fs::read_to_string(guests.join(file)).expect("part of the repository");
    let step = "local.get 0 i64.const 7 i64.mul local.get 1 i64.xor i64.const 13 i64.rotl local.set 1 \
                local.get 1 local.get 0 i64.add i64.const 3 i64.shr_u local.set 0\n";
    let body = step.repeat(40);
    let more: String = (0..functions)
        .map(|_| format!("(func (param i64 i64) (result i64)\n{body}local.get 0)\n"))
        .collect();
    let core = read("panicking-admit.core.wat");
    let core = core.trim_end().strip_suffix(')').expect("one module").to_owned() + &more + ")";
    let text = read("frame.wat").replace("\n  @CORE@\n", &format!("\n{core}\n"));
    let bytes = wat::parse_str(&text).expect("good WAT");
    let file = folder.join("large.wasm");
    std::fs::write(&file, bytes).expect("the test's folder can be written");
    file
}

/// A copy of a component in `folder` that is not the host's own: with one more custom section.
///
/// # Panics
/// When it cannot be read or written.
pub fn from_outside(component: &Path, folder: &Path) -> PathBuf {
    let mut bytes = std::fs::read(component).expect("the component is there");
    bytes.extend_from_slice(b"\0\x05\x04mark");
    let file = folder.join("from-outside.wasm");
    std::fs::write(&file, bytes).expect("the test's folder can be written");
    file
}
