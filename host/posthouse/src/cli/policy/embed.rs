//! `posthouse policy embed`.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, bail};
use clap::Args;
use wasmparser::{Parser, Payload};

use super::input::read_file;
use super::schema;
use host_engine::component::anatomy::SETTINGS_SECTION;

#[derive(Debug, Args)]
pub struct EmbedArgs {
    /// Component, or core module that is to become one; it is written again
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// JSON Schema of its settings
    #[arg(value_name = "SCHEMA")]
    schema: PathBuf,
}

pub fn run(options: &EmbedArgs) -> anyhow::Result<ExitCode> {
    let shown = options.file.display();
    let schema_shown = options.schema.display();
    let code = read_file(&options.file)?;
    let schema = std::fs::read_to_string(&options.schema).with_context(|| schema_shown.to_string())?;
    schema::settings(&schema).map_err(|problem| anyhow::anyhow!("{schema_shown}: {problem}"))?;
    let code = with_settings(code, &schema).with_context(|| shown.to_string())?;
    std::fs::write(&options.file, code).with_context(|| shown.to_string())?;
    Ok(ExitCode::SUCCESS)
}

/// The code with a schema behind it, as a custom section: what runs stays as it is.
fn with_settings(mut code: Vec<u8>, schema: &str) -> anyhow::Result<Vec<u8>> {
    for payload in Parser::new(0).parse_all(&code) {
        if let Payload::CustomSection(section) = payload.context("not WebAssembly, or damaged")?
            && section.name() == SETTINGS_SECTION
        {
            bail!("has a schema of its settings already: build it again");
        }
    }
    let mut content = Vec::new();
    push_length(&mut content, SETTINGS_SECTION.len());
    content.extend_from_slice(SETTINGS_SECTION.as_bytes());
    content.extend_from_slice(schema.as_bytes());
    // Custom sections have the number 0.
    code.push(0);
    push_length(&mut code, content.len());
    code.append(&mut content);
    Ok(code)
}

/// Unsigned LEB128, as WebAssembly writes its lengths.
fn push_length(bytes: &mut Vec<u8>, mut length: usize) {
    while length >= 0x80 {
        bytes.push(u8::try_from(length & 0x7f).unwrap_or(0) | 0x80);
        length >>= 7;
    }
    bytes.push(u8::try_from(length).unwrap_or(0));
}

#[cfg(test)]
mod tests {
    use super::*;
    use host_engine::component::anatomy::anatomy;
    use host_engine::component::encode::component_of;

    #[test]
    fn what_was_put_in_is_found_once() {
        let component = wat::parse_str("(component (core module))").expect("a component");
        let schema = format!("{{\"description\": \"{}\"}}", "x".repeat(300));
        let told = with_settings(component, &schema).expect("embedded");
        assert_eq!(anatomy(&told).expect("a component").settings, Some(schema.clone()));
        assert_eq!(component_of(told.clone()).expect("still one"), told);
        assert!(with_settings(told, &schema).is_err());
        assert!(with_settings(b"\0asm".to_vec(), &schema).is_err());
    }
}
