//! Tests of attempts at the mail exchanges of a domain.

use hickory_resolver::proto::rr::RData;
use hickory_resolver::proto::rr::rdata::{A, MX};

use super::*;
use crate::circuit_breaker::CircuitState;
use host_directory::dns;
use host_mail::Reply;
use host_testing::dns_server::{Has, Server, name};

const FIRST: [u8; 4] = [127, 0, 0, 1];
const SECOND: [u8; 4] = [127, 0, 0, 2];
const THIRD: [u8; 4] = [127, 0, 0, 3];

/// The domain `two.example` with two exchanges of different preference, both played by servers.
struct TwoExchanges {
    sender: Sender,
    recorded: testing::RecordedEvents,
    _dns: Server,
}

impl TwoExchanges {
    async fn playing(first: Vec<Vec<Act>>, second: Vec<Vec<Act>>) -> Self {
        let first = FakeServer::tcp_at((FIRST, 0), first).await;
        let Endpoint::Tcp(_, port) = first.endpoint else {
            panic!("TCP");
        };
        FakeServer::tcp_at((SECOND, port), second).await;
        let exchange = |preference, host| RData::MX(MX::new(preference, name(host)));
        let address = |address: [u8; 4]| Has::Records(vec![RData::A(A(address.into()))]);
        let dns = Server::start([
            (
                "two.example",
                Has::Records(vec![exchange(20, "b.two.example."), exchange(10, "a.two.example.")]),
            ),
            ("a.two.example", address(FIRST)),
            ("b.two.example", address(SECOND)),
            (
                "slow.example",
                Has::Records(vec![exchange(10, "slow.two.example."), exchange(20, "b.two.example.")]),
            ),
            (
                "slow.two.example",
                Has::Records([FIRST, THIRD].map(|at| RData::A(A(at.into()))).to_vec()),
            ),
            ("none.example", Has::Records(vec![exchange(0, ".")])),
        ])
        .await;
        let mut sender = Sender::new("\r\nx\r\n");
        let (services, recorded) = testing::services(FakeDirectory::default());
        sender.services = services;
        sender.services.resolver = dns::Current::new(dns.settings());
        sender.services.exchange_port = port;
        Self {
            sender,
            recorded,
            _dns: dns,
        }
    }

    /// Sends to `recipients` by the exchanges of `domain`.
    async fn send(&self, domain: &str, recipients: &[&str]) -> Vec<RecipientOutcome> {
        let remote = Remote::Exchanges(domain.to_owned());
        let outcomes = self.sender.try_remote(remote, recipients).await;
        outcomes.expect("readable")
    }

    async fn send_to(&self, domain: &str) -> String {
        match &self.send(domain, &[&format!("a@{domain}")]).await[0] {
            RecipientOutcome::Delivered {
                remote: Some(remote), ..
            } => format!("taken by {remote}"),
            other => shown(std::slice::from_ref(other)).remove(0),
        }
    }

    fn circuit(&self, domain: &str) -> Option<CircuitState> {
        let circuits = self.sender.services.remote_health.by_name();
        let (state, _) = circuits.get(&*format!("mx:{domain}"))?;
        Some(*state).filter(|state| *state != CircuitState::Closed)
    }
}

fn closes_with_421() -> Vec<Act> {
    [greets(&[]), vec![Act::Hear("MAIL"), say("421 4.3.2 not now")]].concat()
}

#[tokio::test]
async fn prefers_the_first_exchange_and_reuses_the_connection() {
    let fixture = TwoExchanges::playing(vec![[greets(&[]), takes(), takes()].concat()], vec![]).await;
    for _ in 0..2 {
        assert_eq!(fixture.send_to("two.example").await, "taken by a.two.example");
    }
    assert!(fixture.recorded.ids().is_empty());
}

#[tokio::test]
async fn tries_the_next_exchange_after_a_refused_greeting() {
    let refuses = vec![say("554 5.7.1 not you")];
    let fixture = TwoExchanges::playing(vec![refuses], vec![[greets(&[]), takes()].concat()]).await;
    assert_eq!(fixture.send_to("two.example").await, "taken by b.two.example");
    assert!(fixture.recorded.ids().is_empty());
}

