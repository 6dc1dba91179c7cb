//! Dialogues with the machine. In scripts `C:` is a command, and `S:` the expected beginning of the reply.
//!
//! Decisions that a driver would get elsewhere follow from the question: the local-parts `reject` and `defer` get that
//! verdict, and the password `right` is correct.

use std::cell::Cell;
use std::rc::Rc;

use super::state::Authenticating;
use super::*;
use crate::session::auth::Evidence;
use crate::session::login_fault::LoginFault;
use crate::session::transport::Secured;
use host_config::SaslMechanism;
use host_contract::Verdict;
use host_mail::{Client, Envelope, Reply, Timestamp, TlsSession};

/// Driver state that counts live transactions.
struct Alive(Rc<Cell<usize>>);

impl Alive {
    fn new(count: &Rc<Cell<usize>>) -> Self {
        count.set(count.get() + 1);
        Self(Rc::clone(count))
    }
}

impl Drop for Alive {
    fn drop(&mut self) {
        self.0.set(self.0.get() - 1);
    }
}

fn client() -> Client {
    Client::new("mx", ([192, 0, 2, 1], 4711).into())
}

fn tls() -> TlsSession {
    TlsSession {
        version: "TLSv1.3".into(),
        cipher: "TLS_AES_128_GCM_SHA256".into(),
        subject: None,
    }
}

fn rules() -> Rules {
    Rules {
        hostname: "mail.example.org".into(),
        message_size: 1000,
        recipients: 3,
        errors: 100,
        transactions: 100,
        starttls: true,
        auth: true,
        mechanisms: SaslMechanism::ALL.into_iter().filter(|one| !one.is_scram()).collect(),
        auth_without_tls: false,
        undeclared_eight_bit: true,
        strict_hello: false,
        bare_addresses: false,
        disabled: Vec::new(),
        is_front_end: false,
        holds_mail: false,
        latest_release: Timestamp(1_000_000_000_000),
        authentication: false,
        encryption: false,
    }
}

/// Input that the machine waits for.
enum Pending {
    Command(Conversation<Alive>),
    Response(Authenticating),
    Nothing,
}

/// A driver without I/O.
struct Player {
    pending: Pending,
    alive: Rc<Cell<usize>>,
    /// Reasons of the events that a driver would emit.
    events: Vec<&'static str>,
    envelopes: Vec<Envelope>,
}

fn verdict(local_part: Option<&str>) -> Verdict {
    match local_part {
        Some("reject") => Verdict::Reject(Reply::new(550, (5, 7, 1), "No")),
        Some("defer") => Verdict::Defer(Reply::new(451, (4, 7, 1), "Later")),
        _ => Verdict::Accept,
    }
}

impl Player {
    fn new(rules: Rules, client: Client) -> (Self, Reply) {
        let mut player = Self {
            pending: Pending::Nothing,
            alive: Rc::default(),
            events: Vec::new(),
            envelopes: Vec::new(),
        };
        let banner = player.play(greet(Session::new(rules, client)));
        (player, banner.expect("a banner"))
    }

    fn say(&mut self, line: &str) -> Option<Reply> {
        let step = match std::mem::replace(&mut self.pending, Pending::Nothing) {
            Pending::Command(conversation) => conversation.command(line.as_bytes()),
            Pending::Response(exchange) => exchange.response(line.as_bytes()),
            Pending::Nothing => panic!("{line:?} after the end"),
        };
        self.play(step)
    }

