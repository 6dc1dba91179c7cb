//! Test that `docs/reference/commands.md` equals the definition of the command line. `POSTHOUSE_UPDATE=1` writes the
//! page.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use clap::{Arg, Command, CommandFactory};

use super::Arguments;

const HEAD: &str = "# Commands\n\nEvery command and option of `posthouse`, for a look-up; \
`posthouse COMMAND --help` prints the same text.\n\
A test makes the page from the definition of the command line and keeps the two equal; to write the page again, run\n\
`POSTHOUSE_UPDATE=1 cargo test --release -p posthouse --lib cli`.\n";

/// Compares the page with the definition. `POSTHOUSE_UPDATE=1` rewrites the page.
#[test]
fn docs_commands_md_equals_the_definition() {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/reference/commands.md");
    let made = commands_markdown();
    if std::env::var_os("POSTHOUSE_UPDATE").is_some() {
        fs::write(&page, &made).expect("writes");
    }
    let written = fs::read_to_string(&page).unwrap_or_default();
    assert!(
        written == made,
        "docs/reference/commands.md is not the definition of the command line: run POSTHOUSE_UPDATE=1 cargo test \
         --release -p posthouse --lib cli"
    );
}

#[test]
fn page_has_every_command_and_option() {
    fn visit(command: &Command, path: &str, page: &str) {
        let path = format!("{path}{}", command.get_name());
        if !is_global_list(&path) {
            assert!(page.contains(&format!("# `{path}`\n")), "{path}");
        }
        for long in command.get_arguments().filter_map(Arg::get_long) {
            assert!(page.contains(&format!("--{long}")), "{path} --{long}");
        }
        subcommands(command).for_each(|sub| visit(sub, &format!("{path} "), page));
    }
    fn is_global_list(path: &str) -> bool {
        path == "posthouse"
    }
    visit(&Arguments::command(), "", &commands_markdown());
}

/// Renders the command line's definition as Markdown, the content of `docs/reference/commands.md`.
fn commands_markdown() -> String {
    let mut root = Arguments::command();
    // Adds the options of every command, and the full name of each command for the usage.
    root.build();
    let mut out = HEAD.to_owned();
    push_about(&mut out, &root);
    push_usage(&mut out, &mut root);
    push_arguments(
        &mut out,
        "Options of every command:",
        root.get_arguments().filter(|arg| is_global(arg)),
    );
    push_index(&mut out, &root);
    root.get_subcommands_mut()
        .filter(|command| command.get_name() != "help")
        .for_each(|command| push_command(&mut out, command, 2));
    out
}

/// Appends a command and its subcommands. `level` is the level of the heading.
fn push_command(out: &mut String, command: &mut Command, level: usize) {
    push(out, &format!("{} `{}`", "#".repeat(level), full_name(command)));
    push_about(out, command);
    if command.is_hide_set() {
        push(out, "Not listed by `posthouse --help`.");
    }
    if command.has_subcommands() {
        push_index(out, command);
    } else {
        push_usage(out, command);
    }
    push_arguments(
        out,
        "Arguments and options:",
        command.get_arguments().filter(|arg| !is_global(arg)),
    );
    command
        .get_subcommands_mut()
        .filter(|command| command.get_name() != "help")
        .for_each(|command| push_command(out, command, level + 1));
}

/// Appends the description, each example as a code block.
fn push_about(out: &mut String, command: &Command) {
    let about = command.get_about().map(ToString::to_string).unwrap_or_default();
    let long = command.get_long_about().map(ToString::to_string);
    push(out, &sentence(&about));
    let long = long.unwrap_or_default();
    for paragraph in long.split("\n\n").filter(|text| !text.is_empty() && *text != about) {
        match paragraph.strip_prefix("Example: ") {
            Some(example) => push(out, &format!("```sh\n{}\n```", example.trim())),
            None => push(out, paragraph.trim()),
        }
    }
}

fn push_usage(out: &mut String, command: &mut Command) {
    let usage = command.render_usage().to_string();
    push(out, &format!("Usage: `{}`", usage.trim_start_matches("Usage: ").trim()));
}

/// Appends the list of the commands below `command`.
fn push_index(out: &mut String, command: &Command) {
    let mut list = String::new();
    for sub in subcommands(command) {
        let name = full_name(sub);
        let about = sub.get_about().map(ToString::to_string).unwrap_or_default();
        let _ = writeln!(list, "- [`{name}`](#{}): {}", name.replace(' ', "-"), sentence(&about));
    }
    push(out, "Commands:");
    push(out, list.trim_end());
}

fn push_arguments<'a>(out: &mut String, title: &str, arguments: impl Iterator<Item = &'a Arg>) {
    let mut list = String::new();
    for arg in arguments {
        let _ = writeln!(list, "- `{}`: {}", spelling(arg), meaning(arg));
    }
    if !list.is_empty() {
        push(out, title);
        push(out, list.trim_end());
    }
}

/// Returns an argument as written on the command line, such as `-h, --help` or `--config <FILE>`.
fn spelling(arg: &Arg) -> String {
    match (arg.get_short(), arg.get_long()) {
        (Some(short), Some(_)) => format!("-{short}, {arg}"),
        _ => arg.to_string(),
    }
}

/// Returns the help of an argument with its default, possible values and environment variable.
fn meaning(arg: &Arg) -> String {
    let help = arg.get_long_help().or_else(|| arg.get_help());
    let mut parts = vec![sentence(&help.map(ToString::to_string).unwrap_or_default())];
    if arg.is_required_set() && !arg.is_positional() {
        parts.push("Required.".to_owned());
    }
    if arg.get_action().takes_values() {
        let defaults: Vec<_> = arg
            .get_default_values()
            .iter()
            .map(|value| code(&value.to_string_lossy()))
            .collect();
        if !defaults.is_empty() {
            parts.push(format!("Default: {}.", defaults.join(", ")));
        }
    }
    let values: Vec<_> = arg
        .get_possible_values()
        .iter()
        .filter(|value| !value.is_hide_set())
        .map(|value| match value.get_help() {
            Some(help) => format!("{} ({help})", code(value.get_name())),
            None => code(value.get_name()),
        })
        .collect();
    if !values.is_empty() {
        parts.push(format!("Possible values: {}.", values.join(", ")));
    }
    if let Some(variable) = arg.get_env() {
        parts.push(format!("Environment variable: {}.", code(&variable.to_string_lossy())));
    }
    parts.join(" ")
}

/// True for an option that every command has, which the page lists once.
fn is_global(arg: &Arg) -> bool {
    arg.is_global_set() || matches!(arg.get_id().as_str(), "help" | "version")
}

fn subcommands(command: &Command) -> impl Iterator<Item = &Command> {
    command.get_subcommands().filter(|sub| sub.get_name() != "help")
}

fn full_name(command: &Command) -> String {
    command.get_bin_name().unwrap_or(command.get_name()).to_owned()
}

fn code(text: &str) -> String {
    match text {
        "" => "empty".to_owned(),
        text => format!("`{text}`"),
    }
}

fn sentence(text: &str) -> String {
    let text = text.trim();
    match text.ends_with(['.', ':', '?']) {
        true => text.to_owned(),
        false => format!("{text}."),
    }
}

fn push(out: &mut String, text: &str) {
    let _ = write!(out, "\n{text}\n");
}
