//! Attempts at a domain's exchanges.

use hickory_resolver::proto::rr::RData;
use hickory_resolver::proto::rr::rdata::{A, MX};

use super::*;
use crate::remote_health::CircuitState;
use host_directory::dns;
use host_testing::dns_server::{Has, Server, name};

const FIRST: [u8; 4] = [127, 0, 0, 1];
const SECOND: [u8; 4] = [127, 0, 0, 2];
const THIRD: [u8; 4] = [127, 0, 0, 3];

/// The domain `two.example` with a preferred exchange and another one, which servers play.
struct Two {
    sender: Sender,
    told: testing::Told,
    _dns: Server,
}

impl Two {
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
        let (station, told) = testing::station(FakeDirectory::default());
        sender.station = station;
        sender.station.resolver = dns::Current::new(dns.settings());
        sender.station.exchange_port = port;
        Self {
            sender,
            told,
            _dns: dns,
        }
    }

    /// To these in this domain.
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

    fn standing(&self, domain: &str) -> Option<CircuitState> {
        let standings = self.sender.station.gate.standings();
        standings.get(&format!("mx:{domain}")).copied()
    }
}

fn takes_leave() -> Vec<Act> {
    [greets(&[]), vec![Act::Hear("MAIL"), say("421 4.3.2 not now")]].concat()
}

#[tokio::test]
async fn the_preferred_takes_it_and_the_next_over_the_same_connection() {
    let two = Two::playing(vec![[greets(&[]), takes(), takes()].concat()], vec![]).await;
    for _ in 0..2 {
        assert_eq!(two.send_to("two.example").await, "taken by a.two.example");
    }
    assert!(two.told.ids().is_empty());
}

#[tokio::test]
async fn one_that_does_not_greet_leaves_it_to_the_next() {
    let refuses = vec![say("554 5.7.1 not you")];
    let two = Two::playing(vec![refuses], vec![[greets(&[]), takes()].concat()]).await;
    assert_eq!(two.send_to("two.example").await, "taken by b.two.example");
    assert!(two.told.ids().is_empty());
}

#[tokio::test]
async fn one_that_takes_leave_before_anything_is_begun_leaves_it_to_the_next() {
    let two = Two::playing(vec![takes_leave()], vec![[greets(&[]), takes()].concat()]).await;
    assert_eq!(two.send_to("two.example").await, "taken by b.two.example");
    assert!(two.told.ids().is_empty());
    let two = Two::playing(vec![takes_leave()], vec![takes_leave()]).await;
    assert_eq!(two.send_to("two.example").await, "deferred 421 4.3.2 not now");
    assert_eq!(two.standing("two.example"), Some(CircuitState::Down));
    assert_eq!(two.told.ids(), [5067]);
}

#[tokio::test]
async fn what_one_has_refused_the_next_is_not_asked() {
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
    let two = Two::playing(vec![refuses], vec![[greets(&[]), takes()].concat()]).await;
    assert_eq!(two.send_to("two.example").await, "deferred 450 4.2.1 come again");
    assert_eq!(two.standing("two.example"), None, "it is there");
}

#[tokio::test]
async fn one_that_hangs_leaves_time_for_those_behind_it() {
    let hangs = || vec![vec![Act::Silence]];
    let mut two = Two::playing(hangs(), vec![[greets(&[]), takes()].concat()]).await;
    let _other = FakeServer::tcp_at((THIRD, two.sender.station.exchange_port), hangs()).await;
    two.sender.delivery.connect_timeout = Duration::from_millis(200);
    two.sender.delivery.reply_timeout = Duration::from_secs(3);
    assert_eq!(two.send_to("slow.example").await, "taken by b.two.example");
}

#[tokio::test]
async fn who_is_unfit_says_nothing_of_a_server_that_takes_its_leave() {
    let two = Two::playing(vec![takes_leave()], vec![takes_leave()]).await;
    let outcomes = two.send("two.example", &["ä@two.example", "b@two.example"]).await;
    assert!(shown(&outcomes)[0].starts_with("conversion-failed"), "{outcomes:?}");
    assert_eq!(shown(&outcomes)[1], "deferred 421 4.3.2 not now");
    assert_eq!(two.standing("two.example"), Some(CircuitState::Down));
}

#[tokio::test]
async fn who_was_refused_before_a_leave_is_not_asked_for_elsewhere() {
    let refuses_and_leaves = [
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
    let two = Two::playing(vec![refuses_and_leaves], vec![[greets(&[]), takes()].concat()]).await;
    let outcomes = two.send("two.example", &["a@two.example", "b@two.example"]).await;
    assert!(
        shown(&outcomes)[0].starts_with("address-not-found 550 5.1.1 who"),
        "{outcomes:?}"
    );
    assert_eq!(shown(&outcomes)[1], "deferred 421 4.7.0 too many errors");
    assert_eq!(two.standing("two.example"), None, "it is there");
}

#[tokio::test]
async fn a_domain_that_takes_no_mail_has_not_taken_any() {
    let two = Two::playing(vec![], vec![]).await;
    let remote = Remote::Exchanges("none.example".to_owned());
    let gate = &two.sender.station.gate;
    let mut turn = gate.enter(&remote, 2).await.unwrap_or_else(|why| panic!("{why:?}"));
    // Half of this is over at once.
    turn.down(Reply::new(451, (4, 4, 1), "gone"), Duration::from_nanos(2));
    drop(turn);
    let failed = two.send_to("none.example").await;
    assert_eq!(failed, "host-not-found 556 5.1.10 none.example takes no mail by here");
    assert_eq!(two.standing("none.example"), None);
    assert!(two.told.ids().is_empty(), "nothing was reached");
}