    /// Steps the machine until the peer has to send. Returns the last reply to the peer.
    fn play(&mut self, mut step: Step<Alive>) -> Option<Reply> {
        let mut under_tls = None;
        loop {
            step = match step {
                Step::Listen(reply, next) => {
                    self.pending = Pending::Command(next);
                    return reply.or(under_tls);
                }
                Step::RecipientsFull(reply, next) => {
                    self.events.push("recipients");
                    Step::Listen(Some(reply), next)
                }
                Step::Challenge(reply, next) => {
                    self.pending = Pending::Response(next);
                    return Some(reply);
                }
                Step::Verify(question) => {
                    let account = question.credentials.user.to_lowercase();
                    let Evidence::Password(password) = &question.credentials.evidence else {
                        panic!("no password")
                    };
                    match password.reveal() {
                        "right" => question.accepted(account),
                        "broken" => Step::RejectLogin(question.rejected(LoginFault::Unavailable)),
                        _ => Step::RejectLogin(question.rejected(LoginFault::Credentials)),
                    }
                }
                Step::FindVerifier(question) => Step::RejectLogin(question.rejected(LoginFault::Credentials)),
                Step::RejectLogin(rejected) => {
                    self.events.push(rejected.failed.fault.reason());
                    rejected.done()
                }
                Step::StartTls(reply, next) => {
                    under_tls = Some(reply);
                    next.established(Secured {
                        session: tls(),
                        channel_binding: None,
                        certificate_names: None,
                    })
                }
                Step::AskSender(question) => {
                    let answer = verdict(question.mail().sender.mailbox().map(|mailbox| mailbox.local_part()));
                    question.answer(answer, Alive::new(&self.alive))
                }
                Step::AskRecipient(question) => {
                    let answer = verdict(Some(question.recipient.local_part()));
                    question.answer(answer)
                }
                Step::Receive(receiving) => {
                    self.envelopes.push(receiving.transaction.envelope.clone());
                    receiving.done(Reply::new(250, (2, 0, 0), "Queued"))
                }
                Step::ReceiveChunk(chunk) if chunk.last => Step::Receive(chunk.complete()),
                Step::ReceiveChunk(chunk) => chunk.received(),
                Step::Skip(_, next) => *next,
                Step::Identify(client) => client.admitted(rules(), Default::default()),
                Step::StartQueue(request) => request.done(Reply::new(251, (2, 0, 0), "None")),
                Step::Close(reply, reason) => {
                    self.events.extend(reason);
                    return Some(reply);
                }
            }
        }
    }

    fn is_closed(&self) -> bool {
        matches!(self.pending, Pending::Nothing)
    }
}

/// Plays a script of `C:` and `S:` lines.
fn play_on(rules: Rules, client: Client, script: &str) -> Player {
    let (mut player, banner) = Player::new(rules, client);
    assert_eq!(banner.code, 220);
    let mut reply: Option<Reply> = None;
    for line in script.lines().map(str::trim).filter(|line| !line.is_empty()) {
        if let Some(command) = line.strip_prefix("C: ") {
            reply = player.say(command);
        } else if let Some(expected) = line.strip_prefix("S: ") {
            let got = reply.as_ref().map(ToString::to_string).unwrap_or_default();
            assert!(
                got.starts_with(expected),
                "expected {expected:?}, got {got:?} in\n{script}"
            );
        } else {
            assert_eq!(line, "CLOSED", "a script has C:, S: and CLOSED");
            assert!(player.is_closed(), "still open in\n{script}");
        }
    }
    player
}

fn play(script: &str) -> Player {
    play_on(rules(), client(), script)
}

const HELLO: &str = "C: EHLO client.example\nS: 250 mail.example.org";
const AUTH_RIGHT: &str = "C: AUTH PLAIN AEFubmEAcmlnaHQ=\nS: 235 2.7.0";

fn after_hello(script: &str) -> Player {
    play(&format!("{HELLO}\n{script}"))
}

