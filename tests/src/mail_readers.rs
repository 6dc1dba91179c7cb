//! Readers of mail of other projects: Python's email, node's mailparser, Perl's Email::Address, and Dovecot's parser by
//! Perl's Email::Address::XS.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::binary::run;
use crate::languages::{fetch, repository, target};
use crate::skip::skipped;
use crate::tool::tool;

/// Packages of the reader in JavaScript.
const PACKAGES: &str = r#"{"private": true, "dependencies": {"mailparser": "3.7.2", "nodemailer": "6.9.16"}}"#;

/// Authors of a message by reader: the addresses of `Sender:` if there is one, otherwise of `From:`, in lower case.
pub type Authors = BTreeMap<String, Vec<String>>;

/// The readers, installed.
pub struct MailReaders {
    /// Commands with their scripts.
    commands: Vec<(PathBuf, PathBuf)>,
}

impl MailReaders {
    /// Finds the readers and fetches the packages of node. If one is unavailable, `None` is returned and a line with
    /// SKIPPED is printed; `.ci/run` installs all.
    ///
    /// # Panics
    /// If `target` cannot be written.
    pub fn find() -> Option<Self> {
        let (python, perl, node, npm) = (tool("python3")?, tool("perl")?, tool("node")?, tool("npm")?);
        let modules = ["-MEmail::Address", "-MEmail::Address::XS", "-MEmail::Simple", "-e1"];
        if !run(Command::new(&perl).args(modules), "").status.success() {
            skipped("Perl has no Email::Address, Email::Address::XS or Email::Simple");
            return None;
        }
        let folder = target().join("languages/readers");
        fs::create_dir_all(&folder).expect("target can be written");
        let mut install = Command::new(npm);
        install.args(["install", "--no-audit", "--no-fund", "--no-package-lock"]);
        if !fetch(&folder, "package.json", PACKAGES, &mut [install]) {
            return None;
        }
        // node looks for packages beside the script.
        let scripts = repository().join("tests/readers");
        let script = folder.join("node_mailparser.cjs");
        fs::copy(scripts.join("node_mailparser.cjs"), &script).expect("target can be written");
        let commands = vec![
            (python, scripts.join("python_email.py")),
            (perl, scripts.join("perl_email.pl")),
            (node, script),
        ];
        Some(Self { commands })
    }

    /// Returns the authors of each message as each reader sees the authors.
    ///
    /// # Panics
    /// If a reader fails.
    pub fn authors(&self, messages: &[Vec<u8>]) -> Vec<Authors> {
        let encoded: Vec<String> = messages.iter().map(|message| STANDARD.encode(message)).collect();
        let input = serde_json::to_string(&encoded).expect("a list of texts");
        let mut all = vec![Authors::new(); messages.len()];
        for (program, script) in &self.commands {
            for (authors, answer) in all.iter_mut().zip(answers(program, script, &input, messages.len())) {
                authors.extend(answer);
            }
        }
        all
    }
}

fn answers(program: &Path, script: &Path, input: &str, count: usize) -> Vec<Authors> {
    let output = run(Command::new(program).arg(script), input);
    let answers: Vec<Authors> = serde_json::from_str(&output.stdout)
        .unwrap_or_else(|error| panic!("{}: {error}: {}", script.display(), output.text()));
    assert_eq!(answers.len(), count, "{}", script.display());
    let plain = |addresses: Vec<String>| addresses.iter().map(|address| plain(address)).collect();
    let by_reader = |authors: Authors| authors.into_iter().map(|(name, found)| (name, plain(found))).collect();
    answers.into_iter().map(by_reader).collect()
}

/// Returns an address in lower case, without the brackets and quotes that some readers leave around it.
fn plain(address: &str) -> String {
    let bare = address
        .trim()
        .trim_start_matches('<')
        .trim_end_matches('>')
        .to_lowercase();
    let unquoted = bare.strip_prefix('"').and_then(|rest| rest.split_once("\"@"));
    unquoted.map_or(bare.clone(), |(local, domain)| format!("{local}@{domain}"))
}
