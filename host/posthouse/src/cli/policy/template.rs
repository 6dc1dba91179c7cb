//! Templates of `policy new`: what `host/posthouse/templates/README.md` promises, and nothing more.

use std::path::{Path, PathBuf};

use include_dir::{Dir, File, include_dir};

/// One folder for each language, with its list of tools beside it.
static TEMPLATES: Dir<'static> = include_dir!("$CARGO_MANIFEST_DIR/templates");

/// What the placeholders become.
#[derive(Debug, Clone)]
pub struct Words {
    /// As the author gave it.
    pub name: String,
    /// `exemption`, `homing`, `ndr` or `all`.
    pub role: &'static str,
    /// The world of the contract with these roles.
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
    /// A file that is text.
    pub fn text(path: &str, content: String) -> Self {
        Self {
            path: path.into(),
            content: content.into_bytes(),
        }
    }

    /// Scripts begin with the name of their interpreter.
    pub fn is_script(&self) -> bool {
        self.content.starts_with(b"#!")
    }
}

impl Words {
    fn crate_name(&self) -> String {
        self.name.replace('-', "_")
    }

    /// Text with each placeholder replaced.
    fn fill(&self, text: &str) -> String {
        text.replace("{{name}}", &self.name)
            .replace("{{crate_name}}", &self.crate_name())
            .replace("{{role}}", self.role)
            .replace("{{world}}", self.world)
            .replace("{{contract}}", &self.contract)
            .replace("{{version}}", env!("CARGO_PKG_VERSION"))
    }
}

/// The folder with what is the same in every language.
const EVERY: &str = "every";

/// Every file of a language's template, as this author wants it; none if there is no such template.
pub fn files(language: &str, words: &Words) -> Vec<Output> {
    let mut outputs = Vec::new();
    if let (Some(own), Some(every)) = (TEMPLATES.get_dir(language), TEMPLATES.get_dir(EVERY)) {
        for folder in [own, every] {
            collect(folder, folder.path(), words, &mut outputs);
        }
    }
    outputs
}

/// The list of tools that a language needs.
pub fn tools(language: &str) -> Option<&'static str> {
    TEMPLATES.get_file(format!("{language}.toml"))?.contents_utf8()
}

fn collect(folder: &Dir<'_>, root: &Path, words: &Words, outputs: &mut Vec<Output>) {
    for inner in folder.dirs() {
        collect(inner, root, words, outputs);
    }
    outputs.extend(folder.files().filter_map(|file| output(file, root, words)));
}

/// None if the file is for another role.
fn output(file: &File<'_>, root: &Path, words: &Words) -> Option<Output> {
    let inside = file.path().strip_prefix(root).ok()?;
    let name = for_role(inside.file_name()?.to_str()?, words.role)?;
    let name = name.strip_suffix(".template").unwrap_or(&name);
    let path = inside.with_file_name(name);
    let path = path.to_str()?.replace("_name_", &words.crate_name()).into();
    let content = match file.contents_utf8() {
        Some(text) => words.fill(text).into_bytes(),
        None => file.contents().to_vec(),
    };
    Some(Output { path, content })
}

/// `NAME.when-ROLE+ROLE.EXT` as `NAME.EXT`, if it is for this role.
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

    fn words(role: &'static str) -> Words {
        Words {
            name: "quiet-hours".to_owned(),
            role,
            world: "homing-policy",
            contract: "0.2.0".to_owned(),
        }
    }

    #[test]
    fn placeholders_are_replaced_and_other_braces_stay() {
        let filled = words("homing").fill("{{name}} {{crate_name}} {{role}} {{world}} {{contract}} ${{ github.ref }}");
        assert_eq!(
            filled,
            "quiet-hours quiet_hours homing homing-policy 0.2.0 ${{ github.ref }}"
        );
    }

    #[test]
    fn a_file_for_a_role_is_for_that_role() {
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
                let files = files(language, &words(role));
                for wanted in FILES {
                    let of_name = files.iter().filter(|file| file.path == Path::new(wanted)).count();
                    assert_eq!(of_name, 1, "{language}, {role}: {wanted}");
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
