//! Execution of the console examples in documents: every command is run, and the output is compared with the page.
//!
//! A block fenced as `console` has commands after `$ `, followed by the expected output. `…` matches anything within a
//! line, a line of `…` alone matches any number of lines, and a final line `[N]` is the exit code, 0 by default. All
//! commands of a page share the state of a shell: `cd` and `export` apply to later commands. The command in a block
//! `console another terminal` is a daemon that runs until the end of the page. A block fenced as `toml NAME` or
//! `json NAME` is a file in the initial folder of the page.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::binary::{posthouse, run};
use crate::daemon::Daemon;
use crate::dialogue::Pattern;

/// Address of the daemon in the text of a page, replaced by a free port in the test.
const ADDRESS: &str = "127.0.0.1:2525";

/// Shell prologue: restores and saves folder and exported variables, and merges standard error into standard output.
const SHELL: &str = r#"exec 2>&1
keep() { export -p; echo "cd '$PWD'"; }
. "$CONSOLE"
trap 'keep > "$CONSOLE"' EXIT
"#;

/// A command of a page, with the expected output and exit code.
#[derive(Debug, PartialEq, Eq)]
struct Step {
    command: String,
    output: Vec<String>,
    code: i32,
}

/// An executable block of a page.
#[derive(Debug, PartialEq, Eq)]
enum Block {
    File { name: String, text: String },
    Console(Vec<Step>),
    Daemon(String),
}

/// A player of pages in a folder, from top to bottom.
pub struct Console {
    folder: PathBuf,
    /// Folder and exported variables of the shell, kept between commands.
    state: tempfile::NamedTempFile,
    /// Substitutions: the text of the page and the real text.
    substitutions: Vec<(String, String)>,
    environment: Vec<(String, String)>,
    daemon: Option<Daemon>,
}

impl Console {
    /// Creates a player whose commands run in `folder`.
    ///
    /// # Panics
    /// If no temporary file can be created.
    pub fn new(folder: &Path) -> Self {
        Self {
            folder: folder.to_owned(),
            state: tempfile::NamedTempFile::new().expect("a temporary file"),
            substitutions: Vec::new(),
            environment: Vec::new(),
            daemon: None,
        }
    }

    /// Substitutes `real` for the text `shown` in files and commands of the page.
    #[must_use]
    pub fn replacing(mut self, shown: &str, real: impl Into<String>) -> Self {
        self.substitutions.push((shown.to_owned(), real.into()));
        self
    }

    /// Sets an environment variable of the shell.
    #[must_use]
    pub fn with_variable(mut self, name: &str, value: impl Into<String>) -> Self {
        self.environment.push((name.to_owned(), value.into()));
        self
    }

    /// Plays all blocks of a page.
    ///
    /// # Panics
    /// If output or exit code of a command differ from the page.
    pub fn play(&mut self, page: &str) {
        for block in blocks(page) {
            match block {
                Block::File { name, text } => {
                    let text = self.substitute(&text).replace(ADDRESS, "127.0.0.1:0");
                    let file = self.folder.join(name);
                    std::fs::write(&file, text).expect("the folder can be written");
                    // Files of the page are private, so that `posthouse check` does not warn of readable ones.
                    std::fs::set_permissions(file, std::fs::Permissions::from_mode(0o600)).expect("a file");
                }
                Block::Console(steps) => steps.iter().for_each(|step| self.step(step)),
                Block::Daemon(command) => self.start(&command),
            }
        }
    }

    fn substitute(&self, text: &str) -> String {
        let substitutions = self.substitutions.iter();
        substitutions.fold(text.to_owned(), |text, (shown, real)| text.replace(shown, real))
    }

    fn shell(&self, script: &str) -> Command {
        let binary = posthouse();
        let programs = binary.parent().unwrap_or(Path::new("/"));
        let path = std::env::var("PATH").unwrap_or_default();
        let mut shell = Command::new("sh");
        shell
            .args(["-c", script])
            .current_dir(&self.folder)
            .env("PATH", format!("{}:{path}", programs.display()))
            .envs(self.environment.iter().cloned())
            .env("CONSOLE", self.state.path());
        shell
    }

    /// Starts the daemon of a block `console another terminal`.
    fn start(&mut self, command: &str) {
        let file = self.folder.join("posthouse.toml");
        let configuration = std::fs::read_to_string(&file).expect("the page has a configuration");
        // Event 5000 contains the daemon's address; JSON is required to parse the event.
        std::fs::write(&file, configuration + "\n[events]\nformat = \"json\"\n").expect("the folder can be written");
        let daemon = Daemon::start(&mut self.shell(&format!("exec {}", self.substitute(command))));
        self.substitutions
            .push((ADDRESS.to_owned(), daemon.address("smtp").to_string()));
        self.daemon = Some(daemon);
    }

