//! The SMTP server: listeners and sessions. An accepted message is on disk before its 250. Policies are consulted
//! through [`host_contract::Decide`].

pub mod listener;
pub mod session;
mod shutdown;

/// Parsers of octets that clients and proxies send, for `tests/fuzz`.
#[doc(hidden)]
pub mod fuzzing {
    use std::io::Cursor;
    use std::net::SocketAddr;
    use std::sync::OnceLock;

    use futures_util::FutureExt as _;
    use tokio::io::{Join, Sink};

    use crate::listener::proxy_header::read_client;
    use crate::session::auth::{self, Evidence, ExchangeState, SaslExchange, Secret};
    use crate::session::command::Command;
    use crate::session::data_reader::DataReader;
    use crate::session::replies;
    use crate::session::scram_exchange::ScramTerms;
    use crate::session::transport::{Stream, Transport};
    use crate::session::wire::Wire;
    use host_directory::{ScramLogin, ScramVerifier};
    use host_mail::Reply;

    impl Stream for Join<Cursor<Vec<u8>>, Sink> {}

    /// Parses each command line, read at most `room` octets at once. Stops at a malformed line. A command is returned
    /// in debug format.
    pub fn commands(octets: &[u8], room: usize) -> Vec<Result<String, Reply>> {
        let stream = tokio::io::join(Cursor::new(octets.to_vec()), tokio::io::sink());
        let mut wire = Wire::new(Transport::Plain(stream));
        let mut commands = Vec::new();
        loop {
            match wire.take_line() {
                Some(Ok(line)) => commands.push(Command::parse(&line).map(|command| format!("{command:?}"))),
                Some(Err(_)) => return commands,
                None => match wire.fill(room).now_or_never() {
                    Some(Ok(1..)) => {}
                    _ => return commands,
                },
            }
        }
    }

    /// Performs an exchange of AUTH, of SCRAM with the verifier of the password `pencil`. Returns the user and the
    /// password, empty after a proof, if the client has sent all, or the reply.
    pub fn sasl<'a>(
        mechanism: &str,
        initial: Option<&str>,
        responses: impl Iterator<Item = &'a [u8]>,
    ) -> Option<Result<(String, String), Reply>> {
        let exchange = match mechanism {
            "PLAIN" => SaslExchange::Plain,
            "LOGIN" => SaslExchange::LoginUser,
            "SCRAM-SHA-256" => SaslExchange::ScramFirst(ScramTerms::default()),
            _ => return Some(Err(replies::unknown_mechanism())),
        };
        let mut state = auth::start(exchange, initial.map(Secret::from).as_ref());
        for response in responses {
            if let ExchangeState::FindVerifier(start) = state {
                state = auth::scram_challenge(start, scram_login());
            }
            let ExchangeState::Challenge(_, exchange) = state else {
                break;
            };
            state = exchange.response(response);
        }
        match state {
            ExchangeState::Challenge(..) | ExchangeState::FindVerifier(_) => None,
            ExchangeState::Complete(claimed) => Some(Ok(match claimed.evidence {
                Evidence::Password(password) => (claimed.user, password.reveal().to_owned()),
                Evidence::Proven(_) | Evidence::Certificate(_) => (claimed.user, String::new()),
            })),
            ExchangeState::Failed(failed) => Some(Err(failed.fault.reply())),
        }
    }

    fn scram_login() -> ScramLogin {
        static VERIFIER: OnceLock<ScramVerifier> = OnceLock::new();
        ScramLogin {
            account: Some("anna".to_owned()),
            verifier: VERIFIER.get_or_init(|| ScramVerifier::of_password("pencil")).clone(),
            nonce: "server".to_owned(),
        }
    }

    /// Reads a message after DATA in pieces of the given lengths, the last of which repeats. Returns the message, the
    /// number of octets up to the end of data, and the defect of 7-bit mail in debug format; `None` without an end.
    pub fn data(octets: &[u8], pieces: &[usize]) -> Option<(Vec<u8>, usize, Option<String>)> {
        let mut reader = DataReader::default();
        let mut message = Vec::new();
        let mut at = 0;
        let mut lengths = pieces.iter().copied().map(|length| length.max(1));
        let mut length = octets.len();
        while at < octets.len() {
            length = lengths.next().unwrap_or(length);
            let until = at.saturating_add(length).min(octets.len());
            while at < until {
                let piece = reader.read(&octets[at..until]);
                message.extend_from_slice(piece.content);
                at += piece.consumed;
                if piece.ended {
                    let defect = reader.defect(false).map(|defect| format!("{defect:?}"));
                    return Some((message, at, defect));
                }
            }
        }
        None
    }

    /// Reads a PROXY header. Returns the client or the error, and the number of octets left.
    pub fn proxy_header(mut octets: &[u8]) -> (Result<Option<SocketAddr>, String>, usize) {
        let result = read_client(&mut octets).now_or_never();
        let result = result.unwrap_or_else(|| Err(std::io::Error::other("not ready").into()));
        (result.map_err(|why| why.to_string()), octets.len())
    }
}
