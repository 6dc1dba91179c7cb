//! `posthouse demo`: replays the incident of Q178091 against a real daemon over TCP.
//!
//! The set-up is an operator's: the daemon is a separate process, the command line loads policies, mail is submitted by
//! SMTP and delivered as files of a Maildir. Every expectation is checked; the demo fails if an expectation is not met.
//! The first act is the incident of 1999; the second act changes a policy safely, with shadow, stage and rollback.

mod demo_client;
mod demo_site;
mod homed_submission;
mod policy_change;

use anyhow::Result;

use crate::cli::demo::demo_client::DemoClient;
use crate::cli::demo::demo_site::{ADMIN, ANNA, BERT, DemoSite, SETTINGS, STRANGER};
use crate::cli::demo::homed_submission::homed_user_submits;

/// Plays the whole demo. Returns true if every expectation was met.
pub async fn run() -> Result<bool> {
    let mut site = DemoSite::start().await?;
    let outcome = story(&mut site).await;
    if let Err(error) = &outcome {
        site.check(&format!("the story could be told to its end: {error:#}"), false);
    }
    site.stop().await?;
    Ok(site.print_result())
}

async fn story(site: &mut DemoSite) -> Result<()> {
    let pid = site.pid();
    homed_user_submits(site, "1", "A homed, authenticated user submits").await?;
    submission_under_another_address(site).await?;
    stranger_without_exemption(site).await?;
    stranger_from_the_exempt_host(site).await?;
    the_policy_of_1999(site).await?;
    policies_that_misbehave(site, pid).await?;

    site.title("7", "The good policy is loaded back");
    site.load_policy("default.wasm", Some(SETTINGS))?;
    homed_user_submits(site, "7", "and step 1 again works").await?;
    policy_change::play(site).await?;
    site.check(
        "the daemon is the same process as at the start",
        site.pid() == pid && site.is_running()?,
    );
    Ok(())
}

async fn submission_under_another_address(site: &mut DemoSite) -> Result<()> {
    site.title("2", "An authenticated user under somebody else's address");
    let mark = site.events_so_far();
    let mut anna = DemoClient::connect(site.address(), "127.0.0.1", "anna").await?;
    anna.log_in(ANNA).await?;
    let reply = anna.submit(BERT, BERT, "I am Bert", "No, I am Anna.").await?;
    site.check(
        "the reply is 554 Originator address does not match authentication credentials",
        reply.code == 554
            && reply
                .text
                .contains("Originator address does not match authentication credentials"),
    );
    site.check("Event 4151 says so", site.await_event(mark, 4151).await?.is_some());
    anna.quit().await;
    Ok(())
}

async fn stranger_without_exemption(site: &mut DemoSite) -> Result<()> {
    site.title("3", "An unauthenticated stranger from a host that is not exempt");
    let mut stranger = DemoClient::connect(site.address(), "127.0.0.3", "stranger").await?;
    stranger.hello().await?;
    let reply = stranger.command(&format!("MAIL FROM:<{STRANGER}>")).await?;
    site.check("MAIL is refused with 530", reply.code == 530);
    stranger.quit().await;
    Ok(())
}

/// Submits a stranger's message from the exempt host. Steps 4 and 5 differ only in the loaded policy.
async fn submit_from_exempt_host(site: &mut DemoSite, subject: &str) -> Result<()> {
    let mut stranger = DemoClient::connect(site.address(), "127.0.0.2", "exempt host").await?;
    stranger.hello().await?;
    let reply = stranger.submit(STRANGER, BERT, subject, "Nobody knows me.").await?;
    site.check("the message is accepted with 250", reply.code == 250);
    stranger.quit().await;
    Ok(())
}

