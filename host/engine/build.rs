//! Builds the policies that the host carries: the default policy and the examples.
//!
//! They are compiled for wasm32-wasip2 by a cargo of their own, in a target folder of their own
//! (`<target>/policy-wasm`), so that neither build waits for or invalidates the other.
//!
//! `POSTHOUSE_DEFAULT_POLICY=FILE` embeds a prebuilt default policy instead, and the examples that
//! lie beside it; when all do, as in the folder that a build leaves, no target is needed.

use std::env;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

const TARGET: &str = "wasm32-wasip2";
const PROFILE: &str = "policy";
/// Environment variable with a prebuilt default policy.
const PREBUILT: &str = "POSTHOUSE_DEFAULT_POLICY";

/// A policy to embed.
struct Guest {
    /// Cargo package.
    package: &'static str,
    /// Environment variable in which the crate finds the component's path.
    variable: &'static str,
}

const DEFAULT: &str = "posthouse-default-policy";

const POLICIES: &[Guest] = &[
    Guest {
        package: DEFAULT,
        variable: "POSTHOUSE_DEFAULT_POLICY_WASM",
    },
    Guest {
        package: "q178091",
        variable: "POSTHOUSE_Q178091_WASM",
    },
    Guest {
        package: "misbehaving",
        variable: "POSTHOUSE_MISBEHAVING_WASM",
    },
    Guest {
        package: "first-policy",
        variable: "POSTHOUSE_FIRST_POLICY_WASM",
    },
    Guest {
        package: "inquiry",
        variable: "POSTHOUSE_INQUIRY_WASM",
    },
];

impl Guest {
    /// Name of the component that cargo makes.
    fn file(&self) -> String {
        format!("{}.wasm", self.package.replace('-', "_"))
    }

    /// What to embed when the default policy comes prebuilt: that, and each example that lies in
    /// the same folder.
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
    for guest in POLICIES {
        match prebuilt.as_deref().and_then(|default| guest.prebuilt_beside(default)) {
            Some(file) => {
                println!("cargo::rerun-if-changed={}", file.display());
                embed(guest, &file, &out)?;
            }
            None => to_build.push(guest),
        }
    }
    if to_build.is_empty() {
        return Ok(());
    }

    let target_dir = target_dir(&out)?.join("policy-wasm");
    ensure_target()?;
    build(&to_build, workspace, &target_dir)?;
    for guest in to_build {
        embed(guest, &target_dir.join(TARGET).join(PROFILE).join(guest.file()), &out)?;
    }
    Ok(())
}

/// The prebuilt default policy that the environment names.
fn prebuilt() -> Result<Option<PathBuf>, Failure> {
    let Some(file) = env::var_os(PREBUILT).filter(|file| !file.is_empty()).map(PathBuf::from) else {
        return Ok(None);
    };
    if file.is_relative() {
        return Err(format!("{PREBUILT}={}: give an absolute path", file.display()));
    }
    Ok(Some(file))
}

/// Copies a component to `OUT_DIR` and tells the crate where it is. The copy is touched only when
/// its content changed: otherwise nothing that embeds it is stale.
fn embed(guest: &Guest, from: &Path, out: &Path) -> Result<(), Failure> {
    let component = fs::read(from).map_err(|error| format!("{}: {error}", from.display()))?;
    let to = out.join(guest.package).with_extension("wasm");
    if fs::read(&to).ok().as_ref() != Some(&component) {
        fs::write(&to, component).map_err(|error| format!("{}: {error}", to.display()))?;
    }
    println!("cargo::rustc-env={}={}", guest.variable, to.display());
    Ok(())
}

fn build(guests: &[&Guest], workspace: &Path, target_dir: &Path) -> Result<(), Failure> {
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
    for guest in guests {
        cargo.args(["--package", guest.package]);
    }
    for (name, _) in env::vars_os() {
        if is_about_the_host(&name) {
            cargo.env_remove(&name);
        }
    }
    // Neither the events that quote a location nor the component's digest depend on where it was built.
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

/// Where the sources of dependencies are.
fn cargo_home() -> Option<PathBuf> {
    let named = env::var_os("CARGO_HOME").map(PathBuf::from);
    named.or_else(|| Some(env::home_dir()?.join(".cargo")))
}

/// Variables that cargo or a wrapper set for the host's own build and that would change, or break,
/// the build for another target: flags, wrappers such as clippy's, profile and folder overrides.
fn is_about_the_host(name: &OsStr) -> bool {
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

/// The folder that holds `<profile>/build/<package>/out`, whatever the profile and with or without
/// a folder for the target triple.
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

/// Installs the target if rustup is there and it is missing.
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