#[test]
fn accepts_a_message_from_ehlo_to_quit() {
    let player = after_hello(
        "C: MAIL FROM:<anna@example.org> SIZE=1000 BODY=8BITMIME
         S: 250 2.1.0
         C: RCPT TO:<bob@example.org>
         S: 250 2.1.5
         C: RCPT TO:<postmaster>
         S: 250 2.1.5
         C: DATA
         S: 250 2.0.0
         C: QUIT
         S: 221 2.0.0 mail.example.org
         CLOSED",
    );
    let [envelope] = player.envelopes.as_slice() else {
        panic!("one message")
    };
    assert_eq!(envelope.sender.to_string(), "<anna@example.org>");
    let recipients: Vec<_> = envelope.recipients.iter().map(ToString::to_string).collect();
    assert_eq!(recipients, ["bob@example.org", "postmaster@mail.example.org"]);
    assert_eq!(envelope.body, host_mail::BodyType::EightBitMime);
    assert_eq!(player.alive.get(), 0);
    assert!(player.events.is_empty());
}

#[test]
fn accepts_the_null_reverse_path() {
    let player = after_hello("C: MAIL FROM:<>\nS: 250\nC: RCPT TO:<bob@example.org>\nS: 250\nC: DATA\nS: 250");
    assert_eq!(player.envelopes[0].sender, host_mail::ReversePath::Null);
}

#[test]
fn refuses_commands_out_of_order() {
    play("C: MAIL FROM:<a@b.example>\nS: 503\nC: RCPT TO:<a@b.example>\nS: 503\nC: DATA\nS: 503\nC: RSET\nS: 250");
    play("C: RSET\nS: 250\nC: MAIL FROM:<a@b.example>\nS: 503");
    after_hello("C: RCPT TO:<a@b.example>\nS: 503\nC: DATA\nS: 503");
    after_hello("C: MAIL FROM:<a@b.example>\nS: 250\nC: MAIL FROM:<c@d.example>\nS: 503\nC: DATA\nS: 554 5.5.1");
    let player = after_hello(
        "C: MAIL FROM:<a@b.example>
         S: 250
         C: RCPT TO:<x@y.example>
         S: 250
         C: DATA
         S: 250
         C: RCPT TO:<x@y.example>
         S: 503
         C: DATA
         S: 503",
    );
    assert_eq!(player.envelopes.len(), 1);
}

#[test]
fn mistakes_keep_the_transaction() {
    let player = after_hello(
        "C: MAIL FROM:<a@b.example>
         S: 250
         C: RCPT TO:x@y.example
         S: 501
         C: RCPT TO:<x@y.example> FROBNICATE=1
         S: 555
         C: NONSENSE
         S: 500
         C: RCPT TO:<x@y.example>
         S: 250
         C: DATA
         S: 250",
    );
    assert_eq!(player.envelopes.len(), 1);
}

#[test]
fn only_chunks_follow_a_chunk_and_a_refused_message_eats_the_rest() {
    let player = after_hello(
        "C: BDAT 5
         S: 503
         C: MAIL FROM:<a@b.example>
         S: 250
         C: BDAT 5
         S: 554
         C: BDAT 5
         S: 503
         C: RCPT TO:<x@y.example>
         S: 503
         C: BDAT 5 LAST
         S: 503
         C: MAIL FROM:<a@b.example>
         S: 250
         C: RCPT TO:<x@y.example>
         S: 250
         C: BDAT 5
         S: 250
         C: RCPT TO:<z@y.example>
         S: 503
         C: DATA
         S: 503
         C: BDAT 0 LAST
         S: 250
         C: BDAT 5 LAST
         S: 503",
    );
    assert_eq!(player.envelopes.len(), 1);
}

#[test]
fn rset_ehlo_helo_and_quit_drop_the_transaction() {
    for ending in ["RSET", "EHLO again.example", "HELO again.example", "QUIT"] {
        let mut player = after_hello("C: MAIL FROM:<a@b.example>\nS: 250\nC: RCPT TO:<x@y.example>\nS: 250");
        assert_eq!(player.alive.get(), 1);
        player.say(ending);
        assert_eq!(player.alive.get(), 0, "{ending}");
        assert_eq!(player.is_closed(), ending == "QUIT", "{ending}");
        if !player.is_closed() {
            assert_eq!(player.say("DATA").map(|reply| reply.code), Some(503), "{ending}");
            assert_eq!(
                player.say("MAIL FROM:<>").map(|reply| reply.code),
                Some(250),
                "{ending}"
            );
        }
    }
}

