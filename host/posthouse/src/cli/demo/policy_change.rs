//! The second act: a safe change of a policy on a busy host. A candidate runs as a shadow, is staged for one client
//! network, is promoted and is rolled back. Then a policy that faults during probation is rolled back automatically.

use anyhow::Result;
use serde_json::Value;

use crate::cli::demo::demo_client::DemoClient;
use crate::cli::demo::demo_site::{DemoSite, STRANGER};
use crate::cli::demo::homed_submission::homed_user_submits;

/// The demo's settings without the exemption of Q178091: every client must authenticate.
const STRICTER: &str = r#"{
  "accept": { "from": "authenticated" },
  "homing": { "required": true, "match-account": true }
}"#;

/// Maximum number of messages to send, more than the faults that end a policy's probation.
const ATTEMPTS: usize = 12;

pub(super) async fn play(site: &mut DemoSite) -> Result<()> {
    shadow_stricter_settings(site).await?;
    stage_and_promote(site).await?;
    automatic_rollback(site).await
}

/// Returns the reply code to MAIL for a client that does not authenticate.
async fn mail_from(site: &DemoSite, address: &str, who: &str) -> Result<u16> {
    let mut client = DemoClient::connect(site.address(), address, who).await?;
    client.hello().await?;
    let code = client.command(&format!("MAIL FROM:<{STRANGER}>")).await?.code;
    client.quit().await;
    Ok(code)
}

async fn shadow_stricter_settings(site: &mut DemoSite) -> Result<()> {
    site.title("8", "Stricter settings watch what comes in, and decide nothing");
    let arguments = ["policy", "shadow", "default.wasm", "--settings", STRICTER];
    site.expect_success("policy shadow default.wasm --settings STRICTER", &arguments)?;
    let code = mail_from(site, "127.0.0.2", "exempt host").await?;
    site.check("the exempt host is still served: 250", code == 250);
    homed_user_submits(site, "8", "and Anna notices nothing").await?;
    let differs = site
        .await_answer(&["policy", "diff", "--json"], |answer| {
            answer["comparison"]["compared"].as_u64() >= Some(2)
                && answer["comparison"]["different"].as_u64() >= Some(1)
        })
        .await?;
    site.check("policy diff: they would decide otherwise for some", differs);
    let (ok, text) = site.run_shown("policy diff", &["policy", "diff"])?;
    site.check("and its exit code says so to a script", !ok && text.contains("admit"));
    site.expect_success("policy shadow --stop", &["policy", "shadow", "--stop"])?;
    Ok(())
}

async fn stage_and_promote(site: &mut DemoSite) -> Result<()> {
    site.title("9", "They decide for the exempt host alone, then for everybody");
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
    site.expect_success(
        "policy stage default.wasm --settings STRICTER --clients 127.0.0.2/32 --for 10m",
        &arguments,
    )?;
    let code = mail_from(site, "127.0.0.2", "exempt host").await?;
    site.check("the exempt host must authenticate now: 530", code == 530);
    let before = generation(site)?;
    homed_user_submits(site, "9", "and Anna is still judged by the old ones").await?;
    site.expect_success("policy promote", &["policy", "promote"])?;
    let after = generation(site)?;
    site.check("the candidate is the active generation", after > before);
    let arguments = ["policy", "rollback", "--reason", "the old printers cannot authenticate"];
    site.expect_success(
        "policy rollback --reason 'the old printers cannot authenticate'",
        &arguments,
    )?;
    let code = mail_from(site, "127.0.0.2", "exempt host").await?;
    site.check("one command later the exempt host is exempt again: 250", code == 250);
    Ok(())
}

async fn automatic_rollback(site: &mut DemoSite) -> Result<()> {
    site.title("10", "A policy that faults is taken back by itself");
    let before = active_digest(site)?;
    site.load_policy("misbehaving.wasm", Some(r#"{"mode": "panic", "stage": "sender"}"#))?;
    let mark = site.events_so_far();
    let mut faults = 0;
    // Faults count by client network: a single client takes no policy back.
    for network in 1..=ATTEMPTS {
        let address = format!("127.0.{network}.1");
        if mail_from(site, &address, "client").await? != 451 {
            break;
        }
        faults += 1;
    }
    site.check("some mail is deferred, none is lost", faults > 0);
    let event = site.await_event(mark, 5024).await?;
    site.check("Event 5024: the policy was rolled back", event.is_some());
    homed_user_submits(site, "10", "and mail goes on as before").await?;
    site.check(
        "the code and settings before it are active again",
        active_digest(site)? == before,
    );
    let (ok, _) = site.run_shown("policy history", &["policy", "history"])?;
    site.check("policy history tells it all", ok);
    site.expect_refusal(
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

fn status(site: &DemoSite) -> Result<Value> {
    let (_, text) = site.posthouse(&["policy", "status", "--json"])?;
    Ok(serde_json::from_str(&text)?)
}

fn generation(site: &DemoSite) -> Result<u64> {
    Ok(status(site)?[0]["generation"].as_u64().unwrap_or_default())
}

/// Digest of the active code and settings.
fn active_digest(site: &DemoSite) -> Result<String> {
    Ok(status(site)?[0]["digest"].as_str().unwrap_or_default().to_owned())
}
