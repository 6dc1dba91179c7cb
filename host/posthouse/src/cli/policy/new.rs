//! `posthouse policy new`.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, bail};
use clap::{Args, ValueEnum};
use serde::Serialize;

use super::template::{self, Output, TemplateValues};
use super::{toolchain, vendor};
use crate::cli::output::{self, line, remark};
use host_engine::CONTRACT_WIT;
use host_events::escape;
use host_files::replace_whole_shared;

#[derive(Debug, Args)]
pub struct NewArgs {
    /// Name of the policy: lower-case letters, digits and hyphens
    #[arg(value_name = "NAME", value_parser = name)]
    name: String,
    /// Language of the policy
    #[arg(long, value_enum, default_value_t = TemplateLanguage::Rust)]
    lang: TemplateLanguage,
    /// Role of the policy
    #[arg(long, value_enum, default_value_t = TemplateRole::Homing)]
    role: TemplateRole,
    /// Write into a folder that is not empty, and overwrite files of the same names
    #[arg(long)]
    force: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
    /// Folder to make; without it NAME in the current folder
    #[arg(value_name = "DIR")]
    folder: Option<PathBuf>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum TemplateLanguage {
    Rust,
    Javascript,
    Python,
    C,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum TemplateRole {
    /// Admission of connections, and their terms
    Exemption,
    /// Senders, recipients and messages
    Homing,
    /// Notices about failed delivery
    Ndr,
    /// The three roles together
    All,
}

impl TemplateLanguage {
    fn folder(self) -> &'static str {
        match self {
            Self::Rust => "rust",
            Self::Javascript => "javascript",
            Self::Python => "python",
            Self::C => "c",
        }
    }
}

impl TemplateRole {
    /// Name of the role in templates, and the world of the contract.
    fn names(self) -> (&'static str, &'static str) {
        match self {
            Self::Exemption => ("exemption", "exemption-policy"),
            Self::Homing => ("homing", "homing-policy"),
            Self::Ndr => ("ndr", "ndr-policy"),
            Self::All => ("all", "policy"),
        }
    }
}

/// Result of the command; printed as JSON with `--json`.
#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
struct Made {
    folder: PathBuf,
    files: Vec<PathBuf>,
    /// Missing tools, each with the way to install the tool.
    missing: Vec<String>,
}

pub async fn run(options: NewArgs) -> anyhow::Result<ExitCode> {
    let (role, world) = options.role.names();
    let values = TemplateValues {
        name: options.name.clone(),
        role,
        world,
        contract: contract_version().to_owned(),
    };
    let language = options.lang.folder();
    let mut outputs = template::files(language, &values);
    if outputs.is_empty() {
        bail!("--lang {language}: this posthouse was built without a template for it");
    }
    if options.lang == TemplateLanguage::Rust {
        outputs.extend(vendor::crates()?);
        outputs.push(Output::text("Cargo.lock", vendor::lock()?));
    }
    outputs.push(Output::text("wit/policy.wit", CONTRACT_WIT.to_owned()));
    let folder = options.folder.unwrap_or_else(|| PathBuf::from(&options.name));
    write(&folder, &outputs, options.force)?;
    let made = Made {
        files: outputs.into_iter().map(|output| output.path).collect(),
        missing: toolchain::missing(template::tools(language).unwrap_or_default())?,
        folder,
    };
    if options.json {
        output::json(&made)?;
    } else {
        show(&made)?;
    }
    Ok(ExitCode::SUCCESS)
}

fn show(made: &Made) -> std::io::Result<()> {
    let folder = escape(&made.folder.display().to_string());
    line(format!("{} files in {folder}. Next:", made.files.len()))?;
    line(format!("  cd {folder}"))?;
    line("  ./ci.sh        # builds it and runs its cases")?;
    line("README.md says how to go on.")?;
    for missing in &made.missing {
        remark(format!("missing: {}", escape(missing)));
    }
    Ok(())
}

/// Writes all files. Scripts become executable.
///
/// # Errors
/// The folder is not empty and `force` is false, or a file could not be written.
fn write(folder: &Path, outputs: &[Output], force: bool) -> anyhow::Result<()> {
    let shown = folder.display();
    let is_taken = match std::fs::read_dir(folder) {
        Ok(mut entries) => entries.next().is_some(),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => false,
        Err(error) => return Err(error).with_context(|| shown.to_string()),
    };
    if is_taken && !force {
        bail!("{shown}: is not empty; give --force to write into it, or another folder");
    }
    for output in outputs {
        let file = folder.join(&output.path);
        let context = || file.display().to_string();
        if let Some(parent) = file.parent() {
            std::fs::create_dir_all(parent).with_context(context)?;
        }
        replace_whole_shared(&file, output.content.as_ref()).with_context(context)?;
        if output.is_script() {
            make_executable(&file).with_context(context)?;
        }
    }
    Ok(())
}

fn make_executable(file: &Path) -> std::io::Result<()> {
    use std::os::unix::fs::PermissionsExt as _;
    let mut permissions = std::fs::metadata(file)?.permissions();
    permissions.set_mode(permissions.mode() | 0o111);
    std::fs::set_permissions(file, permissions)
}

/// Version of the contract: `0.2.0` from `package posthouse:policy@0.2.0;`.
fn contract_version() -> &'static str {
    let package = CONTRACT_WIT
        .lines()
        .find_map(|line| line.strip_prefix("package posthouse:policy@"));
    package.map_or("", |rest| rest.trim_end_matches(';'))
}

/// Parses a name that is valid in every language and for every tool.
///
/// # Errors
/// The reason why the name is refused.
fn name(text: &str) -> Result<String, String> {
    const RESERVED: [&str; 14] = [
        "abstract", "async", "class", "const", "crate", "default", "export", "import", "main", "mod", "policy", "self",
        "test", "use",
    ];
    let fits = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    if !text.starts_with(|c: char| c.is_ascii_lowercase()) || !text.chars().all(fits) || text.len() > 64 {
        return Err("expected lower-case letters, digits and hyphens, a letter first, at most 64".to_owned());
    }
    if text.ends_with('-') || text.contains("--") {
        return Err("a hyphen stands between two words".to_owned());
    }
    if RESERVED.contains(&text) || text.starts_with("posthouse") {
        return Err(format!("{text} means something already: choose another name"));
    }
    Ok(text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accepts_only_names_valid_in_every_language() {
        for right in ["a", "quiet-hours", "q178091"] {
            assert_eq!(name(right).expect("a name"), right);
        }
        for wrong in [
            "",
            "A",
            "1a",
            "a_b",
            "a/b",
            "..",
            "a-",
            "a--b",
            "class",
            "posthouse-x",
            &"a".repeat(65),
        ] {
            assert!(name(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn contract_version_has_three_parts() {
        assert_eq!(contract_version().split('.').count(), 3, "{}", contract_version());
    }

    #[test]
    fn writes_into_non_empty_folder_only_with_force() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("build.sh");
        std::fs::write(&file, "mine").expect("written");
        let outputs = [Output::text("build.sh", "#!/bin/sh\n".to_owned())];
        assert!(write(folder.path(), &outputs, false).is_err());
        assert_eq!(std::fs::read(&file).expect("a file"), b"mine");
        write(folder.path(), &outputs, true).expect("written");
        use std::os::unix::fs::PermissionsExt as _;
        assert_ne!(
            std::fs::metadata(&file).expect("a file").permissions().mode() & 0o111,
            0
        );
    }
}