#[test]
fn other_commands_keep_the_transaction() {
    for harmless in [
        "NOOP",
        "NOOP x",
        "HELP",
        "VRFY anna",
        "EXPN list",
        "XYZZY",
        "AUTH PLAIN",
        "MAIL FROM:<>",
    ] {
        let mut player = after_hello("C: MAIL FROM:<a@b.example>\nS: 250\nC: RCPT TO:<x@y.example>\nS: 250");
        player.say(harmless);
        assert_eq!(player.alive.get(), 1, "{harmless}");
        assert_eq!(player.say("DATA").map(|reply| reply.code), Some(250), "{harmless}");
    }
}

#[test]
fn replies_with_the_verdict() {
    let player = after_hello(
        "C: MAIL FROM:<reject@b.example>
         S: 550 5.7.1 No
         C: MAIL FROM:<defer@b.example>
         S: 451 4.7.1 Later
         C: MAIL FROM:<a@b.example>
         S: 250
         C: RCPT TO:<reject@y.example>
         S: 550 5.7.1 No
         C: RCPT TO:<defer@y.example>
         S: 451
         C: DATA
         S: 554 5.5.1 No valid recipients
         C: RCPT TO:<x@y.example>
         S: 250
         C: DATA
         S: 250",
    );
    assert_eq!(player.envelopes[0].recipients.len(), 1);
    assert_eq!(player.alive.get(), 0);
}

#[test]
fn limits_recipients_with_a_single_event() {
    let player = after_hello(
        "C: MAIL FROM:<a@b.example>
         C: RCPT TO:<one@y.example>
         S: 250
         C: RCPT TO:<one@y.example>
         S: 250
         C: RCPT TO:<two@y.example>
         S: 250
         C: RCPT TO:<three@y.example>
         S: 250
         C: RCPT TO:<four@y.example>
         S: 452 4.5.3
         C: RCPT TO:<five@y.example>
         S: 452 4.5.3
         C: RCPT TO:<two@y.example>
         S: 250
         C: DATA
         S: 250",
    );
    assert_eq!(player.envelopes[0].recipients.len(), 3);
    assert_eq!(player.events, ["recipients"]);
}

#[test]
fn refused_recipients_count_towards_the_limit() {
    let player = after_hello(
        "C: MAIL FROM:<a@b.example>
         C: RCPT TO:<reject@y.example>
         S: 550
         C: RCPT TO:<one@y.example>
         S: 250
         C: RCPT TO:<reject@z.example>
         S: 550
         C: RCPT TO:<reject@y.example>
         S: 452 4.5.3
         C: DATA
         S: 250",
    );
    assert_eq!(player.envelopes[0].recipients.len(), 1);
    assert_eq!(player.events, ["recipients"]);
}

#[test]
fn excess_recipients_do_not_close_the_connection() {
    let (mut player, _) = Player::new(Rules { errors: 3, ..rules() }, client());
    player.say("EHLO client.example");
    player.say("MAIL FROM:<>");
    for number in 0..10_000 {
        let reply = player.say(&format!("RCPT TO:<r{number}@y.example>")).expect("a reply");
        assert_eq!(reply.code, if number < 3 { 250 } else { 452 });
    }
    assert_eq!(player.say("DATA").map(|reply| reply.code), Some(250));
    assert_eq!(player.events, ["recipients"]);
}

#[test]
fn refuses_an_announced_size_beyond_the_limit() {
    after_hello(
        "C: MAIL FROM:<a@b.example> SIZE=1001
         S: 552 5.3.4
         C: MAIL FROM:<a@b.example> SIZE=99999999999999999999
         S: 552 5.3.4
         C: MAIL FROM:<a@b.example> SIZE=1000
         S: 250",
    );
}

