//! `posthouse policy inspect`.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;

use super::input::{name_file, read_component};
use crate::cli::output::{self, line};
use host_config::ConfigError;
use host_engine::component::inspection::{Inspection, inspect_component};
use host_events::escape;

#[derive(Debug, Args)]
pub struct InspectArgs {
    /// File of the component
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

pub fn run(options: &InspectArgs) -> anyhow::Result<ExitCode> {
    let bytes = read_component(&options.file)?;
    let found = inspect_component(&bytes).map_err(|problems| ConfigError(name_file(&options.file, problems)))?;
    if options.json {
        output::json(&found)?;
    } else {
        show(&found)?;
    }
    Ok(ExitCode::from(u8::from(!found.problems.is_empty())))
}

fn show(found: &Inspection) -> std::io::Result<()> {
    let listed = |what: &str, names: &[String], none: &str| {
        let text = match names {
            [] => none.to_owned(),
            names => names.join(", "),
        };
        line(format!("{what:<14}{}", escape(&text)))
    };
    line(format!("{:<14}{}", "digest", found.digest))?;
    line(format!("{:<14}{} bytes", "size", found.size))?;
    listed("contract", &found.contract, "none: not built for posthouse:policy")?;
    listed("roles", &found.roles, "none: it could never be asked")?;
    listed("uses", &found.uses, "nothing of the host's")?;
    listed("types only", &found.types_only, "none")?;
    listed("inert WASI", &found.inert, "none")?;
    if !found.foreign.is_empty() {
        listed("foreign", &found.foreign, "")?;
    }
    if !found.other_exports.is_empty() {
        listed("also has", &found.other_exports, "")?;
    }
    for (kind, tools) in &found.producers {
        listed(kind, tools, "")?;
    }
    line(format!("{:<14}{}", "grant with", escape(&found.grants_line())))?;
    for problem in &found.problems {
        line(format!("{:<14}{}", "PROBLEM", escape(problem)))?;
    }
    Ok(())
}
