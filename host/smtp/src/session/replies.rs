//! Fixed replies of the dialogue (RFC 5321 section 4.2, RFC 2034, RFC 3463).
//!
//! Texts describe what the client did, never what this host knows.

use host_mail::{AddressError, MessageId, Reply};

/// Text of HELP: the verbs, which EHLO and RFC 5321 disclose in any case.
const HELP: &str = "EHLO HELO MAIL RCPT DATA BDAT RSET NOOP QUIT\nVRFY HELP STARTTLS AUTH\nSee RFC 5321";

/// 220: the greeting.
pub fn banner(hostname: &str) -> Reply {
    Reply::bare(220, format!("{hostname} ESMTP Posthouse"))
}

/// 554 after the greeting, to a client that has sent something before: the client must wait for the greeting (RFC 5321 section 4.3.1).
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

/// 251 or 253 to ETRN: the number of messages that waited (RFC 1985 section 5.2).
pub fn queue_started(node: &str, messages: usize) -> Reply {
    match messages {
        0 => Reply::new(251, (2, 0, 0), format!("Ok, no messages waiting for node {node}")),
        _ => Reply::new(
            253,
            (2, 0, 0),
            format!("Ok, {messages} pending messages for node {node} started"),
        ),
    }
}

/// 459 to ETRN: no mail waits for such a node here (RFC 1985 section 5.2).
pub fn node_not_allowed() -> Reply {
    Reply::new(459, (4, 7, 1), "No mail is held for this node")
}

/// 354 to DATA (RFC 5321 section 4.1.1.4). Intermediate replies have no enhanced status code (RFC 2034 section 4).
pub fn start_mail() -> Reply {
    Reply::bare(354, "Go ahead; end with <CRLF>.<CRLF>")
}

/// 250 to BDAT: the octets have arrived (RFC 3030 section 2).
pub fn chunk_ok(octets: u64) -> Reply {
    Reply::new(250, (2, 0, 0), format!("{octets} octets received"))
}

/// 250 to the final dot: the message is on disk.
pub fn queued(id: MessageId) -> Reply {
    Reply::new(250, (2, 0, 0), format!("Ok, queued as {id}"))
}

/// 252 to VRFY: neither confirms nor denies the address (RFC 5321 section 3.5.3).
pub fn cannot_verify() -> Reply {
    Reply::new(
        252,
        (2, 0, 0),
        "Not verified; mail for it will be looked at when it comes",
    )
}

/// 214 to HELP.
pub fn help() -> Reply {
    Reply::new(214, (2, 0, 0), HELP)
}

/// 221 to QUIT.
pub fn bye(hostname: &str) -> Reply {
    Reply::new(221, (2, 0, 0), format!("{hostname} closing connection"))
}

// ---- mistakes of the client ----

/// 500: the line is longer than the limit (RFC 5321 section 4.5.3.1.4).
pub fn command_too_long() -> Reply {
    Reply::new(500, (5, 5, 2), "Line too long")
}

/// 500: a bare CR or LF in a command, which other hosts may interpret differently (RFC 5321 section 2.3.8).
pub fn bare_line_end() -> Reply {
    Reply::new(500, (5, 5, 2), "Lines end with CR LF; bare CR or LF is not allowed")
}

/// 500: the line is not UTF-8, or holds control characters.
pub fn not_text() -> Reply {
    Reply::new(500, (5, 5, 2), "Commands are printable text")
}

/// 500: the command is unknown.
pub fn unknown_command() -> Reply {
    Reply::new(500, (5, 5, 1), "Unknown command")
}

/// 554 to an HTTP request. The following lines are not read, since the sender of the web client chose those lines, too.
pub fn not_http() -> Reply {
    Reply::new(554, (5, 5, 1), "This is SMTP, not HTTP")
}

/// 502: a command of an RFC that this host does not support.
pub fn not_implemented() -> Reply {
    Reply::new(502, (5, 5, 1), "Command not implemented")
}

/// 501 with the syntax of the command.
pub fn syntax(usage: &str) -> Reply {
    Reply::new(501, (5, 5, 4), format!("Syntax: {usage}"))
}

/// 501: an address without angle brackets (RFC 5321 section 4.1.2).
pub fn no_angle_brackets(usage: &str) -> Reply {
    Reply::new(501, (5, 5, 4), format!("The address needs angle brackets: {usage}"))
}

/// 555: the parameter of MAIL or RCPT is unknown (RFC 5321 section 4.1.1.11).
pub fn unknown_parameter() -> Reply {
    Reply::new(555, (5, 5, 4), "Unknown parameter")
}

