//! Which tools of a language are there.

use anyhow::Context;
use serde::Deserialize;

/// `host/posthouse/templates/LANG.toml`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Tools {
    need: Vec<Need>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Need {
    /// One of these programs.
    any: Vec<String>,
    /// How to get one.
    install: String,
}

/// How to get what is not in the path.
///
/// # Errors
/// The list is not one: a defect of the template.
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
    fn one_of_several_is_enough() {
        let list = "[[need]]\nany = ['no-such-tool', 'sh']\ninstall = 'x'\n[[need]]\nany = ['no-such-tool']\ninstall = 'there'";
        assert_eq!(missing(list).expect("a list"), ["no-such-tool: there"]);
        assert!(missing("[[need]]\nany = 'sh'").is_err());
    }

    #[test]
    fn the_lists_of_the_templates_can_be_read() {
        for language in ["rust", "javascript", "python", "c"] {
            missing(super::super::template::tools(language).expect("a list")).expect("tools");
        }
    }
}
