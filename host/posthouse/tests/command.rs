//! The command as a program: this test also has cargo build the binary that the end-to-end tests drive.

#![expect(clippy::expect_used, reason = "a test fails by panicking")]

use std::process::Command;

fn posthouse(arguments: &[&str]) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_posthouse"))
        .args(arguments)
        .output()
        .expect("the binary runs");
    assert!(output.status.success(), "{arguments:?}: {output:?}");
    String::from_utf8(output.stdout).expect("UTF-8")
}

#[test]
fn prints_its_version() {
    assert_eq!(
        posthouse(&["--version"]),
        format!("posthouse {}\n", env!("CARGO_PKG_VERSION"))
    );
}
