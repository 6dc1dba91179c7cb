//! Policies in other languages than Rust, built with those languages' own tools.
//!
//! The tools are fetched once, by their ordinary package clients, to `target/languages`; what was
//! built from the same files is not built again. Where they cannot be had, [`Toolchain::find`] says
//! SKIPPED, loudly.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;

use crate::binary::{Output, posthouse, run};
use crate::tool::tool;

/// What the guide says of zig was seen with this one.
const ZIG: &str = "ziglang==0.17.1\n";

/// A language that has a template.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Language {
    /// QuickJS, by componentize-qjs.
    JavaScript,
    /// CPython, by componentize-py.
    Python,
    /// clang or zig.
    C,
}

impl Language {
    /// As `policy new --lang` has it.
    pub fn name(self) -> &'static str {
        match self {
            Self::JavaScript => "javascript",
            Self::Python => "python",
            Self::C => "c",
        }
    }

    fn template(self) -> PathBuf {
        repository().join("host/posthouse/templates").join(self.name())
    }

    /// The folder that the language's package client fills, if it has one.
    fn packages(self) -> Option<&'static str> {
        match self {
            Self::JavaScript => Some("node_modules"),
            Self::Python => Some(".venv"),
            Self::C => None,
        }
    }
}

/// The tools of a language, ready.
pub struct Toolchain {
    language: Language,
    folder: PathBuf,
    /// Where its script finds programs, if not where this test does.
    path: Option<OsString>,
}

impl Toolchain {
    /// Fetches the tools that the template names, unless they are there. None, and a loud line, when
    /// they cannot be had.
    ///
    /// # Panics
    /// When `target` cannot be written.
    pub fn find(language: Language) -> Option<Self> {
        static FETCHING: Mutex<()> = Mutex::new(());
        let folder = target().join("languages").join(language.name());
        fs::create_dir_all(&folder).expect("target can be written");
        let _one_at_a_time = FETCHING.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        let there = match language {
            Language::JavaScript => fetch_javascript(&folder),
            Language::Python => fetch_python(&folder),
            Language::C => c_compiler(),
        };
        there.then_some(Self {
            language,
            folder,
            path: None,
        })
    }

    /// For C: zig alone, as pip has it. None, and a loud line, when it cannot be had.
    ///
    /// # Panics
    /// When `target` cannot be written.
    pub fn zig() -> Option<Self> {
        let folder = target().join("languages/zig");
        let programs = folder.join("programs");
        fs::create_dir_all(&programs).expect("target can be written");
        if !fetch_with_pip(&folder, ZIG) {
            return None;
        }
        let path = std::env::join_paths([only(&["sh", "dirname"], &programs), folder.join(".venv/bin")]);
        Some(Self {
            language: Language::C,
            folder,
            path: Some(path.expect("folders without colons")),
        })
    }

    /// The folder of a new project, by `posthouse policy new`.
    ///
    /// # Panics
    /// When that fails.
    pub fn new_project(&self, name: &str, role: &str) -> PathBuf {
        let project = self.folder.join(name);
        let folder = project.to_string_lossy();
        let arguments = [
            "policy",
            "new",
            name,
            "--lang",
            self.language.name(),
            "--role",
            role,
            "--force",
        ];
        run(Command::new(posthouse()).args(arguments).arg(&*folder), "").ok();
        project
    }

    /// A copy of a folder of the repository, to build in.
    ///
    /// # Panics
    /// When it is not there.
    pub fn copy(&self, path: &str) -> PathBuf {
        let from = repository().join(path);
        let to = self.folder.join(from.file_name().expect("a folder's name"));
        overlay(&from, &to);
        to
    }

    /// Builds a project with its own script; the component, or the core module that C ends with.
    ///
    /// # Panics
    /// When the script fails, with what it said.
    pub fn build(&self, project: &Path) -> PathBuf {
        let name = project.file_name().expect("a folder's name").to_string_lossy();
        let component = project.join(format!("{name}.wasm"));
        if let Some(packages) = self.language.packages() {
            let link = project.join(packages);
            if !link.exists() {
                std::os::unix::fs::symlink(self.folder.join(packages), &link).expect("a link to the packages");
            }
        }
        let stamp = project.with_extension("built-from");
        let sources = sources(project);
        if component.exists() && fs::read(&stamp).is_ok_and(|before| before == sources) {
            return component;
        }
        self.script(project).ok();
        assert!(component.exists(), "build.sh made no {}", component.display());
        fs::write(&stamp, sources).expect("target can be written");
        component
    }

    /// Runs a project's `build.sh`.
    pub fn script(&self, project: &Path) -> Output {
        let mut script = Command::new(project.join("build.sh"));
        script.env("POSTHOUSE", posthouse());
        if let Some(path) = &self.path {
            script
                .env("PATH", path)
                .env_remove("WASI_SDK_PATH")
                .env("ZIG_GLOBAL_CACHE_DIR", self.folder.join("cache"))
                .env("ZIG_LOCAL_CACHE_DIR", self.folder.join("cache"));
        }
        run(&mut script, "")
    }
}

