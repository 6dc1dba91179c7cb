//! Command lines of SMTP, and the exchanges of AUTH.

use host_smtp::fuzzing;

use crate::check_refusal;

/// Parses every line of a dialogue, in two ways of reading the same octets, and performs each line as a SASL response.
pub fn command(data: &[u8]) {
    let commands = fuzzing::commands(data, 2048);
    assert_eq!(fuzzing::commands(data, 1), commands);
    for refusal in commands.iter().filter_map(|command| command.as_ref().err()) {
        check_refusal(refusal);
    }
    let lines = || data.split(|octet| *octet == b'\n').map(<[u8]>::trim_ascii_end);
    for mechanism in ["PLAIN", "LOGIN", "SCRAM-SHA-256"] {
        let initial = lines().next().and_then(|line| std::str::from_utf8(line).ok());
        for initial in [initial, None] {
            match fuzzing::sasl(mechanism, initial, lines()) {
                Some(Ok((user, password))) if mechanism == "PLAIN" => {
                    assert!(!user.contains('\0') && !password.contains('\0'));
                }
                Some(Err(refusal)) => check_refusal(&refusal),
                Some(Ok(_)) | None => {}
            }
        }
    }
}
