//! `posthouse policy bindings`.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context;
use clap::{Args, ValueEnum};
use wit_bindgen_core::wit_parser::Resolve;
use wit_bindgen_core::{Files, WorldGenerator};

use crate::cli::output::line;
use host_events::escape;
use host_files::replace_whole_shared;

/// Languages without a tool of their own that generates bindings.
#[derive(Debug, Clone, Copy, ValueEnum)]
enum BindingsLanguage {
    C,
}

#[derive(Debug, Args)]
pub struct BindingsArgs {
    /// WIT folder or file with the contract and the world
    #[arg(value_name = "WIT", default_value = "wit")]
    wit: PathBuf,
    /// Language of the policy
    #[arg(long = "lang", value_enum, default_value = "c")]
    language: BindingsLanguage,
    /// World that the policy implements; without it the only world
    #[arg(long)]
    world: Option<String>,
    /// Folder for the files; made if missing
    #[arg(long, value_name = "DIR", default_value = "generated")]
    out: PathBuf,
}

pub fn run(options: &BindingsArgs) -> anyhow::Result<ExitCode> {
    let files = generate(&options.wit, options.world.as_deref(), options.language)?;
    let out = &options.out;
    std::fs::create_dir_all(out).with_context(|| out.display().to_string())?;
    for (name, content) in files.iter() {
        let file = out.join(name);
        write_changed(&file, content).with_context(|| file.display().to_string())?;
        line(escape(&file.display().to_string()))?;
    }
    Ok(ExitCode::SUCCESS)
}

fn generate(wit: &Path, world: Option<&str>, language: BindingsLanguage) -> anyhow::Result<Files> {
    let mut resolve = Resolve::new();
    let (package, _) = resolve.push_path(wit)?;
    let world = resolve.select_world(&[package], world)?;
    let mut files = Files::default();
    generator(language).generate(&mut resolve, world, &mut files)?;
    Ok(files)
}

fn generator(language: BindingsLanguage) -> Box<dyn WorldGenerator> {
    match language {
        BindingsLanguage::C => wit_bindgen_c::Opts::default().build(),
    }
}

/// Writes the file if its content differs. An unchanged file keeps its time, so that `make` rebuilds nothing.
fn write_changed(file: &Path, content: &[u8]) -> std::io::Result<()> {
    match std::fs::read(file) {
        Ok(old) if old == content => Ok(()),
        _ => replace_whole_shared(file, content),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONTRACT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../wit/policy.wit");

    #[test]
    fn c_bindings_are_source_header_and_component_type() {
        let files = generate(Path::new(CONTRACT), Some("homing-policy"), BindingsLanguage::C).expect("bindings");
        let names: Vec<&str> = files.iter().map(|(name, _)| name).collect();
        assert_eq!(
            names,
            ["homing_policy.c", "homing_policy.h", "homing_policy_component_type.o"]
        );
        let header = files.iter().find(|(name, _)| name.ends_with(".h")).expect("a header").1;
        let header = String::from_utf8_lossy(header);
        assert!(
            header.contains("exports_posthouse_policy_homing_check_recipient("),
            "{header}"
        );
    }

    #[test]
    fn names_missing_world() {
        let missing = generate(Path::new(CONTRACT), Some("nothing"), BindingsLanguage::C)
            .err()
            .expect("an error");
        assert!(format!("{missing:#}").contains("nothing"), "{missing:#}");
        let several = generate(Path::new(CONTRACT), None, BindingsLanguage::C)
            .err()
            .expect("an error");
        assert!(
            format!("{several:#}").contains("--world") || format!("{several:#}").contains("world"),
            "{several:#}"
        );
    }

    #[test]
    fn leaves_unchanged_files_alone() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("a.h");
        write_changed(&file, b"one").expect("writes");
        let before = std::fs::metadata(&file).expect("is there").modified().expect("a time");
        write_changed(&file, b"one").expect("writes");
        assert_eq!(
            std::fs::metadata(&file).expect("is there").modified().expect("a time"),
            before
        );
        write_changed(&file, b"two").expect("writes");
        assert_eq!(std::fs::read(&file).expect("is there"), b"two");
    }
}