#[tokio::test]
async fn tries_the_next_exchange_after_421_to_mail() {
    let fixture = TwoExchanges::playing(vec![closes_with_421()], vec![[greets(&[]), takes()].concat()]).await;
    assert_eq!(fixture.send_to("two.example").await, "taken by b.two.example");
    assert!(fixture.recorded.ids().is_empty());
    let fixture = TwoExchanges::playing(vec![closes_with_421()], vec![closes_with_421()]).await;
    assert_eq!(fixture.send_to("two.example").await, "deferred 421 4.3.2 not now");
    assert_eq!(fixture.circuit("two.example"), Some(CircuitState::Open));
    assert_eq!(fixture.recorded.ids(), [5067]);
}

#[tokio::test]
async fn refused_recipient_is_not_sent_to_the_next_exchange() {
    let refuses = [
        greets(&[]),
        vec![
            Act::Hear("MAIL"),
            say("250 ok"),
            Act::Hear("RCPT"),
            say("450 4.2.1 come again"),
            Act::Silence,
        ],
    ]
    .concat();
    let fixture = TwoExchanges::playing(vec![refuses], vec![[greets(&[]), takes()].concat()]).await;
    assert_eq!(fixture.send_to("two.example").await, "deferred 450 4.2.1 come again");
    assert_eq!(fixture.circuit("two.example"), None, "the remote is up");
}

#[tokio::test]
async fn hanging_exchange_leaves_time_for_the_next() {
    let hangs = || vec![vec![Act::Silence]];
    let mut fixture = TwoExchanges::playing(hangs(), vec![[greets(&[]), takes()].concat()]).await;
    let _other = FakeServer::tcp_at((THIRD, fixture.sender.services.exchange_port), hangs()).await;
    fixture.sender.delivery.connect_timeout = Duration::from_millis(200);
    fixture.sender.delivery.reply_timeout = Duration::from_secs(3);
    assert_eq!(fixture.send_to("slow.example").await, "taken by b.two.example");
}

#[tokio::test]
async fn unfit_recipient_does_not_hide_an_unreachable_remote() {
    let fixture = TwoExchanges::playing(vec![closes_with_421()], vec![closes_with_421()]).await;
    let outcomes = fixture.send("two.example", &["ä@two.example", "b@two.example"]).await;
    assert!(shown(&outcomes)[0].starts_with("conversion-failed"), "{outcomes:?}");
    assert_eq!(shown(&outcomes)[1], "deferred 421 4.3.2 not now");
    assert_eq!(fixture.circuit("two.example"), Some(CircuitState::Open));
}

#[tokio::test]
async fn refusal_before_421_is_not_sent_to_the_next_exchange() {
    let refuses_and_closes = [
        greets(&[]),
        vec![
            Act::Hear("MAIL"),
            say("250 ok"),
            Act::Hear("RCPT"),
            say("550 5.1.1 who"),
            Act::Hear("RCPT"),
            say("421 4.7.0 too many errors"),
        ],
    ]
    .concat();
    let fixture = TwoExchanges::playing(vec![refuses_and_closes], vec![[greets(&[]), takes()].concat()]).await;
    let outcomes = fixture.send("two.example", &["a@two.example", "b@two.example"]).await;
    assert!(
        shown(&outcomes)[0].starts_with("address-not-found 550 5.1.1 who"),
        "{outcomes:?}"
    );
    assert_eq!(shown(&outcomes)[1], "deferred 421 4.7.0 too many errors");
    assert_eq!(fixture.circuit("two.example"), None, "the remote is up");
}

#[tokio::test]
async fn domain_without_mail_resets_the_circuit() {
    let fixture = TwoExchanges::playing(vec![], vec![]).await;
    let remote = Remote::Exchanges("none.example".to_owned());
    let remote_health = &fixture.sender.services.remote_health;
    let mut permit = remote_health
        .acquire(&remote, 2, WaitBound::Remote)
        .await
        .unwrap_or_else(|why| panic!("{why:?}"));
    // The open period is half of this and ends at once.
    permit.record_failure(Reply::new(451, (4, 4, 1), "gone"), Duration::from_nanos(2));
    drop(permit);
    let failed = fixture.send_to("none.example").await;
    assert_eq!(failed, "host-not-found 556 5.1.10 none.example takes no mail by here");
    assert_eq!(fixture.circuit("none.example"), None);
    assert!(fixture.recorded.ids().is_empty(), "nothing was reached");
}
