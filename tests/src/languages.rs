//! Policies in languages other than Rust, built with the tools of each language.
//!
//! The tools are fetched to `target/languages` by npm and pip, once. A project is built again only if the sources have
//! changed. If the tools are unavailable, [`Toolchain::find`] prints a line with SKIPPED.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use parking_lot::Mutex;

use crate::binary::{Output, posthouse, run};
use crate::skip::skipped;
use crate::tool::tool;

/// Version of zig that the statements of the guide refer to.
const ZIG: &str = "ziglang==0.17.1\n";

/// A language with a project template.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Language {
    /// JavaScript, built with componentize-qjs or componentize-js, depending on the role.
    JavaScript,
    /// Python, built with componentize-py.
    Python,
    /// C, built with clang or zig.
    C,
}

impl Language {
    /// Returns the name for `policy new --lang`.
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

    /// Returns the package folder of a project; `None` for a language without a package manager.
    fn packages(self) -> Option<&'static str> {
        match self {
            Self::JavaScript => Some("node_modules"),
            Self::Python => Some(".venv"),
            Self::C => None,
        }
    }
}

/// The installed tools of a language.
pub struct Toolchain {
    language: Language,
    folder: PathBuf,
    /// Search path of the build script; `None` is the path of this process.
    path: Option<OsString>,
}

impl Toolchain {
    /// Fetches the tools that the template names, unless present. If the tools are unavailable, `None` is returned and
    /// a line with SKIPPED is printed.
    ///
    /// # Panics
    /// If `target` cannot be written.
    pub fn find(language: Language) -> Option<Self> {
        static FETCHING: Mutex<()> = Mutex::new(());
        let folder = target().join("languages").join(language.name());
        fs::create_dir_all(&folder).expect("target can be written");
        let _one_at_a_time = FETCHING.lock();
        let available = match language {
            Language::JavaScript => fetch_javascript(&folder),
            Language::Python => fetch_python(&folder),
            Language::C => c_compiler(),
        };
        available.then_some(Self {
            language,
            folder,
            path: None,
        })
    }

    /// Fetches zig with pip, as the only C compiler. If zig is unavailable, `None` is returned and a line with SKIPPED
    /// is printed.
    ///
    /// # Panics
    /// If `target` cannot be written.
    pub fn zig() -> Option<Self> {
        let folder = target().join("languages/zig");
        let programs = folder.join("programs");
        fs::create_dir_all(&programs).expect("target can be written");
        if !fetch_with_pip(&folder, ZIG) {
            return None;
        }
        let path = std::env::join_paths([program_folder(&["sh", "dirname"], &programs), folder.join(".venv/bin")]);
        Some(Self {
            language: Language::C,
            folder,
            path: Some(path.expect("folders without colons")),
        })
    }

    /// Creates a project with `posthouse policy new` and returns the folder.
    ///
    /// # Panics
    /// If the command fails.
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

    /// Copies a folder of the repository to a build folder and returns the copy.
    ///
    /// # Panics
    /// If the folder cannot be copied.
    pub fn copy(&self, path: &str) -> PathBuf {
        let from = repository().join(path);
        let to = self.folder.join(from.file_name().expect("a folder's name"));
        overlay(&from, &to);
        to
    }

    /// Builds a project with `build.sh` and returns the component, or for C the core module.
    ///
    /// # Panics
    /// If the script fails; the message contains the output.
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

    /// Runs the `build.sh` of a project.
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

/// Fills a folder with links to the named programs, for a restricted search path, and returns the folder.
///
/// # Panics
/// If a program is not installed, or the folder cannot be written.
pub fn program_folder(programs: &[&str], folder: &Path) -> PathBuf {
    for program in programs {
        let real = tool(program).unwrap_or_else(|| panic!("{program} is needed"));
        let link = folder.join(program);
        if !link.exists() {
            std::os::unix::fs::symlink(real, &link).expect("a link");
        }
    }
    folder.to_owned()
}

/// Copies the files of a folder recursively to another folder and replaces existing files.
///
/// # Panics
/// If a file cannot be copied.
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

/// Returns the concatenated paths and contents of a project's sources, for change detection.
fn sources(project: &Path) -> Vec<u8> {
    const GENERATED: [&str; 3] = ["node_modules", ".venv", "generated"];
    let mut paths: Vec<PathBuf> = fs::read_dir(project)
        .expect("a project")
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| !GENERATED.iter().any(|generated| path.ends_with(generated)))
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
    // The tool depends on the role.
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

/// Installs requirements with pip into a virtual environment in the folder.
pub(crate) fn fetch_with_pip(folder: &Path, requirements: &str) -> bool {
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

/// Runs the package manager, unless a run with the same list of packages has succeeded before.
pub(crate) fn fetch(folder: &Path, list: &str, packages: &str, commands: &mut [Command]) -> bool {
    let done = folder.join("fetched");
    if fs::read_to_string(&done).is_ok_and(|fetched| fetched == packages) {
        return true;
    }
    fs::write(folder.join(list), packages).expect("target can be written");
    for command in commands {
        let output = run(command.current_dir(folder), "");
        if !output.status.success() {
            skipped(format!("{command:?} failed:\n{}", output.text()));
            return false;
        }
    }
    fs::write(done, packages).expect("target can be written");
    true
}

/// True if a C compiler is found, by the same rules as in the template's `build.sh`.
fn c_compiler() -> bool {
    if std::env::var_os("WASI_SDK_PATH").is_some() {
        return true;
    }
    let clang = tool("clang").is_some() && tool("wasm-ld").is_some() && Path::new("/usr/include/wasm32-wasi").exists();
    let found = clang || tool("zig").is_some();
    if !found {
        skipped("no C compiler that makes WebAssembly");
    }
    found
}

pub(crate) fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("the repository")
        .to_owned()
}

/// Returns the folder `target`; the binary is in `target/<profile>`.
pub(crate) fn target() -> PathBuf {
    let binary = posthouse();
    let target = binary.parent().and_then(Path::parent);
    target.expect("the binary is in target/<profile>").to_owned()
}