    fn step(&self, step: &Step) {
        let command = self.substitute(&step.command);
        let script = format!("{SHELL}{command}");
        let done = run(&mut self.shell(&script), "");
        let text = done.text();
        let printed = text.lines().map(str::trim_end);
        // The progress of a compilation appears on a busy machine only.
        let printed: Vec<&str> = printed.filter(|line| !line.starts_with("compiling for ")).collect();
        let expected: Vec<&str> = step.output.iter().map(|line| line.trim_end()).collect();
        assert!(
            matches(&expected, &printed),
            "$ {command}\nprinted:\n{text}\nand not:\n{}",
            expected.join("\n")
        );
        assert_eq!(done.status.code(), Some(step.code), "exit code of: {command}\n{text}");
    }
}

/// True if the lines are as expected; an expected line `…` matches any number of lines.
fn matches(expected: &[&str], printed: &[&str]) -> bool {
    match expected.split_first() {
        None => printed.is_empty(),
        Some((&"…", rest)) => (0..=printed.len()).any(|skipped| matches(rest, &printed[skipped..])),
        Some((line, rest)) => match printed.split_first() {
            Some((first, others)) => line_matches(line, first) && matches(rest, others),
            None => false,
        },
    }
}

/// True if a line is as expected; `…` matches any text.
fn line_matches(expected: &str, printed: &str) -> bool {
    Pattern::new(&expected.replace('…', "*")).matches(printed)
}

fn blocks(page: &str) -> Vec<Block> {
    let mut found = Vec::new();
    let mut lines = page.lines();
    while let Some(line) = lines.next() {
        let Some(info) = line.strip_prefix("```") else {
            continue;
        };
        let body: Vec<&str> = lines.by_ref().take_while(|line| *line != "```").collect();
        match info.split_once(' ') {
            Some(("toml" | "json", name)) => found.push(Block::File {
                name: name.to_owned(),
                text: body.join("\n") + "\n",
            }),
            Some(("console", "another terminal")) => {
                let command = body.first().and_then(|line| line.strip_prefix("$ "));
                found.push(Block::Daemon(command.expect("a command").to_owned()));
            }
            _ if info == "console" => found.push(Block::Console(steps(&body))),
            _ => {}
        }
    }
    found
}

fn steps(body: &[&str]) -> Vec<Step> {
    let mut steps: Vec<Step> = Vec::new();
    for line in body {
        if let Some(command) = line.strip_prefix("$ ") {
            steps.push(Step {
                command: command.to_owned(),
                output: Vec::new(),
                code: 0,
            });
            continue;
        }
        let step = steps.last_mut().expect("a console block begins with a command");
        match line
            .strip_prefix('[')
            .and_then(|rest| rest.strip_suffix(']'))
            .map(str::parse)
        {
            Some(Ok(code)) => step.code = code,
            _ if line.starts_with("> ") => step.command = format!("{}\n{}", step.command, &line[2..]),
            _ => step.output.push((*line).to_owned()),
        }
    }
    steps
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parses_files_commands_and_daemons() {
        let page = "Text\n\n```toml a.toml\nb = 1\n```\n```toml\nnot = \"a file\"\n```\n\
                    ```console\n$ one\nout\n[2]\n$ two\n```\n```console another terminal\n$ three\n```\n";
        let expected = [
            Block::File {
                name: "a.toml".to_owned(),
                text: "b = 1\n".to_owned(),
            },
            Block::Console(vec![
                Step {
                    command: "one".to_owned(),
                    output: vec!["out".to_owned()],
                    code: 2,
                },
                Step {
                    command: "two".to_owned(),
                    output: Vec::new(),
                    code: 0,
                },
            ]),
            Block::Daemon("three".to_owned()),
        ];
        assert_eq!(blocks(page), expected);
    }

    #[test]
    fn keeps_folder_and_variables_between_commands() {
        let folder = tempfile::tempdir().expect("a folder");
        let page = "```console\n$ mkdir a && cd a\n$ export B='c  \"d\"'\n$ touch here; echo \"$B\"; false\n\
                    c  \"d\"\n[1]\n$ cd .. && ls a\nhere\n```\n";
        Console::new(folder.path()).play(page);
    }

    #[test]
    fn matches_any_text_at_an_ellipsis() {
        assert!(matches(&["a … c", "…", "z"], &["a b c", "1", "2", "z"]));
        assert!(matches(&["…"], &[]));
        assert!(!matches(&["a"], &["a", "b"]));
        assert!(!matches(&["a … c"], &["a b d"]));
    }
}
