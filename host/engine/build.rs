//! Builds the built-in policies: the default policy and the examples.
//!
//! A separate cargo process compiles the policies for wasm32-wasip2 in a separate target folder
//! (`<target>/policy-wasm`), so that neither build waits for or invalidates the other.
//!
//! `POSTHOUSE_DEFAULT_POLICY=FILE` embeds a prebuilt default policy instead, and the examples in the same folder. If
//! the folder has all examples, as the output folder of a build does, the target need not be installed.

use std::env;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

const TARGET: &str = "wasm32-wasip2";
const PROFILE: &str = "policy";
/// Environment variable with the path of a prebuilt default policy.
const PREBUILT: &str = "POSTHOUSE_DEFAULT_POLICY";

/// A policy to embed.
struct BuiltinPolicy {
    /// Cargo package.
    package: &'static str,
    /// Environment variable in which the crate finds the component's path.
    variable: &'static str,
}

const DEFAULT: &str = "posthouse-default-policy";

const POLICIES: &[BuiltinPolicy] = &[
    BuiltinPolicy {
        package: DEFAULT,
        variable: "POSTHOUSE_DEFAULT_POLICY_WASM",
    },
    BuiltinPolicy {
        package: "q178091",
        variable: "POSTHOUSE_Q178091_WASM",
    },
    BuiltinPolicy {
        package: "misbehaving",
        variable: "POSTHOUSE_MISBEHAVING_WASM",
    },
    BuiltinPolicy {
        package: "first-policy",
        variable: "POSTHOUSE_FIRST_POLICY_WASM",
    },
    BuiltinPolicy {
        package: "inquiry",
        variable: "POSTHOUSE_INQUIRY_WASM",
    },
];

impl BuiltinPolicy {
    /// File name of the component that cargo makes.
    fn file(&self) -> String {
        format!("{}.wasm", self.package.replace('-', "_"))
    }

    /// Returns the prebuilt component: `default` itself, or the example in the same folder, if present.
    fn prebuilt_beside(&self, default: &Path) -> Option<PathBuf> {
        if self.package == DEFAULT {
            return Some(default.to_owned());
        }
        Some(default.with_file_name(self.file())).filter(|file| file.is_file())
    }
}

type Failure = String;

fn main() {
    if let Err(failure) = run() {
        println!("cargo::error={}", failure.replace('\n', " "));
        std::process::exit(1);
    }
}

fn run() -> Result<(), Failure> {
    let workspace = variable("CARGO_MANIFEST_DIR").map(PathBuf::from)?;
    let workspace = workspace
        .ancestors()
        .nth(2)
        .ok_or("the package is not in a workspace")?;
    let out = PathBuf::from(variable("OUT_DIR")?);
    for source in [
        "wit",
        "policy-wasm",
        "host/posthouse/templates",
        "Cargo.toml",
        "Cargo.lock",
        "rust-toolchain.toml",
    ] {
        println!("cargo::rerun-if-changed={}", workspace.join(source).display());
    }
    println!("cargo::rerun-if-env-changed={PREBUILT}");

    let prebuilt = prebuilt()?;
    let mut to_build = Vec::new();
    for policy in POLICIES {
        match prebuilt.as_deref().and_then(|default| policy.prebuilt_beside(default)) {
            Some(file) => {
                println!("cargo::rerun-if-changed={}", file.display());
                embed(policy, &file, &out)?;
            }
            None => to_build.push(policy),
        }
    }
    if to_build.is_empty() {
        return Ok(());
    }

    let target_dir = target_dir(&out)?.join("policy-wasm");
    ensure_target()?;
    // The default policy has a command of its own: one command would unify the SDK's features, and every policy would have
    // the allocator that only the default policy asks for.
    let (default, others): (Vec<_>, Vec<_>) = to_build.iter().partition(|policy| policy.package == DEFAULT);
    for policies in [default, others].iter().filter(|policies| !policies.is_empty()) {
        build(policies, workspace, &target_dir)?;
    }
    for policy in to_build {
        embed(policy, &target_dir.join(TARGET).join(PROFILE).join(policy.file()), &out)?;
    }
    Ok(())
}

/// Returns the path of the prebuilt default policy that the environment names, if any.
fn prebuilt() -> Result<Option<PathBuf>, Failure> {
    let Some(file) = env::var_os(PREBUILT).filter(|file| !file.is_empty()).map(PathBuf::from) else {
        return Ok(None);
    };
    if file.is_relative() {
        return Err(format!("{PREBUILT}={}: give an absolute path", file.display()));
    }
    Ok(Some(file))
}

/// Copies a component to `OUT_DIR` and passes the path to the crate. A copy with the same content is not written again,
/// so that the crate is not rebuilt.
fn embed(policy: &BuiltinPolicy, from: &Path, out: &Path) -> Result<(), Failure> {
    let component = fs::read(from).map_err(|error| format!("{}: {error}", from.display()))?;
    let to = out.join(policy.package).with_extension("wasm");
    if fs::read(&to).ok().as_ref() != Some(&component) {
        fs::write(&to, component).map_err(|error| format!("{}: {error}", to.display()))?;
    }
    println!("cargo::rustc-env={}={}", policy.variable, to.display());
    Ok(())
}