#[test]
fn refuses_non_ascii_addresses_without_smtputf8() {
    after_hello(
        "C: MAIL FROM:<jörg@b.example>
         S: 553 5.6.7
         C: MAIL FROM:<a@b.example>
         S: 250
         C: RCPT TO:<jörg@b.example>
         S: 553 5.6.7
         C: RSET
         C: MAIL FROM:<jörg@b.example> SMTPUTF8
         S: 250
         C: RCPT TO:<jörg@b.example>
         S: 250",
    );
}

#[test]
fn vrfy_and_expn_disclose_no_accounts() {
    after_hello("C: VRFY anna\nS: 252\nC: VRFY nobody\nS: 252\nC: EXPN staff\nS: 502\nC: HELP\nS: 214");
}

#[test]
fn ehlo_lists_only_usable_extensions_and_helo_none() {
    let lines = |player: &mut Player| {
        player
            .say("EHLO client.example")
            .map(|reply| reply.text)
            .expect("a reply")
    };
    let (mut player, _) = Player::new(rules(), client());
    assert_eq!(
        lines(&mut player),
        "mail.example.org\nPIPELINING\nSIZE 1000\n8BITMIME\nSMTPUTF8\nENHANCEDSTATUSCODES\nDSN\nCHUNKING\nBINARYMIME\n\
         LIMITS RCPTMAX=3 MAILMAX=100\nDELIVERBY\nSTARTTLS\nHELP"
    );
    player.say("STARTTLS");
    let secured = lines(&mut player);
    assert!(
        !secured.contains("STARTTLS") && secured.contains("AUTH PLAIN LOGIN") && secured.contains("REQUIRETLS"),
        "{secured}"
    );
    assert!(
        !secured.contains("FUTURERELEASE") && !secured.contains("MT-PRIORITY"),
        "{secured}"
    );
    player.say("AUTH PLAIN AEFubmEAcmlnaHQ=");
    let trusted = lines(&mut player);
    assert!(!trusted.contains("AUTH"), "{trusted}");
    assert!(
        trusted.contains("FUTURERELEASE 2592000 2001-") && trusted.contains("MT-PRIORITY"),
        "{trusted}"
    );

    let (mut player, _) = Player::new(
        Rules {
            starttls: false,
            auth_without_tls: true,
            ..rules()
        },
        client(),
    );
    let clear = lines(&mut player);
    assert!(
        !clear.contains("STARTTLS") && clear.contains("AUTH PLAIN LOGIN"),
        "{clear}"
    );
    let reply = player.say("HELO client.example").expect("a reply");
    assert_eq!(
        (reply.code, reply.text.as_str(), reply.status),
        (250, "mail.example.org", None)
    );

    let strict = Rules {
        encryption: true,
        auth_without_tls: true,
        ..rules()
    };
    let (mut player, _) = Player::new(strict, client());
    assert!(!lines(&mut player).contains("AUTH"));
}

#[test]
fn authenticates_under_tls_only() {
    let player = after_hello(&format!(
        "C: AUTH PLAIN AEFubmEAcmlnaHQ=
         S: 538 5.7.11
         C: STARTTLS
         S: 220 2.0.0
         C: AUTH PLAIN AEFubmEAcmlnaHQ=
         S: 503
         {HELLO}
         {AUTH_RIGHT}
         C: AUTH PLAIN AEFubmEAcmlnaHQ=
         S: 503
         C: MAIL FROM:<a@b.example>
         S: 250"
    ));
    let Pending::Command(conversation) = &player.pending else {
        panic!("open")
    };
    let identity = conversation.session().client.identity.as_ref().expect("authenticated");
    assert_eq!(
        (identity.account.as_str(), identity.mechanism.as_str()),
        ("anna", "PLAIN")
    );
}