/// 501: a known parameter has a bad value or is repeated.
pub fn bad_parameter(which: &str) -> Reply {
    Reply::new(501, (5, 5, 4), format!("Bad or repeated parameter {which}"))
}

/// 530: REQUIRETLS outside of TLS (RFC 8689 section 2).
pub fn require_tls_without_tls() -> Reply {
    Reply::new(530, (5, 7, 10), "REQUIRETLS needs a session within TLS")
}

/// 550: XCLIENT or XFORWARD of a client that is no front end.
pub fn no_front_end() -> Reply {
    Reply::new(550, (5, 7, 1), "Not allowed for this client")
}

/// 501: the reverse-path cannot be parsed.
pub fn bad_sender(error: AddressError) -> Reply {
    Reply::new(501, (5, 1, 7), format!("Bad sender address: {error}"))
}

/// 501: the forward-path cannot be parsed.
pub fn bad_recipient(error: AddressError) -> Reply {
    Reply::new(501, (5, 1, 3), format!("Bad recipient address: {error}"))
}

/// 553: a non-ASCII address without SMTPUTF8 (RFC 6531 section 3.5).
pub fn needs_smtputf8() -> Reply {
    Reply::new(
        553,
        (5, 6, 7),
        "Addresses beyond ASCII need the SMTPUTF8 parameter of MAIL",
    )
}

/// 503 with the missing command or the conflict.
pub fn out_of_order(text: &str) -> Reply {
    Reply::new(503, (5, 5, 1), text)
}

/// 554 to DATA without recipients (RFC 5321 section 3.3). Not 503, which a pipelining client with only refused
/// recipients would take for a protocol error.
pub fn no_recipients() -> Reply {
    Reply::new(554, (5, 5, 1), "No valid recipients")
}

// ---- AUTH and TLS ----

/// 235: AUTH succeeded.
pub fn authenticated() -> Reply {
    Reply::new(235, (2, 7, 0), "Authentication succeeded")
}

/// 535: the credentials are wrong (RFC 4954 section 6).
pub fn credentials_invalid() -> Reply {
    Reply::new(535, (5, 7, 8), "Authentication credentials invalid")
}

/// 454: the directory cannot be queried now, or too many passwords wait for their check.
pub fn authentication_unavailable() -> Reply {
    Reply::new(454, (4, 7, 0), "Temporary authentication failure")
}

/// 454: too many logins of the client, or at the account, have failed (RFC 4954 section 6).
pub fn authentication_refused() -> Reply {
    Reply::new(454, (4, 7, 0), "Too many failed logins; try again later")
}

/// 421 instead of the greeting: the client must log in, and its logins are refused.
pub fn logins_refused(hostname: &str) -> Reply {
    let text = format!("{hostname} Too many failed logins; try again later");
    Reply::new(421, (4, 7, 0), text)
}

/// 501: the client sent `*`.
pub fn authentication_cancelled() -> Reply {
    Reply::new(501, (5, 7, 0), "Authentication cancelled")
}

/// 501: the response is not valid base64, or decodes to a malformed message.
pub fn bad_base64() -> Reply {
    Reply::new(501, (5, 5, 2), "Cannot decode the response")
}

/// 500: the response is longer than the limit (RFC 4954 section 4).
pub fn exchange_too_long() -> Reply {
    Reply::new(500, (5, 5, 6), "Authentication exchange line is too long")
}

/// 504: the mechanism of AUTH is unknown.
pub fn unknown_mechanism() -> Reply {
    Reply::new(504, (5, 5, 4), "Unrecognized authentication mechanism")
}

/// 538: AUTH is offered after STARTTLS only.
pub fn authentication_needs_tls() -> Reply {
    Reply::new(538, (5, 7, 11), "Encryption required: issue STARTTLS first")
}

/// 530: AUTH is required first.
pub fn authentication_required() -> Reply {
    Reply::new(530, (5, 7, 0), "Authentication required")
}

/// 530: STARTTLS is required first.
pub fn encryption_required() -> Reply {
    Reply::new(530, (5, 7, 0), "Must issue a STARTTLS command first")
}

/// 220: the handshake may begin.
pub fn start_tls() -> Reply {
    Reply::new(220, (2, 0, 0), "Ready to start TLS")
}

/// 554: plaintext was pipelined after STARTTLS, and would otherwise be taken for commands under TLS.
pub fn injected() -> Reply {
    Reply::new(554, (5, 5, 1), "Commands may not be pipelined after STARTTLS")
}

// ---- limits ----

/// 552: the message is larger than the limit (RFC 1870 section 6).
pub fn too_big() -> Reply {
    Reply::new(552, (5, 3, 4), "Message size exceeds the limit")
}

