//! Crash test: after kill -9 at any moment every confirmed message is there, whole, and no batch is half-done.
//!
//! The child is this test binary, running [`child`] only: a loop of puts and settlements that prints a line after each
//! confirmation.

use std::collections::{HashMap, HashSet};
use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use super::*;
use crate::draft::PIECE;

const FOLDER: &str = "POSTHOUSE_TEST_CRASH_FOLDER";

#[test]
fn confirmed_messages_survive_kill_9() {
    let folder = tempfile::tempdir().expect("folder");
    let mut confirmed = Confirmed::default();
    for round in 0..10_u64 {
        let mut child = start(folder.path());
        let mut lines = BufReader::new(child.stdout.take().expect("stdout"))
            .lines()
            .map_while(Result::ok);
        // Killed after an amount of work, not a time, so that slow machines are in the middle of it, too.
        let lines_before_kill = 20 + round * 61 % 97;
        for _ in 0..lines_before_kill {
            confirmed.note(&lines.next().expect("the child goes on for ever"));
        }
        std::thread::sleep(Duration::from_micros(round * 777));
        child.kill().expect("kill");
        lines.for_each(|line| confirmed.note(&line));
        child.wait().expect("wait");
        confirmed.check(folder.path());
    }
    assert!(
        confirmed.present.len() > 20,
        "only {} puts in all rounds",
        confirmed.present.len()
    );
    assert!(
        confirmed.settled.len() > 5,
        "only {} settled in all rounds",
        confirmed.settled.len()
    );
}

/// The messages that the child has confirmed.
#[derive(Default)]
struct Confirmed {
    /// Sizes of the messages put and not settled.
    present: HashMap<MessageId, usize>,
    /// Notices by the message that the child was settling: exactly one of the two must be present.
    settling: HashMap<MessageId, MessageId>,
    settled: HashSet<MessageId>,
}

impl Confirmed {
    fn note(&mut self, line: &str) {
        let words: Vec<_> = line.split(' ').collect();
        let id = |at: usize| words[at].parse::<MessageId>().expect("id");
        match words[0] {
            // Another task may settle a message before its own task has printed the put.
            "put" if !self.settled.contains(&id(1)) => {
                self.present.insert(id(1), words[2].parse().expect("size"));
            }
            "settling" => {
                self.settling.insert(id(1), id(2));
            }
            "settled" => {
                let notice = self.settling.remove(&id(1)).expect("printed before");
                self.present.remove(&id(1));
                self.present.insert(notice, 10);
                self.settled.insert(id(1));
            }
            _ => {}
        }
    }

    fn check(&mut self, path: &Path) {
        let (events, captured) = Events::capture();
        let spool = Spool::open(path, SpoolOptions::default(), events).expect("spool");
        assert!(!captured.ids().contains(&5016), "a crash must not damage anything");
        for (original, notice) in self.settling.drain() {
            let before = spool.get(original).expect("get").is_some();
            let after = spool.get(notice).expect("get").is_some();
            assert!(before != after, "settling is all or nothing: {before} {after}");
            if after {
                self.present.remove(&original);
                self.present.insert(notice, 10);
                self.settled.insert(original);
            }
        }
        for (id, size) in &self.present {
            assert_eq!(bytes_of(&spool, *id), pattern(*size), "{id}");
        }
        let large = std::fs::read_dir(path.join("large")).expect("folder").count();
        let expected = spool
            .list(&ListFilter {
                state: None,
                after: None,
                limit: usize::MAX,
            })
            .expect("list")
            .messages;
        assert_eq!(
            large,
            expected.iter().filter(|message| message.size > PIECE as u64).count()
        );
        // Unconfirmed messages may be there, too (killed between the put and its line), but only whole ones.
        for message in expected {
            assert_eq!(bytes_of(&spool, message.id).len() as u64, message.size);
        }
    }
}

fn start(folder: &Path) -> Child {
    Command::new(std::env::current_exe().expect("this binary"))
        .args([
            "--exact",
            "tests::crash::child",
            "--nocapture",
            "--ignored",
            "--test-threads=1",
        ])
        .env(FOLDER, folder)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("child")
}

#[test]
#[ignore = "run by confirmed_messages_survive_kill_9"]
fn child() {
    let Some(folder) = std::env::var_os(FOLDER) else { return };
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("runtime");
    runtime.block_on(async {
        let spool = open(Path::new(&folder));
        let tasks: Vec<_> = (0..4).map(|task| tokio::spawn(work(spool.clone(), task))).collect();
        for task in tasks {
            task.await.expect("task");
        }
    });
}

async fn work(spool: Spool, task: usize) {
    for round in 0.. {
        let size = if (round + task) % 7 == 3 {
            PIECE * 2 + round
        } else {
            round % 5000
        };
        let id = put(&spool, &pattern(size)).await;
        println!("\nput {id} {size}");
        if round % 3 == 0 {
            // Claims no notices, which are due later: the check follows a message to its notice only.
            let claim = spool.claim_due(Timestamp(2000), 1).pop().expect("a due message");
            let id = claim.message().id;
            let mut draft = spool.notice_draft();
            draft.write(&pattern(10)).await.expect("write");
            let notice = Message {
                due: Timestamp(u64::MAX - 1),
                ..message(draft.id())
            };
            println!("\nsettling {id} {}", notice.id);
            spool.settle(claim, None, vec![(draft, notice)]).await.expect("settle");
            // A kill during this pause leaves a settlement on the disk that was not printed.
            tokio::time::sleep(Duration::from_millis(2)).await;
            println!("\nsettled {id}");
        }
    }
}
