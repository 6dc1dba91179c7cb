//! Documents that show a console: every command is run, and what it prints is compared with what
//! the page says.
//!
//! A block fenced as `console` has commands after `$ ` and below each what it prints. `…` stands for
//! anything within a line, a line of `…` alone for any lines, and `[N]` at the end for exit code N
//! where it is not 0. All of them are typed into one shell: `cd` and `export` hold for what follows.
//! `console another terminal` is a daemon, and runs to the page's end. A block fenced as `toml NAME` or
//! `json NAME` is a file in the folder that the page begins in.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::binary::{posthouse, run};
use crate::daemon::Daemon;
use crate::dialogue::Pattern;

/// Where the daemon of a page listens. Pages have fixed ports, tests have not.
const ADDRESS: &str = "127.0.0.1:2525";

/// What one command changes holds for the next, and both streams are as on a terminal.
const SHELL: &str = r#"exec 2>&1
keep() { export -p; echo "cd '$PWD'"; }
. "$CONSOLE"
trap 'keep > "$CONSOLE"' EXIT
"#;

/// A command of a page and what should come of it.
#[derive(Debug, PartialEq, Eq)]
struct Step {
    command: String,
    output: Vec<String>,
    code: i32,
}

/// A part of a page that does something.
#[derive(Debug, PartialEq, Eq)]
enum Block {
    File { name: String, text: String },
    Console(Vec<Step>),
    Daemon(String),
}

/// A page, played from top to bottom in a folder.
pub struct Console {
    folder: PathBuf,
    /// What its shell knows from one command to the next.
    state: tempfile::NamedTempFile,
    /// What is shown and what stands for it here.
    replace: Vec<(String, String)>,
    environment: Vec<(String, String)>,
    daemon: Option<Daemon>,
}

impl Console {
    /// A shell in a folder.
    ///
    /// # Panics
    /// When there is no place for what it knows.
    pub fn new(folder: &Path) -> Self {
        Self {
            folder: folder.to_owned(),
            state: tempfile::NamedTempFile::new().expect("a temporary file"),
            replace: Vec::new(),
            environment: Vec::new(),
            daemon: None,
        }
    }

    /// What a page shows, and what is meant here.
    #[must_use]
    pub fn replacing(mut self, shown: &str, real: impl Into<String>) -> Self {
        self.replace.push((shown.to_owned(), real.into()));
        self
    }

    /// A variable of the environment it begins with.
    #[must_use]
    pub fn with(mut self, name: &str, value: impl Into<String>) -> Self {
        self.environment.push((name.to_owned(), value.into()));
        self
    }

    /// Plays a page to its end.
    ///
    /// # Panics
    /// When a command does something else than the page says.
    pub fn play(&mut self, page: &str) {
        for block in blocks(page) {
            match block {
                Block::File { name, text } => {
                    let text = self.real(&text).replace(ADDRESS, "127.0.0.1:0");
                    std::fs::write(self.folder.join(name), text).expect("the folder can be written");
                }
                Block::Console(steps) => steps.iter().for_each(|step| self.step(step)),
                Block::Daemon(command) => self.start(&command),
            }
        }
    }

    fn real(&self, text: &str) -> String {
        let replaced = self.replace.iter();
        replaced.fold(text.to_owned(), |text, (shown, real)| text.replace(shown, real))
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

    /// Starts the daemon of another terminal.
    fn start(&mut self, command: &str) {
        let file = self.folder.join("posthouse.toml");
        let configuration = std::fs::read_to_string(&file).expect("the page has a configuration");
        // The test reads its address in an event.
        std::fs::write(&file, configuration + "\n[events]\nformat = \"json\"\n").expect("the folder can be written");
        let daemon = Daemon::start(&mut self.shell(&format!("exec {}", self.real(command))));
        self.replace
            .push((ADDRESS.to_owned(), daemon.address("smtp").to_string()));
        self.daemon = Some(daemon);
    }

    fn step(&self, step: &Step) {
        let command = self.real(&step.command);
        let script = format!("{SHELL}{command}");
        let done = run(&mut self.shell(&script), "");
        let text = done.text();
        let printed: Vec<&str> = text.lines().map(str::trim_end).collect();
        let expected: Vec<&str> = step.output.iter().map(|line| line.trim_end()).collect();
        assert!(
            matches(&expected, &printed),
            "$ {command}\nprinted:\n{text}\nand not:\n{}",
            expected.join("\n")
        );
        assert_eq!(done.status.code(), Some(step.code), "exit code of: {command}\n{text}");
    }
}

/// Whether lines are as expected; a line of `…` is any lines.
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

/// `…` is anything.
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
    fn a_page_is_files_and_commands() {
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
    fn what_a_command_changes_holds_for_the_next() {
        let folder = tempfile::tempdir().expect("a folder");
        let page = "```console\n$ mkdir a && cd a\n$ export B='c  \"d\"'\n$ touch here; echo \"$B\"; false\n\
                    c  \"d\"\n[1]\n$ cd .. && ls a\nhere\n```\n";
        Console::new(folder.path()).play(page);
    }

    #[test]
    fn dots_stand_for_what_differs() {
        assert!(matches(&["a … c", "…", "z"], &["a b c", "1", "2", "z"]));
        assert!(matches(&["…"], &[]));
        assert!(!matches(&["a"], &["a", "b"]));
        assert!(!matches(&["a … c"], &["a b d"]));
    }
}