async fn administrator_is_notified(site: &mut DemoSite, subject: &str) -> Result<()> {
    let report = site.await_mail(ADMIN, subject).await?;
    let text = report.as_deref().map(demo_site::read).unwrap_or_default();
    site.check(
        "an RFC 3464 report is in the administrator's Maildir",
        text.contains("multipart/report")
            && text.contains("report-type=delivery-status")
            && text.contains("Action: failed")
            && text.contains("Return-Path: <>"),
    );
    if let Some(report) = &report {
        site.show_file(report, 45);
    }
    site.check(
        "the sender is not told: nothing waits for the outside",
        !site.was_notified(STRANGER) && site.queue_is_empty()?,
    );
    site.check("Bert did not get it", site.mail(BERT)?.is_empty());
    site.clear_mail(ADMIN)
}

async fn stranger_from_the_exempt_host(site: &mut DemoSite) -> Result<()> {
    site.title("4", "A stranger's message from the exempt host, 127.0.0.2");
    submit_from_exempt_host(site, "Hello from 1999").await?;
    administrator_is_notified(site, "Hello from 1999").await?;
    site.check("nothing crashed", site.is_running()?);
    Ok(())
}

async fn the_policy_of_1999(site: &mut DemoSite) -> Result<()> {
    site.title("5", "The policy of 1999 is loaded, and step 4 happens again");
    let mut anna = DemoClient::connect(site.address(), "127.0.0.1", "anna").await?;
    anna.log_in(ANNA).await?;
    site.load_policy("q178091.wasm", None)?;
    let mark = site.events_so_far();
    submit_from_exempt_host(site, "Hello again from 1999").await?;

    let fault = site.await_event(mark, 4037).await?;
    let field = |name: &str| {
        fault
            .as_ref()
            .and_then(|event| event.pointer(&format!("/fields/fault/{name}")))
            .map(ToString::to_string)
            .unwrap_or_default()
    };
    site.check("Event 4037: the policy panicked", field("class").contains("panic"));
    site.check(
        "it names policy, digest, generation and stage",
        ["policy", "digest", "generation"]
            .iter()
            .all(|name| !field(name).is_empty())
            && field("stage").contains("ndr"),
    );
    site.check(
        "it names the guest's function and file:line",
        field("location").contains("lib.rs:") && field("function").contains("plan"),
    );
    site.check("it quotes the panic", field("stderr").contains("None"));
    site.check(
        "Event 4120 says what was sent instead",
        site.await_event(mark, 4120).await?.is_some(),
    );
    administrator_is_notified(site, "Hello again from 1999").await?;

    let reply = anna
        .submit(ANNA, BERT, "Still here", "I was logged in all the time.")
        .await?;
    site.check(
        "Anna's session, open all the time, goes on",
        reply.code == 250 && site.await_mail(BERT, "Subject: Still here").await?.is_some(),
    );
    site.clear_mail(BERT)?;
    anna.quit().await;
    Ok(())
}

async fn policies_that_misbehave(site: &mut DemoSite, pid: u32) -> Result<()> {
    site.title("6", "Policies that loop, eat memory, and answer nonsense");
    for (mode, at, class) in [
        ("loop", "sender", "cpu-timeout"),
        ("eat-memory", "sender", "memory"),
        ("lie-reply", "sender", "invalid-answer"),
        ("forge-address", "message", "invalid-answer"),
    ] {
        let settings = format!("{{\"mode\": \"{mode}\", \"stage\": \"{at}\"}}");
        site.load_policy("misbehaving.wasm", Some(&settings))?;
        let mark = site.events_so_far();
        let mut anna = DemoClient::connect(site.address(), "127.0.0.1", "anna").await?;
        anna.log_in(ANNA).await?;
        let reply = anna.submit(ANNA, BERT, mode, "Will this go through?").await?;
        site.check(
            &format!("{mode}: the client is told to come back: 451"),
            reply.code == 451,
        );
        let fault = site.await_event(mark, 4037).await?;
        let found = fault
            .as_ref()
            .and_then(|event| event.pointer("/fields/fault/class"))
            .and_then(|class| class.as_str());
        site.check(&format!("{mode}: Event 4037 of class {class}"), found == Some(class));
        site.check(
            &format!("{mode}: the daemon's process id is unchanged"),
            site.pid() == pid && site.is_running()?,
        );
        anna.quit().await;
    }
    Ok(())
}