/// A folder with links to some of the system's programs and nothing else, for the search path.
///
/// # Panics
/// When one is not there, or the folder cannot be written.
pub fn only(programs: &[&str], folder: &Path) -> PathBuf {
    for program in programs {
        let real = tool(program).unwrap_or_else(|| panic!("{program} is needed"));
        let link = folder.join(program);
        if !link.exists() {
            std::os::unix::fs::symlink(real, &link).expect("a link");
        }
    }
    folder.to_owned()
}

/// Puts the files of a folder over those of another.
///
/// # Panics
/// When one cannot be copied.
pub fn overlay(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap_or_else(|error| panic!("{}: {error}", to.display()));
    for entry in fs::read_dir(from).unwrap_or_else(|error| panic!("{}: {error}", from.display())) {
        let path = entry.expect("an entry").path();
        let copy = to.join(path.file_name().expect("an entry's name"));
        if path.is_dir() {
            overlay(&path, &copy);
        } else {
            fs::copy(&path, &copy).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        }
    }
}

/// Everything a project is built from, one file after the other.
fn sources(project: &Path) -> Vec<u8> {
    const MADE: [&str; 3] = ["node_modules", ".venv", "generated"];
    let mut paths: Vec<PathBuf> = fs::read_dir(project)
        .expect("a project")
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| !MADE.iter().any(|made| path.ends_with(made)))
        .filter(|path| path.extension().is_none_or(|extension| extension != "wasm"))
        .collect();
    paths.sort();
    let mut all = Vec::new();
    for path in paths {
        all.extend_from_slice(path.to_string_lossy().as_bytes());
        all.push(0);
        if path.is_dir() {
            all.extend(sources(&path));
        } else {
            all.extend(fs::read(&path).expect("a source file"));
        }
    }
    all
}

fn fetch_javascript(folder: &Path) -> bool {
    let (Some(_), Some(npm)) = (tool("node"), tool("npm")) else {
        return false;
    };
    // One tool for some roles, another for the others.
    let mut tools = serde_json::Map::new();
    for roles in ["exemption+ndr", "homing+all"] {
        let manifest = Language::JavaScript
            .template()
            .join(format!("package.when-{roles}.json"));
        let manifest = fs::read_to_string(manifest).expect("the template");
        let mut manifest: serde_json::Value = serde_json::from_str(&manifest).expect("the template's package.json");
        tools.extend(manifest["devDependencies"].as_object_mut().cloned().unwrap_or_default());
    }
    let manifest = serde_json::json!({"private": true, "devDependencies": tools}).to_string();
    let mut install = Command::new(npm);
    install.args(["install", "--no-audit", "--no-fund", "--no-package-lock"]);
    fetch(folder, "package.json", &manifest, &mut [install])
}

fn fetch_python(folder: &Path) -> bool {
    let requirements = fs::read_to_string(Language::Python.template().join("requirements.txt")).expect("the template");
    fetch_with_pip(folder, &requirements)
}

/// Into an environment in the folder.
fn fetch_with_pip(folder: &Path, requirements: &str) -> bool {
    let Some(python) = tool("python3") else {
        return false;
    };
    let mut environment = Command::new(python);
    environment.args(["-m", "venv", ".venv"]);
    let mut install = Command::new(folder.join(".venv/bin/pip"));
    install.args([
        "install",
        "--quiet",
        "--disable-pip-version-check",
        "-r",
        "requirements.txt",
    ]);
    fetch(folder, "requirements.txt", requirements, &mut [environment, install])
}

/// Runs the package client, unless it ran to its end for the same list.
fn fetch(folder: &Path, list: &str, wanted: &str, commands: &mut [Command]) -> bool {
    let done = folder.join("fetched");
    if fs::read_to_string(&done).is_ok_and(|fetched| fetched == wanted) {
        return true;
    }
    fs::write(folder.join(list), wanted).expect("target can be written");
    for command in commands {
        let output = run(command.current_dir(folder), "");
        if !output.status.success() {
            eprintln!("SKIPPED: {command:?} failed:\n{}", output.text());
            return false;
        }
    }
    fs::write(done, wanted).expect("target can be written");
    true
}

/// As the template's `build.sh` looks for it.
fn c_compiler() -> bool {
    if std::env::var_os("WASI_SDK_PATH").is_some() {
        return true;
    }
    let clang = tool("clang").is_some() && tool("wasm-ld").is_some() && Path::new("/usr/include/wasm32-wasi").exists();
    let found = clang || tool("zig").is_some();
    if !found {
        eprintln!("SKIPPED: no C compiler that makes WebAssembly");
    }
    found
}

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("the repository")
        .to_owned()
}

/// `target`, with the binary in `target/<profile>`.
fn target() -> PathBuf {
    let binary = posthouse();
    let target = binary.parent().and_then(Path::parent);
    target.expect("the binary is in target/<profile>").to_owned()
}
