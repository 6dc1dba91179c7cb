//! `posthouse demo`: the story of Q178091 played against the real daemon over real TCP.
//!
//! Everything is as an operator would have it: the daemon is a process of its own, policies are
//! swapped by the command line, mail goes in by SMTP and comes out as files in a Maildir. Each
//! expectation is checked; the demo fails if one does not hold. The first act is the story of 1999;
//! the second is how a policy is changed so that there is no such story.

mod demo_client;
mod demo_site;
mod policy_change;

use anyhow::Result;

use crate::cli::demo::demo_client::DemoClient;
use crate::cli::demo::demo_site::{ADMIN, ANNA, BERT, DemoSite, SETTINGS};

/// An address nobody here knows.
const STRANGER: &str = "stranger@outside.example";

/// Plays the whole story. True if every expectation held.
pub async fn run() -> Result<bool> {
    let mut stage = DemoSite::set().await?;
    let told = story(&mut stage).await;
    if let Err(error) = &told {
        stage.check(&format!("the story could be told to its end: {error:#}"), false);
    }
    stage.strike().await?;
    Ok(stage.verdict())
}

async fn story(stage: &mut DemoSite) -> Result<()> {
    let pid = stage.pid();
    homed_user_submits(stage, "1", "A homed, authenticated user submits").await?;
    somebody_elses_address(stage).await?;
    stranger_without_exemption(stage).await?;
    stranger_from_the_exempt_host(stage).await?;
    the_policy_of_1999(stage).await?;
    policies_that_misbehave(stage, pid).await?;

    stage.title("7", "The good policy is loaded back");
    stage.load_policy("default.wasm", Some(SETTINGS))?;
    homed_user_submits(stage, "7", "and step 1 again works").await?;
    crate::cli::demo::policy_change::play(stage).await?;
    stage.check(
        "the daemon is the same process as at the start",
        stage.pid() == pid && stage.is_running()?,
    );
    Ok(())
}

async fn homed_user_submits(stage: &mut DemoSite, step: &str, title: &str) -> Result<()> {
    stage.title(step, title);
    let mark = stage.events_so_far();
    let mut anna = DemoClient::connect(stage.address(), "127.0.0.1", "anna").await?;
    anna.log_in(ANNA).await?;
    let reply = anna
        .submit(ANNA, BERT, "Lunch at noon?", "The new place by the river.")
        .await?;
    stage.check("the message is accepted with 250", reply.code == 250);
    stage.await_event(mark, 5007).await?;
    let delivered = stage.await_mail(BERT, "Subject: Lunch at noon?").await?;
    stage.check("it is in Bert's Maildir", delivered.is_some());
    if let Some(mail) = delivered {
        stage.show_file(&mail, 6);
    }
    stage.clear_mail(BERT)?;
    anna.quit().await;
    Ok(())
}

async fn somebody_elses_address(stage: &mut DemoSite) -> Result<()> {
    stage.title("2", "An authenticated user under somebody else's address");
    let mark = stage.events_so_far();
    let mut anna = DemoClient::connect(stage.address(), "127.0.0.1", "anna").await?;
    anna.log_in(ANNA).await?;
    let reply = anna.submit(BERT, BERT, "I am Bert", "No, I am Anna.").await?;
    stage.check(
        "the reply is 554 Originator address does not match authentication credentials",
        reply.code == 554
            && reply
                .text
                .contains("Originator address does not match authentication credentials"),
    );
    stage.check("Event 4151 says so", stage.await_event(mark, 4151).await?.is_some());
    anna.quit().await;
    Ok(())
}

async fn stranger_without_exemption(stage: &mut DemoSite) -> Result<()> {
    stage.title("3", "An unauthenticated stranger from a host that is not exempt");
    let mut stranger = DemoClient::connect(stage.address(), "127.0.0.3", "stranger").await?;
    stranger.hello().await?;
    let reply = stranger.command(&format!("MAIL FROM:<{STRANGER}>")).await?;
    stage.check("MAIL is refused with 530", reply.code == 530);
    stranger.quit().await;
    Ok(())
}

/// Steps 4 and 5 differ only in the policy that is loaded.
async fn submit_from_exempt_host(stage: &mut DemoSite, subject: &str) -> Result<()> {
    let mut stranger = DemoClient::connect(stage.address(), "127.0.0.2", "exempt host").await?;
    stranger.hello().await?;
    let reply = stranger.submit(STRANGER, BERT, subject, "Nobody knows me.").await?;
    stage.check("the message is accepted with 250", reply.code == 250);
    stranger.quit().await;
    Ok(())
}

