//! Tests of the command line's definition and help texts.

mod reference;

use clap::CommandFactory;

use super::*;

fn parse(line: &str) -> Result<Arguments, clap::Error> {
    Arguments::try_parse_from(line.split_whitespace())
}

#[test]
fn definition_is_consistent() {
    Arguments::command().debug_assert();
}

#[test]
fn every_command_without_subcommands_has_an_example() {
    fn visit(command: &clap::Command, path: &str, missing: &mut Vec<String>) {
        let path = format!("{path} {}", command.get_name());
        if command.has_subcommands() {
            command
                .get_subcommands()
                .filter(|sub| sub.get_name() != "help")
                .for_each(|sub| visit(sub, &path, missing));
        } else {
            let help = command.get_long_about().map(ToString::to_string).unwrap_or_default();
            if !help.contains("Example: posthouse ") {
                missing.push(path);
            }
        }
    }
    let mut missing = Vec::new();
    visit(&Arguments::command(), "", &mut missing);
    assert!(missing.is_empty(), "no example: {missing:?}");
}

#[test]
fn every_example_parses() {
    fn visit(command: &clap::Command, examples: &mut Vec<String>) {
        let help = command.get_long_about().map(ToString::to_string).unwrap_or_default();
        examples.extend(
            help.lines()
                .filter_map(|line| line.strip_prefix("Example: "))
                .map(str::to_owned),
        );
        command.get_subcommands().for_each(|sub| visit(sub, examples));
    }
    let mut examples = Vec::new();
    visit(&Arguments::command(), &mut examples);
    assert!(examples.len() > 10);
    for example in examples {
        parse(&example).unwrap_or_else(|error| panic!("{example}: {error}"));
    }
}

#[test]
fn refuses_invalid_arguments() {
    for wrong in [
        "posthouse",
        "posthouse nonsense",
        "posthouse policy load",
        "posthouse try nowhere --recipient a@b.example",
        "posthouse try 192.0.2.1",
        "posthouse try 192.0.2.1 --recipient nobody",
        "posthouse queue show 12",
        "posthouse events --id x",
        "posthouse account add anna",
        "posthouse account add anna --address a@b.example --no-password --password-stdin",
    ] {
        assert!(parse(wrong).is_err(), "{wrong}");
    }
    assert!(parse("posthouse policy load --settings {}").is_ok());
}

#[test]
fn distinguishes_broken_pipes_from_other_errors() {
    let pipe = anyhow::Error::from(std::io::Error::from(std::io::ErrorKind::BrokenPipe));
    assert!(output::is_broken_pipe(&pipe.context("while writing")));
    assert!(!output::is_broken_pipe(&anyhow::anyhow!("broken pipe")));
}