#[test]
fn handles_each_form_of_auth() {
    let clear = || Rules {
        auth_without_tls: true,
        ..rules()
    };
    for script in [
        "C: AUTH PLAIN\nS: 334\nC: AEFubmEAcmlnaHQ=\nS: 235",
        "C: AUTH LOGIN\nS: 334 VXNlcm5hbWU6\nC: QW5uYQ==\nS: 334 UGFzc3dvcmQ6\nC: cmlnaHQ=\nS: 235",
        "C: AUTH login QW5uYQ==\nS: 334 UGFzc3dvcmQ6\nC: cmlnaHQ=\nS: 235",
        "C: AUTH PLAIN\nS: 334\nC: *\nS: 501\nC: AUTH PLAIN AEFubmEAcmlnaHQ=\nS: 235",
        "C: AUTH LOGIN\nS: 334\nC: QUIT now\nS: 501\nC: NOOP\nS: 250",
        "C: AUTH LOGIN =\nS: 334 UGFzc3dvcmQ6",
        "C: AUTH PLAIN =\nS: 501",
        "C: AUTH PLAIN ***\nS: 501",
        "C: AUTH\nS: 501",
        "C: AUTH CRAM-MD5\nS: 504 5.5.4",
        "C: AUTH PLAIN AEFubmEAd3Jvbmc=\nS: 535 5.7.8\nC: AUTH PLAIN AEFubmEAcmlnaHQ=\nS: 235",
        "C: AUTH PLAIN AEFubmEAYnJva2Vu\nS: 454 4.7.0",
        "C: MAIL FROM:<>\nS: 250\nC: AUTH PLAIN AEFubmEAcmlnaHQ=\nS: 503",
    ] {
        play_on(clear(), client(), &format!("{HELLO}\n{script}"));
    }
    play_on(clear(), client(), "C: AUTH PLAIN AEFubmEAcmlnaHQ=\nS: 503");
    play_on(
        clear(),
        client(),
        "C: HELO x\nS: 250\nC: AUTH PLAIN AEFubmEAcmlnaHQ=\nS: 503",
    );
    let player = play_on(
        clear(),
        client(),
        &format!("{HELLO}\nC: AUTH PLAIN cm9vdABBbm5hAHJpZ2h0\nS: 535"),
    );
    assert_eq!(player.events, ["on behalf of another"]);
}

#[test]
fn failed_authentication_closes_the_connection() {
    let guess = "C: AUTH PLAIN AEFubmEAd3Jvbmc=";
    let player = play_on(
        Rules {
            auth_without_tls: true,
            ..rules()
        },
        client(),
        &format!("{HELLO}\n{guess}\nS: 535\n{guess}\nS: 535\n{guess}\nS: 421 4.7.0\nCLOSED"),
    );
    let reason = "credentials";
    assert_eq!(player.events, [reason, reason, reason, "too many failed AUTH attempts"]);
}

#[test]
fn failed_authentication_is_counted_once() {
    let guess = "C: AUTH PLAIN AEFubmEAd3Jvbmc=\nS: 535";
    let rules = || Rules {
        auth_without_tls: true,
        errors: 2,
        ..rules()
    };
    play_on(
        rules(),
        client(),
        &format!("{HELLO}\n{guess}\n{guess}\nC: XYZZY\nS: 500\nC: XYZZY\nS: 421"),
    );
    let undecodable = "C: AUTH PLAIN ***";
    play_on(
        rules(),
        client(),
        &format!("{HELLO}\n{undecodable}\nS: 501\n{undecodable}\nS: 421\nCLOSED"),
    );
}

#[test]
fn auth_is_not_implemented_where_it_is_off() {
    let off = Rules {
        auth: false,
        auth_without_tls: true,
        ..rules()
    };
    let attempt = "C: AUTH PLAIN AEFubmEAcmlnaHQ=\nS: 502 5.5.1";
    let mut player = play_on(
        off,
        client(),
        &format!("{HELLO}\n{attempt}\nC: STARTTLS\nS: 220\n{attempt}\n{HELLO}\n{attempt}"),
    );
    let offer = player.say("EHLO client.example").expect("a reply");
    assert!(!offer.text.contains("AUTH"), "{}", offer.text);
}

