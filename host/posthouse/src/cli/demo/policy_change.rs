//! The second act: a policy is changed on a busy host, the careful way. It is tried on mail that was
//! seen, watches what comes, decides for one host, then for all; and the one that faults is taken
//! back by itself.

use anyhow::Result;
use serde_json::Value;

use super::{STRANGER, homed_user_submits};
use crate::cli::demo::demo_client::DemoClient;
use crate::cli::demo::demo_site::{ANNA, BERT, DemoSite};

/// As the demo's settings, but the exempt host of Q178091 must authenticate like everybody.
const STRICTER: &str = r#"{
  "accept": { "from": "authenticated" },
  "homing": { "required": true, "match-account": true }
}"#;

/// Faults that are too many for a policy on probation, and some.
const ATTEMPTS: usize = 12;

pub(super) async fn play(stage: &mut DemoSite) -> Result<()> {
    shadow(stage).await?;
    candidate_for_one_host(stage).await?;
    rolled_back(stage).await
}

/// The code with which MAIL is answered to a client that does not authenticate.
async fn mail_from(stage: &DemoSite, address: &str, who: &str) -> Result<u16> {
    let mut client = DemoClient::connect(stage.address(), address, who).await?;
    client.hello().await?;
    let code = client.command(&format!("MAIL FROM:<{STRANGER}>")).await?.code;
    client.quit().await;
    Ok(code)
}

async fn shadow(stage: &mut DemoSite) -> Result<()> {
    stage.title("8", "Stricter settings watch what comes in, and decide nothing");
    let arguments = ["policy", "shadow", "default.wasm", "--settings", STRICTER];
    stage.order("policy shadow default.wasm --settings STRICTER", &arguments)?;
    let code = mail_from(stage, "127.0.0.2", "exempt host").await?;
    stage.check("the exempt host is still served: 250", code == 250);
    homed_user_submits(stage, "8", "and Anna notices nothing").await?;
    let differs = stage
        .await_answer(&["policy", "diff", "--json"], |answer| {
            answer["comparison"]["compared"].as_u64() >= Some(2)
                && answer["comparison"]["different"].as_u64() >= Some(1)
        })
        .await?;
    stage.check("policy diff: they would decide otherwise for some", differs);
    let (ok, text) = stage.shown("policy diff", &["policy", "diff"])?;
    stage.check("and its exit code says so to a script", !ok && text.contains("admit"));
    stage.order("policy shadow --stop", &["policy", "shadow", "--stop"])?;
    Ok(())
}

async fn candidate_for_one_host(stage: &mut DemoSite) -> Result<()> {
    stage.title("9", "They decide for the exempt host alone, then for everybody");
    let arguments = [
        "policy",
        "stage",
        "default.wasm",
        "--settings",
        STRICTER,
        "--clients",
        "127.0.0.2/32",
        "--for",
        "10m",
    ];
    stage.order(
        "policy stage default.wasm --settings STRICTER --clients 127.0.0.2/32 --for 10m",
        &arguments,
    )?;
    let code = mail_from(stage, "127.0.0.2", "exempt host").await?;
    stage.check("the exempt host must authenticate now: 530", code == 530);
    let before = generation(stage)?;
    homed_user_submits(stage, "9", "and Anna is still judged by the old ones").await?;
    stage.order("policy promote", &["policy", "promote"])?;
    let after = generation(stage)?;
    stage.check("the candidate is the active generation", after > before);
    let arguments = ["policy", "rollback", "--reason", "the old printers cannot authenticate"];
    stage.order(
        "policy rollback --reason 'the old printers cannot authenticate'",
        &arguments,
    )?;
    let code = mail_from(stage, "127.0.0.2", "exempt host").await?;
    stage.check("one command later the exempt host is exempt again: 250", code == 250);
    Ok(())
}

async fn rolled_back(stage: &mut DemoSite) -> Result<()> {
    stage.title("10", "A policy that faults is taken back by itself");
    let before = settings_in_force(stage)?;
    stage.load_policy("misbehaving.wasm", Some(r#"{"mode": "panic", "stage": "sender"}"#))?;
    let mark = stage.events_so_far();
    let mut faults = 0;
    for _ in 0..ATTEMPTS {
        let mut anna = DemoClient::connect(stage.address(), "127.0.0.1", "anna").await?;
        anna.log_in(ANNA).await?;
        let reply = anna.submit(ANNA, BERT, "Is anybody there?", "Hello?").await?;
        anna.quit().await;
        if reply.code == 250 {
            break;
        }
        faults += 1;
    }
    stage.check("some of Anna's mail is deferred, none is lost", faults > 0);
    let event = stage.await_event(mark, 5024).await?;
    stage.check("Event 5024: the policy was rolled back", event.is_some());
    homed_user_submits(stage, "10", "and mail goes on as before").await?;
    stage.check(
        "the code and settings before it are active again",
        settings_in_force(stage)? == before,
    );
    let (ok, _) = stage.shown("policy history", &["policy", "history"])?;
    stage.check("policy history tells it all", ok);
    stage.order_refused(
        "policy load misbehaving.wasm",
        &[
            "policy",
            "load",
            "misbehaving.wasm",
            "--settings",
            r#"{"mode": "panic", "stage": "sender"}"#,
        ],
    )
}

fn status(stage: &DemoSite) -> Result<Value> {
    let (_, text) = stage.posthouse(&["policy", "status", "--json"])?;
    Ok(serde_json::from_str(&text)?)
}

fn generation(stage: &DemoSite) -> Result<u64> {
    Ok(status(stage)?[0]["generation"].as_u64().unwrap_or_default())
}

/// The digest of what is active.
fn settings_in_force(stage: &DemoSite) -> Result<String> {
    Ok(status(stage)?[0]["digest"].as_str().unwrap_or_default().to_owned())
}