fn build(policies: &[&BuiltinPolicy], workspace: &Path, target_dir: &Path) -> Result<(), Failure> {
    let mut cargo = Command::new(variable("CARGO")?);
    cargo
        .current_dir(workspace)
        .args([
            "build",
            "--locked",
            "--lib",
            "--target",
            TARGET,
            "--profile",
            PROFILE,
            "--target-dir",
        ])
        .arg(target_dir);
    for policy in policies {
        cargo.args(["--package", policy.package]);
    }
    for (name, _) in env::vars_os() {
        if belongs_to_host_build(&name) {
            cargo.env_remove(&name);
        }
    }
    // Keeps the build's location out of events that quote source locations, and out of the component's digest.
    let mut flags = format!("--remap-path-prefix={}=", workspace.display());
    if let Some(home) = cargo_home() {
        flags.push_str(&format!("\u{1f}--remap-path-prefix={}=cargo", home.display()));
    }
    cargo.env("CARGO_ENCODED_RUSTFLAGS", flags);
    let output = cargo
        .output()
        .map_err(|error| format!("cannot run cargo for the policies: {error}"))?;
    let text = String::from_utf8_lossy(&output.stderr);
    if output.status.success() {
        return Ok(());
    }
    for line in text.lines() {
        println!("cargo::warning={line}");
    }
    Err(format!(
        "the policies could not be built for {TARGET} (see the warnings); set {PREBUILT}=FILE to embed a prebuilt default policy"
    ))
}

/// Returns cargo's home folder, which holds the sources of dependencies.
fn cargo_home() -> Option<PathBuf> {
    let named = env::var_os("CARGO_HOME").map(PathBuf::from);
    named.or_else(|| Some(env::home_dir()?.join(".cargo")))
}

/// True for variables that cargo or a wrapper set for the host's own build and that would change or break the build for
/// another target: flags, wrappers such as clippy's, overrides of profiles and folders.
fn belongs_to_host_build(name: &OsStr) -> bool {
    const NAMES: [&str; 11] = [
        "CARGO_BUILD_TARGET",
        "CARGO_BUILD_RUSTFLAGS",
        "CARGO_BUILD_TARGET_DIR",
        "CARGO_ENCODED_RUSTFLAGS",
        "CARGO_MAKEFLAGS",
        "CARGO_TARGET_DIR",
        "CLIPPY_ARGS",
        "MAKEFLAGS",
        "RUSTC_WORKSPACE_WRAPPER",
        "RUSTC_WRAPPER",
        "RUSTFLAGS",
    ];
    const PREFIXES: [&str; 4] = ["CARGO_CFG_", "CARGO_FEATURE_", "CARGO_PROFILE_", "LLVM_PROFILE_"];
    name.to_str()
        .is_some_and(|name| NAMES.contains(&name) || PREFIXES.iter().any(|prefix| name.starts_with(prefix)))
}

/// Returns the target folder: the ancestor of `<profile>/build/<package>/out`, or of that path in a folder for the
/// target triple.
fn target_dir(out: &Path) -> Result<PathBuf, Failure> {
    let build = out
        .ancestors()
        .find(|folder| folder.file_name() == Some(OsStr::new("build")))
        .ok_or("OUT_DIR is not in a build folder")?;
    let profile = build.parent().ok_or("OUT_DIR has no profile folder")?;
    let root = profile.parent().ok_or("OUT_DIR has no target folder")?;
    let triple = variable("TARGET")?;
    match root.parent() {
        Some(above) if root.file_name() == Some(triple.as_os_str()) => Ok(above.to_owned()),
        _ => Ok(root.to_owned()),
    }
}

/// Installs a missing target with rustup, if rustup is available.
fn ensure_target() -> Result<(), Failure> {
    let rustc = variable("RUSTC")?;
    let libraries = Command::new(&rustc)
        .args(["--print", "target-libdir", "--target", TARGET])
        .output()
        .map_err(|error| format!("cannot run rustc: {error}"))?;
    let folder = PathBuf::from(String::from_utf8_lossy(&libraries.stdout).trim());
    if libraries.status.success() && folder.is_dir() {
        return Ok(());
    }
    let help = format!(
        "the Rust target {TARGET} is missing: install it (with rustup: `rustup target add {TARGET}`) or set {PREBUILT}=FILE"
    );
    match Command::new("rustup").args(["target", "add", TARGET]).status() {
        Ok(status) if status.success() => Ok(()),
        _ => Err(help),
    }
}

fn variable(name: &str) -> Result<OsString, Failure> {
    env::var_os(name).ok_or_else(|| format!("{name} is not set: run this with cargo"))
}