#[test]
fn requires_tls_and_authentication_before_mail() {
    let owes = Rules {
        authentication: true,
        encryption: true,
        auth_without_tls: true,
        ..rules()
    };
    play_on(
        owes,
        client(),
        &format!(
            "{HELLO}
             C: MAIL FROM:<a@b.example>
             S: 530 5.7.0 Must issue a STARTTLS command first
             C: AUTH PLAIN AEFubmEAcmlnaHQ=
             S: 538
             C: STARTTLS
             S: 220
             {HELLO}
             C: MAIL FROM:<a@b.example>
             S: 530 5.7.0 Authentication required
             C: MAIL FROM:<>
             S: 530
             {AUTH_RIGHT}
             C: MAIL FROM:<a@b.example>
             S: 250"
        ),
    );
}

#[test]
fn starttls_resets_the_session() {
    let player = play_on(
        Rules {
            auth_without_tls: true,
            ..rules()
        },
        client(),
        &format!(
            "{HELLO}
             {AUTH_RIGHT}
             C: MAIL FROM:<a@b.example>
             S: 250
             C: STARTTLS
             S: 220 2.0.0
             C: RCPT TO:<x@y.example>
             S: 503
             C: MAIL FROM:<a@b.example>
             S: 503
             C: STARTTLS
             S: 503"
        ),
    );
    assert_eq!(player.alive.get(), 0);
    let Pending::Command(conversation) = &player.pending else {
        panic!("open")
    };
    let session = conversation.session();
    assert_eq!((&session.client.helo, &session.client.identity), (&None, &None));
    assert_eq!(session.client.tls, Some(tls()));
}

#[test]
fn refuses_starttls_where_unavailable() {
    play_on(
        Rules {
            starttls: false,
            ..rules()
        },
        client(),
        &format!("{HELLO}\nC: STARTTLS\nS: 502"),
    );
    play("C: STARTTLS\nS: 503");
    after_hello("C: STARTTLS now\nS: 501");
    let implicit = Client {
        tls: Some(tls()),
        ..client()
    };
    play_on(
        rules(),
        implicit,
        &format!("{HELLO}\nC: STARTTLS\nS: 503\n{AUTH_RIGHT}"),
    );
}

#[test]
fn closes_on_an_http_request() {
    let player = play_on(rules(), client(), "C: POST / HTTP/1.1\nS: 554 5.5.1\nCLOSED");
    assert_eq!(player.events, ["an HTTP request"]);
}

#[test]
fn limits_errors_and_transactions() {
    let player = play_on(
        Rules { errors: 3, ..rules() },
        client(),
        "C: NONSENSE\nS: 500\nC: MAIL FROM:<>\nS: 503\nC: RCPT\nS: 421 4.7.0 mail.example.org\nCLOSED",
    );
    assert_eq!(player.events, ["too many errors"]);
    let player = play_on(
        Rules {
            transactions: 2,
            ..rules()
        },
        client(),
        &format!(
            "{HELLO}
             C: MAIL FROM:<a@b.example>
             S: 250
             C: RSET
             C: MAIL FROM:<reject@b.example>
             S: 550
             C: MAIL FROM:<a@b.example>
             S: 421 4.7.0 mail.example.org
             CLOSED"
        ),
    );
    assert_eq!(player.events, ["too many transactions"]);
}

