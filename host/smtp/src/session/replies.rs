//! Every fixed reply of the dialogue in one place (RFC 5321 section 4.2, RFC 2034, RFC 3463).
//!
//! Texts say what the client did, never what this host knows.

use host_mail::{AddressError, MessageId, Reply};

/// What HELP lists: the verbs, which EHLO and RFC 5321 tell everybody anyway.
const HELP: &str = "EHLO HELO MAIL RCPT DATA RSET NOOP QUIT\nVRFY HELP STARTTLS AUTH\nSee RFC 5321";

/// 220, the greeting.
pub fn banner(hostname: &str) -> Reply {
    Reply::bare(220, format!("{hostname} ESMTP Posthouse"))
}

/// RFC 5321 section 4.3.1: a client waits for the greeting.
pub fn spoke_first() -> Reply {
    Reply::new(554, (5, 5, 1), "Wait for the greeting before you speak")
}

/// 250 to HELO.
pub fn hello(hostname: &str) -> Reply {
    Reply::bare(250, hostname)
}

/// 250 to NOOP and RSET.
pub fn ok() -> Reply {
    Reply::new(250, (2, 0, 0), "Ok")
}

/// 250 to MAIL.
pub fn sender_ok() -> Reply {
    Reply::new(250, (2, 1, 0), "Sender ok")
}

/// 250 to RCPT.
pub fn recipient_ok() -> Reply {
    Reply::new(250, (2, 1, 5), "Recipient ok")
}

/// RFC 5321 section 4.1.1.4; intermediate replies have no enhanced status code (RFC 2034 section 4).
pub fn start_mail() -> Reply {
    Reply::bare(354, "Go ahead; end with <CRLF>.<CRLF>")
}

/// 250 to the final dot: the message is on disk.
pub fn queued(id: MessageId) -> Reply {
    Reply::new(250, (2, 0, 0), format!("Ok, queued as {id}"))
}

/// RFC 5321 section 3.5.3: neither yes nor no.
pub fn cannot_verify() -> Reply {
    Reply::new(
        252,
        (2, 0, 0),
        "Not verified; mail for it will be looked at when it comes",
    )
}

/// 214.
pub fn help() -> Reply {
    Reply::new(214, (2, 0, 0), HELP)
}

/// 221 to QUIT.
pub fn bye(hostname: &str) -> Reply {
    Reply::new(221, (2, 0, 0), format!("{hostname} closing connection"))
}

// ---- mistakes of the client ----

/// RFC 5321 section 4.5.3.1.4.
pub fn command_too_long() -> Reply {
    Reply::new(500, (5, 5, 2), "Line too long")
}

/// A CR or LF on its own: what this host and another make of it may differ (RFC 5321 section 2.3.8).
pub fn bare_line_end() -> Reply {
    Reply::new(500, (5, 5, 2), "Lines end with CR LF; bare CR or LF is not allowed")
}

/// 500: the line is not UTF-8.
pub fn not_text() -> Reply {
    Reply::new(500, (5, 5, 2), "Commands are printable text")
}

/// 500: no such command.
pub fn unknown_command() -> Reply {
    Reply::new(500, (5, 5, 1), "Unknown command")
}

/// Whoever made a web client write here chooses the lines that follow, too: none of them is read.
pub fn not_http() -> Reply {
    Reply::new(554, (5, 5, 1), "This is SMTP, not HTTP")
}

/// 502: a command of the RFC that this host does not serve.
pub fn not_implemented() -> Reply {
    Reply::new(502, (5, 5, 1), "Command not implemented")
}

/// 501 with the form that the command has.
pub fn syntax(usage: &str) -> Reply {
    Reply::new(501, (5, 5, 4), format!("Syntax: {usage}"))
}

/// RFC 5321 section 4.1.1.11.
pub fn unknown_parameter() -> Reply {
    Reply::new(555, (5, 5, 4), "Unknown parameter")
}

/// 501: a known parameter with a bad value.
pub fn bad_parameter(which: &str) -> Reply {
    Reply::new(501, (5, 5, 4), format!("Bad or repeated parameter {which}"))
}

/// 501: the reverse-path cannot be parsed.
pub fn bad_sender(error: AddressError) -> Reply {
    Reply::new(501, (5, 1, 7), format!("Bad sender address: {error}"))
}

/// 501: the forward-path cannot be parsed.
pub fn bad_recipient(error: AddressError) -> Reply {
    Reply::new(501, (5, 1, 3), format!("Bad recipient address: {error}"))
}

/// RFC 6531 section 3.5.
pub fn needs_smtputf8() -> Reply {
    Reply::new(
        553,
        (5, 6, 7),
        "Addresses beyond ASCII need the SMTPUTF8 parameter of MAIL",
    )
}

/// 503 with what is missing.
pub fn out_of_order(text: &str) -> Reply {
    Reply::new(503, (5, 5, 1), text)
}

/// RFC 5321 section 3.3; not 503, so that a pipelining client whose recipients were all refused
/// does not take it for its own mistake.
pub fn no_recipients() -> Reply {
    Reply::new(554, (5, 5, 1), "No valid recipients")
}

// ---- AUTH and TLS ----

/// 235.
pub fn authenticated() -> Reply {
    Reply::new(235, (2, 7, 0), "Authentication succeeded")
}

/// RFC 4954 section 6.
pub fn credentials_invalid() -> Reply {
    Reply::new(535, (5, 7, 8), "Authentication credentials invalid")
}

/// 454: the directory cannot be asked now.
pub fn authentication_unavailable() -> Reply {
    Reply::new(454, (4, 7, 0), "Temporary authentication failure")
}