/// 452: the transaction has the maximum number of recipients (RFC 5321 section 4.5.3.1.10).
pub fn too_many_recipients() -> Reply {
    Reply::new(
        452,
        (4, 5, 3),
        "Too many recipients; send the rest in another transaction",
    )
}

/// 421: the session reached the maximum number of errors.
pub fn too_many_errors(hostname: &str) -> Reply {
    Reply::new(421, (4, 7, 0), format!("{hostname} Too many errors"))
}

/// 421: the session reached the maximum number of transactions.
pub fn too_many_transactions(hostname: &str) -> Reply {
    Reply::new(
        421,
        (4, 7, 0),
        format!("{hostname} Enough transactions on one connection; open another"),
    )
}

/// 421: the client reached the maximum number of connections.
pub fn too_many_connections(hostname: &str) -> Reply {
    Reply::new(421, (4, 7, 0), format!("{hostname} Too many connections"))
}

/// 421: the host is overloaded. The status blames the host, not the client (RFC 3463 section 3.4).
pub fn too_busy(hostname: &str) -> Reply {
    Reply::new(421, (4, 3, 2), format!("{hostname} Too busy; try again later"))
}

/// 421: an idle session is evicted for another client.
pub fn evict(hostname: &str) -> Reply {
    let text = format!("{hostname} Idle for too long while others wait; try again later");
    Reply::new(421, (4, 4, 2), text)
}

/// 421: the client was silent for longer than the time-out.
pub fn timed_out(hostname: &str) -> Reply {
    Reply::new(421, (4, 4, 2), format!("{hostname} Timed out waiting for the client"))
}

/// 421: the host is shutting down.
pub fn stopping(hostname: &str) -> Reply {
    Reply::new(421, (4, 3, 2), format!("{hostname} Service closing; try again later"))
}

// ---- the message ----

/// 452: the spool's disk is below the low-water mark.
pub fn system_full() -> Reply {
    Reply::new(452, (4, 3, 1), "Insufficient system storage")
}

/// 451: the host is overloaded and defers further mail.
pub fn busy() -> Reply {
    Reply::new(451, (4, 3, 2), "Too busy; try again later")
}

/// 451: the spool failed.
pub fn system_error() -> Reply {
    Reply::new(451, (4, 3, 0), "Local error in processing")
}

/// 554: the message has passed too many hosts (RFC 5321 section 6.3).
pub fn loop_detected() -> Reply {
    Reply::new(554, (5, 4, 6), "Too many hops: this looks like a mail loop")
}

/// 552: the header is longer than this host reads.
pub fn header_too_big() -> Reply {
    Reply::new(552, (5, 3, 4), "Message header exceeds the limit")
}

/// 554: a submitted message has neither author nor date (RFC 6409 section 8.1).
pub fn neither_author_nor_date() -> Reply {
    Reply::new(554, (5, 6, 0), "Message has neither From nor Date")
}

/// 554: the first line is folded, without a field to continue (RFC 5322 section 2.2.3).
pub fn begins_folded() -> Reply {
    Reply::new(554, (5, 6, 0), "Message begins with a folded line")
}

/// 500: a line of the message is too long (RFC 5321 section 4.5.3.1.6).
pub fn text_line_too_long(line: u64) -> Reply {
    let text = format!("Line {line} is too long: the limit is 998 octets and CR LF");
    Reply::new(500, (5, 6, 0), text)
}

/// 554: a bare CR in the message (RFC 5321 sections 2.3.8 and 4.1.1.4).
pub fn bare_cr(line: u64) -> Reply {
    Reply::new(554, (5, 6, 0), format!("Bare CR in line {line}: lines end with CR LF"))
}

/// 554: a bare LF in the message (RFC 5321 sections 2.3.8 and 4.1.1.4).
pub fn bare_lf(line: u64) -> Reply {
    Reply::new(554, (5, 6, 0), format!("Bare LF in line {line}: lines end with CR LF"))
}

/// 554: a NUL in the message. RFC 5321 section 4.5.2 leaves NUL to the server; RFC 5322 section 4 declares NUL
/// obsolete.
pub fn nul(line: u64) -> Reply {
    Reply::new(554, (5, 6, 0), format!("NUL in line {line}"))
}

/// 554: octets above 127 without BODY=8BITMIME, on a listener that demands it (RFC 5321 section 2.4, RFC 6152 section 3).
pub fn undeclared_eight_bit() -> Reply {
    Reply::new(
        554,
        (5, 6, 3),
        "8-bit content needs BODY=8BITMIME; this host does not convert",
    )
}