#[test]
fn enhanced_status_matches_the_reply_class() {
    for line in [
        "NOOP",
        "RSET",
        "HELP",
        "VRFY x",
        "EXPN x",
        "XYZZY",
        "DATA",
        "RCPT TO:<x@y.example>",
        "MAIL FROM:<>",
        "MAIL FROM:",
        "AUTH",
        "AUTH X",
        "AUTH PLAIN",
        "STARTTLS x",
        "QUIT",
        "BDAT 1",
        "NOOP \u{7}",
    ] {
        let mut player = after_hello("");
        let reply = player.say(line).expect("a reply");
        let status = reply.status.unwrap_or_else(|| panic!("{line}: {reply} has no status"));
        assert_eq!(u16::from(status.0), reply.code / 100, "{line}: {reply}");
    }
}

fn with_errors(errors: usize) -> Rules {
    Rules {
        errors,
        recipients: 100,
        ..rules()
    }
}

#[test]
fn refused_recipients_in_excess_of_accepted_ones_reach_the_limit_of_errors() {
    let refused = "C: RCPT TO:<reject@b.example>\nS: 550";
    let deferred = "C: RCPT TO:<defer@b.example>\nS: 451";
    let closing = "C: RCPT TO:<reject@b.example>\nS: 421 4.7.0\nCLOSED";
    let mail = "C: MAIL FROM:<a@b.example>\nS: 250";
    let player = play_on(
        with_errors(3),
        client(),
        &format!("{HELLO}\n{mail}\n{refused}\n{deferred}\n{closing}"),
    );
    assert_eq!(player.events, ["too many errors"]);
    let accepted = "C: RCPT TO:<bob@b.example>\nS: 250";
    play_on(
        with_errors(3),
        client(),
        &format!("{HELLO}\n{mail}\n{accepted}\n{refused}\n{refused}\n{refused}\n{closing}"),
    );
    // A transaction without a message counts all of its refused recipients.
    play_on(
        with_errors(3),
        client(),
        &format!(
            "{HELLO}\n{mail}\n{accepted}\n{refused}\nC: RSET\nS: 250\n{mail}\n{accepted}\n{refused}\n{refused}\n{closing}"
        ),
    );
}

#[test]
fn accepted_message_clears_the_errors() {
    let script = "C: XYZZY\nS: 500\nC: MAIL FROM:<a@b.example>\nS: 250\nC: RCPT TO:<reject@b.example>\nS: 550\nC: RCPT TO:<b@b.example>\nS: 250\nC: DATA\nS: 250";
    let player = play_on(
        with_errors(3),
        client(),
        &format!("{HELLO}\n{script}\n{script}\n{script}"),
    );
    assert!(!player.is_closed());
}

#[test]
fn refused_senders_are_errors_and_deferred_ones_are_not() {
    let deferred = "C: MAIL FROM:<defer@b.example>\nS: 451";
    let refused = "C: MAIL FROM:<reject@b.example>\nS: 550";
    let closing = "C: MAIL FROM:<reject@b.example>\nS: 421\nCLOSED";
    play_on(
        with_errors(3),
        client(),
        &format!("{HELLO}\n{deferred}\n{deferred}\n{deferred}\n{refused}\n{refused}\n{closing}"),
    );
}

#[test]
fn commands_without_effect_are_errors_after_a_hundred() {
    let (mut player, _) = Player::new(with_errors(3), client());
    for verb in ["NOOP", "RSET", "HELP", "VRFY x", "EHLO x"].iter().cycle().take(102) {
        assert!(player.say(verb).expect("a reply").is_positive(), "{verb}");
    }
    assert_eq!(player.say("NOOP").expect("a reply").code, 421);
    assert!(player.is_closed());
}

#[test]
fn delays_replies_from_the_sixth_error_on() {
    let (mut player, _) = Player::new(with_errors(20), client());
    let penalties: Vec<usize> = (0..8)
        .map(|_| {
            player.say("XYZZY");
            let Pending::Command(conversation) = &mut player.pending else {
                panic!("open")
            };
            conversation.take_penalty()
        })
        .collect();
    assert_eq!(penalties, [0, 0, 0, 0, 0, 1, 2, 3]);
}