/// 501: the client sent `*`.
pub fn authentication_cancelled() -> Reply {
    Reply::new(501, (5, 7, 0), "Authentication cancelled")
}

/// 501: the response is not base64.
pub fn bad_base64() -> Reply {
    Reply::new(501, (5, 5, 2), "Cannot decode the response")
}

/// RFC 4954 section 4.
pub fn exchange_too_long() -> Reply {
    Reply::new(500, (5, 5, 6), "Authentication exchange line is too long")
}

/// 504.
pub fn unknown_mechanism() -> Reply {
    Reply::new(504, (5, 5, 4), "Unrecognized authentication mechanism")
}

/// 538: AUTH is offered after STARTTLS only.
pub fn authentication_needs_tls() -> Reply {
    Reply::new(538, (5, 7, 11), "Encryption required: issue STARTTLS first")
}

/// 530: AUTH must come first.
pub fn authentication_required() -> Reply {
    Reply::new(530, (5, 7, 0), "Authentication required")
}

/// 530: STARTTLS must come first.
pub fn encryption_required() -> Reply {
    Reply::new(530, (5, 7, 0), "Must issue a STARTTLS command first")
}

/// 220: the handshake may begin.
pub fn start_tls() -> Reply {
    Reply::new(220, (2, 0, 0), "Ready to start TLS")
}

/// Plaintext that came in the same breath as STARTTLS would be taken for what was said under TLS.
pub fn injected() -> Reply {
    Reply::new(554, (5, 5, 1), "Commands may not be pipelined after STARTTLS")
}

// ---- limits ----

/// RFC 1870 section 6.
pub fn too_big() -> Reply {
    Reply::new(552, (5, 3, 4), "Message size exceeds the limit")
}

/// RFC 5321 section 4.5.3.1.10.
pub fn too_many_recipients() -> Reply {
    Reply::new(
        452,
        (4, 5, 3),
        "Too many recipients; send the rest in another transaction",
    )
}

/// 421: the session has made as many errors as it may.
pub fn too_many_errors(hostname: &str) -> Reply {
    Reply::new(421, (4, 7, 0), format!("{hostname} Too many errors"))
}

/// 421: the session has sent as many messages as it may.
pub fn too_many_transactions(hostname: &str) -> Reply {
    Reply::new(
        421,
        (4, 7, 0),
        format!("{hostname} Enough transactions on one connection; open another"),
    )
}

/// 421: the client has as many connections as it may.
pub fn too_many_connections(hostname: &str) -> Reply {
    Reply::new(421, (4, 7, 0), format!("{hostname} Too many connections"))
}

/// RFC 3463 section 3.4: the host, not the client, is the reason.
pub fn too_busy(hostname: &str) -> Reply {
    Reply::new(421, (4, 3, 2), format!("{hostname} Too busy; try again later"))
}

/// Said to who keeps a place and does nothing with it while others wait for one.
pub fn evict(hostname: &str) -> Reply {
    let text = format!("{hostname} Idle for too long while others wait; try again later");
    Reply::new(421, (4, 4, 2), text)
}

/// 421: nothing came within the time-out.
pub fn timed_out(hostname: &str) -> Reply {
    Reply::new(421, (4, 4, 2), format!("{hostname} Timed out waiting for the client"))
}

/// 421: this host stops.
pub fn stopping(hostname: &str) -> Reply {
    Reply::new(421, (4, 3, 2), format!("{hostname} Service closing; try again later"))
}

// ---- the message ----

/// 452: the spool's disk is below its water mark.
pub fn system_full() -> Reply {
    Reply::new(452, (4, 3, 1), "Insufficient system storage")
}

/// This host is behind with what it has: there is no use in taking more.
pub fn busy() -> Reply {
    Reply::new(451, (4, 3, 2), "Too busy; try again later")
}

/// 451: the spool failed.
pub fn system_error() -> Reply {
    Reply::new(451, (4, 3, 0), "Local error in processing")
}

/// RFC 5321 section 6.3.
pub fn loop_detected() -> Reply {
    Reply::new(554, (5, 4, 6), "Too many hops: this looks like a mail loop")
}

/// 552: the header block is longer than this host reads.
pub fn header_too_big() -> Reply {
    Reply::new(552, (5, 3, 4), "Message header exceeds the limit")
}

/// RFC 5322 section 2.2.3: a folded line continues a field, and there is none before the first.
pub fn begins_folded() -> Reply {
    Reply::new(554, (5, 6, 0), "Message begins with a folded line")
}

/// RFC 5321 section 4.5.3.1.6.
pub fn text_line_too_long(line: u64) -> Reply {
    let text = format!("Line {line} is too long: the limit is 998 octets and CR LF");
    Reply::new(500, (5, 6, 0), text)
}

/// RFC 5321 sections 2.3.8 and 4.1.1.4.
pub fn bare_cr(line: u64) -> Reply {
    Reply::new(554, (5, 6, 0), format!("Bare CR in line {line}: lines end with CR LF"))
}

/// As [`bare_cr`].
pub fn bare_lf(line: u64) -> Reply {
    Reply::new(554, (5, 6, 0), format!("Bare LF in line {line}: lines end with CR LF"))
}

/// RFC 5321 section 4.5.2 leaves NUL to the server; RFC 5322 section 4 calls it obsolete.
pub fn nul(line: u64) -> Reply {
    Reply::new(554, (5, 6, 0), format!("NUL in line {line}"))
}

/// RFC 5321 section 2.4, RFC 6152 section 3.
pub fn undeclared_eight_bit() -> Reply {
    Reply::new(
        554,
        (5, 6, 3),
        "8-bit content needs BODY=8BITMIME; this host does not convert",
    )
}
