//! Detection of the tools that a language's template needs.

use anyhow::Context;
use serde::Deserialize;

/// Contents of `host/posthouse/templates/LANG.toml`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Tools {
    need: Vec<Need>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Need {
    /// Programs, any of which is enough.
    any: Vec<String>,
    /// Advice for the installation.
    install: String,
}

/// Returns installation advice for every tool of the list that is not in `PATH`.
///
/// # Errors
/// The list could not be parsed, which is a defect of the template.
pub fn missing(list: &str) -> anyhow::Result<Vec<String>> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders: Vec<_> = std::env::split_paths(&path).collect();
    let is_there = |program: &String| folders.iter().any(|folder| folder.join(program).is_file());
    let tools: Tools = toml::from_str(list).context("the template's list of tools")?;
    let missing = tools.need.into_iter().filter(|need| !need.any.iter().any(is_there));
    Ok(missing
        .map(|need| format!("{}: {}", need.any.join(" or "), need.install))
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_of_several_programs_is_enough() {
        let list = "[[need]]\nany = ['no-such-tool', 'sh']\ninstall = 'x'\n[[need]]\nany = ['no-such-tool']\ninstall = 'there'";
        assert_eq!(missing(list).expect("a list"), ["no-such-tool: there"]);
        assert!(missing("[[need]]\nany = 'sh'").is_err());
    }

    #[test]
    fn template_tool_lists_parse() {
        for language in ["rust", "javascript", "python", "c"] {
            missing(crate::cli::policy::template::tools(language).expect("a list")).expect("tools");
        }
    }
}
