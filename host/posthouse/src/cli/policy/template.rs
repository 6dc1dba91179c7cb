//! Templates of `policy new`. `host/posthouse/templates/README.md` specifies placeholders and file names.

use std::path::{Path, PathBuf};

use include_dir::{Dir, File, include_dir};

/// Templates: a folder for each language, and the list of its tools as `LANGUAGE.toml`.
static TEMPLATES: Dir<'static> = include_dir!("$CARGO_MANIFEST_DIR/templates");

/// Values of the placeholders.
#[derive(Debug, Clone)]
pub struct TemplateValues {
    /// Name of the policy.
    pub name: String,
    /// Role: `exemption`, `homing`, `ndr` or `all`.
    pub role: &'static str,
    /// World of the contract with the role.
    pub world: &'static str,
    /// Version of the contract.
    pub contract: String,
}

/// A file to write; the path is inside the new folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Output {
    pub path: PathBuf,
    pub content: Vec<u8>,
}

impl Output {
    /// A text file.
    pub fn text(path: &str, content: String) -> Self {
        Self {
            path: path.into(),
            content: content.into_bytes(),
        }
    }

    /// True if the content begins with `#!`, so that the file becomes executable.
    pub fn is_script(&self) -> bool {
        self.content.starts_with(b"#!")
    }
}

impl TemplateValues {
    fn crate_name(&self) -> String {
        self.name.replace('-', "_")
    }

    /// Replaces every placeholder in a text.
    fn fill(&self, text: &str) -> String {
        text.replace("{{name}}", &self.name)
            .replace("{{crate_name}}", &self.crate_name())
            .replace("{{role}}", self.role)
            .replace("{{world}}", self.world)
            .replace("{{contract}}", &self.contract)
            .replace("{{version}}", env!("CARGO_PKG_VERSION"))
    }
}

/// Folder of the files for every language.
const EVERY: &str = "every";

/// Files of a language's template for the role, with placeholders replaced. Empty if the language has no template.
pub fn files(language: &str, values: &TemplateValues) -> Vec<Output> {
    let mut outputs = Vec::new();
    if let (Some(own), Some(every)) = (TEMPLATES.get_dir(language), TEMPLATES.get_dir(EVERY)) {
        for folder in [own, every] {
            collect(folder, folder.path(), values, &mut outputs);
        }
    }
    outputs
}

/// Text of the list of tools that a language needs.
pub fn tools(language: &str) -> Option<&'static str> {
    TEMPLATES.get_file(format!("{language}.toml"))?.contents_utf8()
}

fn collect(folder: &Dir<'_>, root: &Path, values: &TemplateValues, outputs: &mut Vec<Output>) {
    for inner in folder.dirs() {
        collect(inner, root, values, outputs);
    }
    outputs.extend(folder.files().filter_map(|file| output(file, root, values)));
}

/// Makes the output of a template file. Returns `None` if the file is for another role.
fn output(file: &File<'_>, root: &Path, values: &TemplateValues) -> Option<Output> {
    let inside = file.path().strip_prefix(root).ok()?;
    let name = for_role(inside.file_name()?.to_str()?, values.role)?;
    let name = name.strip_suffix(".template").unwrap_or(&name);
    let path = inside.with_file_name(name);
    let path = path.to_str()?.replace("_name_", &values.crate_name()).into();
    let content = match file.contents_utf8() {
        Some(text) => values.fill(text).into_bytes(),
        None => file.contents().to_vec(),
    };
    Some(Output { path, content })
}

/// Returns `NAME.EXT` for `NAME.when-ROLE+ROLE.EXT` if the file is for the role. Other names stay.
fn for_role(name: &str, role: &str) -> Option<String> {
    let Some((stem, rest)) = name.split_once(".when-") else {
        return Some(name.to_owned());
    };
    let (roles, extension) = rest.split_once('.').unwrap_or((rest, ""));
    if !roles.split('+').any(|known| known == role) {
        return None;
    }
    Some(match extension {
        "" => stem.to_owned(),
        extension => format!("{stem}.{extension}"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn values(role: &'static str) -> TemplateValues {
        TemplateValues {
            name: "quiet-hours".to_owned(),
            role,
            world: "homing-policy",
            contract: "0.2.0".to_owned(),
        }
    }

    #[test]
    fn replaces_placeholders_and_keeps_other_braces() {
        let filled = values("homing").fill("{{name}} {{crate_name}} {{role}} {{world}} {{contract}} ${{ github.ref }}");
        assert_eq!(
            filled,
            "quiet-hours quiet_hours homing homing-policy 0.2.0 ${{ github.ref }}"
        );
    }

    #[test]
    fn role_suffix_selects_files() {
        assert_eq!(for_role("lib.rs", "ndr").as_deref(), Some("lib.rs"));
        assert_eq!(for_role("lib.when-ndr.rs", "ndr").as_deref(), Some("lib.rs"));
        assert_eq!(for_role("lib.when-ndr+all.rs", "all").as_deref(), Some("lib.rs"));
        assert_eq!(for_role("lib.when-ndr+all.rs", "homing"), None);
        assert_eq!(for_role("Makefile.when-ndr", "ndr").as_deref(), Some("Makefile"));
    }

    #[test]
    fn every_template_is_complete_for_every_role() {
        const FILES: [&str; 8] = [
            ".github/workflows/ci.yml",
            ".gitignore",
            "README.md",
            "build.sh",
            "ci.sh",
            "settings.json",
            "settings.schema.json",
            "tests/cases.toml",
        ];
        let folders = TEMPLATES.dirs().filter_map(|folder| folder.path().to_str());
        for language in folders.filter(|folder| *folder != EVERY) {
            assert!(tools(language).is_some(), "{language}.toml");
            for role in ["exemption", "homing", "ndr", "all"] {
                let files = files(language, &values(role));
                for name in FILES {
                    let of_name = files.iter().filter(|file| file.path == Path::new(name)).count();
                    assert_eq!(of_name, 1, "{language}, {role}: {name}");
                }
                for file in files {
                    let text = String::from_utf8_lossy(&file.content);
                    let left = text
                        .split("{{")
                        .skip(1)
                        .find(|rest| rest.starts_with(|c: char| c.is_ascii_lowercase()));
                    assert_eq!(left, None, "{language}, {role}: {}", file.path.display());
                }
            }
        }
    }
}
