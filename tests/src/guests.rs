//! Policy components for tests.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// Assembles `tests/guests/<name>.wat`, or `<name>.core.wat` within `frame.wat`, into a file in `folder`.
///
/// # Panics
/// If the guest is not valid WAT.
pub fn guest(name: &str, folder: &Path) -> PathBuf {
    let guests = Path::new(env!("CARGO_MANIFEST_DIR")).join("guests");
    let read = |file: String| std::fs::read_to_string(guests.join(&file));
    let text = read(format!("{name}.wat")).or_else(|_| {
        let (frame, core) = (read("frame.wat".into())?, read(format!("{name}.core.wat"))?);
        // A comment in the frame mentions the marker as well: only the marker on a line of its own is replaced.
        std::io::Result::Ok(frame.replace("\n  @CORE@\n", &format!("\n{core}\n")))
    });
    let text = text.unwrap_or_else(|error| panic!("guest {name}: {error}"));
    let bytes = wat::parse_str(&text).unwrap_or_else(|error| panic!("guest {name}: {error}"));
    let file = folder.join(format!("{name}.wasm"));
    std::fs::write(&file, bytes).expect("the test's folder can be written");
    file
}

/// Returns the component of `policy-wasm/examples/<name>` that is built together with the binary.
///
/// # Panics
/// If the component does not exist.
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

/// Returns the component of `policy-wasm/examples/<name>`, built by `cargo build`. The first call builds all worked
/// examples.
///
/// # Panics
/// If the build fails.
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
        for example in WORKED_EXAMPLES {
            cargo.args(["--package", example]);
        }
        // Without a deadline: compilation time depends on the machine.
        let output = cargo.output().expect("cargo can be run");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        target
    });
    target.join(format!("wasm32-wasip2/policy/{}.wasm", name.replace('-', "_")))
}

/// Worked examples, with cases and a README.
const WORKED_EXAMPLES: [&str; 8] = [
    "first-policy",
    "inside-claims",
    "members-only",
    "office-hours",
    "printers",
    "quiet-ndr",
    "send-as",
    "sender-quota",
];

/// Assembles a valid policy with many functions, which keeps the compiler busy for seconds, into a file in `folder`.
/// The behaviour is that of `panicking-admit`.
///
/// # Panics
/// If the policy cannot be assembled.
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

/// Copies a component to `folder` with an additional custom section, so that the digest differs from the host's own
/// component.
///
/// # Panics
/// If the component cannot be read or the copy cannot be written.
pub fn foreign_copy(component: &Path, folder: &Path) -> PathBuf {
    let mut bytes = std::fs::read(component).expect("the component is there");
    bytes.extend_from_slice(b"\0\x05\x04mark");
    let file = folder.join("from-outside.wasm");
    std::fs::write(&file, bytes).expect("the test's folder can be written");
    file
}
