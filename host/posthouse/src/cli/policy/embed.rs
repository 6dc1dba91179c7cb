//! `posthouse policy embed`.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, bail};
use clap::Args;
use wasmparser::{Parser, Payload};

use super::input::read_file;
use super::schema;
use host_engine::component::anatomy::SETTINGS_SECTION;
use host_files::replace_whole_shared;

#[derive(Debug, Args)]
pub struct EmbedArgs {
    /// Component, or core module that becomes a component; the file is overwritten
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// JSON Schema of the settings
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
    replace_whole_shared(&options.file, &code).with_context(|| shown.to_string())?;
    Ok(ExitCode::SUCCESS)
}

/// Appends the schema to the code as a custom section. The executed code is unchanged.
///
/// # Errors
/// The code is not WebAssembly or has a schema already.
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
    // Section id 0 is a custom section.
    code.push(0);
    push_length(&mut code, content.len());
    code.append(&mut content);
    Ok(code)
}

/// Appends a length as unsigned LEB128, the encoding of lengths in WebAssembly.
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
    fn embeds_schema_once() {
        let component = wat::parse_str("(component (core module))").expect("a component");
        let schema = format!("{{\"description\": \"{}\"}}", "x".repeat(300));
        let embedded = with_settings(component, &schema).expect("embedded");
        assert_eq!(anatomy(&embedded).expect("a component").settings, Some(schema.clone()));
        assert_eq!(component_of(embedded.clone()).expect("still one"), embedded);
        assert!(with_settings(embedded, &schema).is_err());
        assert!(with_settings(b"\0asm".to_vec(), &schema).is_err());
    }
}
