//! Documents that show a console: every command is run, and what it prints is compared with what
//! the page says.
//!
//! A block fenced as `console` has commands after `$ ` and below each what it prints. `…` stands for
//! anything within a line, a line of `…` alone for any lines, and `[N]` at the end for exit code N
//! where it is not 0. A block fenced as `toml NAME` or `json NAME` is a file.

use std::path::Path;
use std::process::Command;

use crate::binary::{posthouse, run};
use crate::dialogue::Pattern;

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
}

/// A page, played from top to bottom.
pub struct Console {
    blocks: std::vec::IntoIter<Block>,
}

impl Console {
    /// Reads a page.
    ///
    /// # Panics
    /// When a console block does not begin with a command.
    pub fn new(page: &str) -> Self {
        Self {
            blocks: blocks(page).into_iter(),
        }
    }

    /// Plays the page to its end. Each pair is what is shown and what stands for it here, in commands and
    /// files: pages have fixed ports, tests have not.
    ///
    /// # Panics
    /// When a command does something else than the page says.
    pub fn play(&mut self, folder: &Path, replace: &[(&str, &str)]) {
        for block in self.blocks.by_ref() {
            match block {
                Block::File { name, text } => {
                    std::fs::write(folder.join(name), replaced(&text, replace)).expect("the folder can be written");
                }
                Block::Console(steps) => steps.iter().for_each(|step| step.play(folder, replace)),
            }
        }
    }

    /// Writes the files that the page begins with, up to its first command.
    ///
    /// # Panics
    /// When the folder cannot be written.
    pub fn write_files(&mut self, folder: &Path, replace: &[(&str, &str)]) {
        while let Some(Block::File { name, text }) = self.blocks.as_slice().first() {
            std::fs::write(folder.join(name), replaced(text, replace)).expect("the folder can be written");
            self.blocks.next();
        }
    }
}

fn replaced(text: &str, replace: &[(&str, &str)]) -> String {
    replace
        .iter()
        .fold(text.to_owned(), |text, (shown, real)| text.replace(shown, real))
}

impl Step {
    fn play(&self, folder: &Path, replace: &[(&str, &str)]) {
        let binary = posthouse();
        let programs = binary.parent().unwrap_or(Path::new("/"));
        let path = std::env::var("PATH").unwrap_or_default();
        let mut shell = Command::new("sh");
        shell
            .args(["-c", &replaced(&self.command, replace)])
            .current_dir(folder)
            .env("POSTHOUSE_CONFIG", folder.join("posthouse.toml"))
            .env("PATH", format!("{}:{path}", programs.display()));
        let done = run(&mut shell, "");
        let text = done.text();
        let printed: Vec<&str> = text.lines().map(str::trim_end).collect();
        let expected: Vec<&str> = self.output.iter().map(|line| line.trim_end()).collect();
        assert!(
            matches(&expected, &printed),
            "$ {}\nprinted:\n{text}\nand not:\n{}",
            self.command,
            expected.join("\n")
        );
        assert_eq!(
            done.status.code(),
            Some(self.code),
            "exit code of: {}\n{text}",
            self.command
        );
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
        let page = "Text\n\n```toml a.toml\nb = 1\n```\n```toml\nnot = \"a file\"\n```\n```console\n$ one\nout\n[2]\n$ two\n```\n";
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
        ];
        assert_eq!(blocks(page), expected);
    }

    #[test]
    fn dots_stand_for_what_differs() {
        assert!(matches(&["a … c", "…", "z"], &["a b c", "1", "2", "z"]));
        assert!(matches(&["…"], &[]));
        assert!(!matches(&["a"], &["a", "b"]));
        assert!(!matches(&["a … c"], &["a b d"]));
    }
}