async fn administrator_is_told(stage: &mut DemoSite, subject: &str) -> Result<()> {
    let report = stage.await_mail(ADMIN, subject).await?;
    let text = report
        .as_deref()
        .map(crate::cli::demo::demo_site::read)
        .unwrap_or_default();
    stage.check(
        "an RFC 3464 report is in the administrator's Maildir",
        text.contains("multipart/report")
            && text.contains("report-type=delivery-status")
            && text.contains("Action: failed")
            && text.contains("Return-Path: <>"),
    );
    if let Some(report) = &report {
        stage.show_file(report, 45);
    }
    stage.check(
        "the sender is not told: nothing waits for the outside",
        !stage.told(STRANGER) && stage.queue_is_empty()?,
    );
    stage.check("Bert did not get it", stage.mail(BERT)?.is_empty());
    stage.clear_mail(ADMIN)
}

async fn stranger_from_the_exempt_host(stage: &mut DemoSite) -> Result<()> {
    stage.title("4", "A stranger's message from the exempt host, 127.0.0.2");
    submit_from_exempt_host(stage, "Hello from 1999").await?;
    administrator_is_told(stage, "Hello from 1999").await?;
    stage.check("nothing crashed", stage.is_running()?);
    Ok(())
}

async fn the_policy_of_1999(stage: &mut DemoSite) -> Result<()> {
    stage.title("5", "The policy of 1999 is loaded, and step 4 happens again");
    let mut anna = DemoClient::connect(stage.address(), "127.0.0.1", "anna").await?;
    anna.log_in(ANNA).await?;
    stage.load_policy("q178091.wasm", None)?;
    let mark = stage.events_so_far();
    submit_from_exempt_host(stage, "Hello again from 1999").await?;

    let fault = stage.await_event(mark, 4037).await?;
    let field = |name: &str| {
        fault
            .as_ref()
            .and_then(|event| event.pointer(&format!("/fields/fault/{name}")))
            .map(ToString::to_string)
            .unwrap_or_default()
    };
    stage.check("Event 4037: the policy panicked", field("class").contains("panic"));
    stage.check(
        "it names policy, digest, generation and stage",
        ["policy", "digest", "generation"]
            .iter()
            .all(|name| !field(name).is_empty())
            && field("stage").contains("ndr"),
    );
    stage.check(
        "it names the guest's function and file:line",
        field("location").contains("lib.rs:") && field("function").contains("plan"),
    );
    stage.check("it quotes the panic", field("stderr").contains("None"));
    stage.check(
        "Event 4120 says what was sent instead",
        stage.await_event(mark, 4120).await?.is_some(),
    );
    administrator_is_told(stage, "Hello again from 1999").await?;

    let reply = anna
        .submit(ANNA, BERT, "Still here", "I was logged in all the time.")
        .await?;
    stage.check(
        "Anna's session, open all the time, goes on",
        reply.code == 250 && stage.await_mail(BERT, "Subject: Still here").await?.is_some(),
    );
    stage.clear_mail(BERT)?;
    anna.quit().await;
    Ok(())
}

async fn policies_that_misbehave(stage: &mut DemoSite, pid: u32) -> Result<()> {
    stage.title("6", "Policies that loop, eat memory, and lie");
    for (mode, at, class) in [
        ("loop", "sender", "cpu-timeout"),
        ("eat-memory", "sender", "memory"),
        ("lie-reply", "sender", "lie"),
        ("forge-address", "message", "lie"),
    ] {
        let settings = format!("{{\"mode\": \"{mode}\", \"stage\": \"{at}\"}}");
        stage.load_policy("misbehaving.wasm", Some(&settings))?;
        let mark = stage.events_so_far();
        let mut anna = DemoClient::connect(stage.address(), "127.0.0.1", "anna").await?;
        anna.log_in(ANNA).await?;
        let reply = anna.submit(ANNA, BERT, mode, "Will this go through?").await?;
        stage.check(
            &format!("{mode}: the client is told to come back: 451"),
            reply.code == 451,
        );
        let fault = stage.await_event(mark, 4037).await?;
        let found = fault
            .as_ref()
            .and_then(|event| event.pointer("/fields/fault/class"))
            .and_then(|class| class.as_str());
        stage.check(&format!("{mode}: Event 4037 of class {class}"), found == Some(class));
        stage.check(
            &format!("{mode}: the daemon's process id is unchanged"),
            stage.pid() == pid && stage.is_running()?,
        );
        anna.quit().await;
    }
    Ok(())
}
