//! The life cycle of a policy in a running daemon: check, load, history, rollback and the watched folder.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use posthouse_tests::{Client, Daemon, PASSWORD, Site, eventually, example, guest};
use serde_json::Value;

const GOOD: &str = "{}";
const BAD: &str = r#"{"mode": "panic", "stage": "sender"}"#;

fn json(site: &Site, arguments: &[&str]) -> Value {
    let said = site.cli(&[arguments, &["--json"]].concat());
    serde_json::from_str(&said.stdout).unwrap_or_else(|error| panic!("{error}: {said:?}"))
}

fn load(site: &Site, file: &Path, settings: &str) -> String {
    let file = file.to_string_lossy();
    site.cli(&["policy", "load", &file, "--settings", settings, "--reason", "a test"])
        .ok()
}

/// Sends MAIL FROM as a homed user and returns the reply code.
fn mail_from(daemon: &Daemon) -> u16 {
    let mut client = daemon.connect();
    client.login("anna", PASSWORD);
    client.send(b"MAIL FROM:<anna@posthouse.test>\r\n");
    let code = client.reply().expect("a reply").code;
    client.quit();
    code
}

/// Waits for the result of pre-initialisation in `policy status` of the only module.
fn preinitialisation_result(site: &Site) -> String {
    eventually("the settings to be taken in, or not", || {
        let status = json(site, &["policy", "status"]);
        let said = status[0]["prepared"].as_str().expect("a text").to_owned();
        (said != "not yet").then_some(said)
    })
}

#[test]
fn preinitialises_instances_with_settings() {
    let mut site = Site::new();
    site.set("policy-engine.prepare-after", "1ms");
    let daemon = site.start();
    assert_eq!(preinitialisation_result(&site), "yes");
    assert_eq!(mail_from(&daemon), 250);
    // New settings get new instances; the location of a fault is still found.
    load(&site, &example("misbehaving"), BAD);
    assert_eq!(preinitialisation_result(&site), "yes");
    assert_eq!(mail_from(&daemon), 451);
    let fault = daemon.events().take(4037);
    let location = fault.fields["fault"]["location"].as_str().unwrap_or_default();
    assert!(location.contains("mischief.rs:"), "{fault:?}");
    // A policy that uses random numbers is not pre-initialised: each instance draws new numbers.
    load(
        &site,
        &example("misbehaving"),
        r#"{"mode": "panic", "stage": "configure", "chance": 0}"#,
    );
    assert!(preinitialisation_result(&site).contains("wasi:random"));
    assert_eq!(mail_from(&daemon), 250);
    let (status, _) = daemon.stop();
    assert!(status.success());
}

#[test]
fn history_lists_generations_and_rollback_needs_no_file() {
    let site = Site::new();
    let daemon = site.start();
    let misbehaving = example("misbehaving");
    load(&site, &misbehaving, GOOD);
    let said = load(&site, &misbehaving, BAD);
    assert!(
        said.contains("settings  added: mode, stage") && said.contains("was 2"),
        "{said}"
    );
    assert_eq!(mail_from(&daemon), 451);
    let said = site.cli(&["policy", "rollback", "--reason", "it panics"]).ok();
    assert!(said.contains("settings  removed: mode, stage"), "{said}");
    let event = daemon.events().take(5024);
    assert_eq!(
        (event.text("reason").as_str(), event.text("to").as_str()),
        ("it panics", "2")
    );
    assert_eq!(mail_from(&daemon), 250);
    // A second rollback goes further back, even after a restart.
    let (status, _) = daemon.stop();
    assert!(status.success());
    let daemon = site.start();
    let done = json(&site, &["policy", "rollback"]);
    assert_eq!(
        (done["generation"].as_u64(), done["previous"].as_u64()),
        (Some(5), Some(4))
    );
    let history = json(&site, &["policy", "history"]);
    let how: Vec<_> = history[0]["activations"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|past| (past["how"].as_str().unwrap_or_default(), past["back-to"].as_u64()))
        .collect();
    assert_eq!(
        how,
        [
            ("rollback", Some(1)),
            ("rollback", Some(2)),
            ("load", None),
            ("load", None),
            ("start", None)
        ]
    );
    let text = site.cli(&["policy", "history", "--as", "main"]).ok();
    assert!(
        text.contains("it panics") && text.contains("nothing to go back to"),
        "{text}"
    );
    let said = site.cli(&["policy", "rollback"]).failed();
    assert!(said.contains("nothing else was active"), "{said}");
    let said = site.cli(&["policy", "rollback", "77"]).failed();
    assert!(said.contains("generation 77 is not in the history"), "{said}");
    assert_eq!(mail_from(&daemon), 250);
}

#[test]
fn activation_is_atomic_under_kill() {
    let site = Arc::new(Site::new());
    let files = [example("misbehaving"), example("q178091")];
    for round in 0..5_u64 {
        let daemon = site.start();
        let stop = Arc::new(AtomicBool::new(false));
        let loader = {
            let (site, stop, files) = (Arc::clone(&site), Arc::clone(&stop), files.clone());
            std::thread::spawn(move || {
                for n in 0.. {
                    if stop.load(Ordering::Relaxed) {
                        break;
                    }
                    let file = files[n % 2].to_string_lossy().into_owned();
                    // The daemon may have been killed.
                    let _ = site.cli(&["policy", "load", &file, "--settings", "{}"]);
                }
            })
        };
        daemon.events().take(5003);
        // A fixed sleep on purpose: the moment of the kill is arbitrary.
        std::thread::sleep(Duration::from_millis(
            150 + round * 137 + u64::from(std::process::id()) % 50,
        ));
        let before = daemon.kill();
        stop.store(true, Ordering::Relaxed);
        loader.join().expect("the loader");
        let last = before.all(5003).last().expect("an activation").fields["generation"].as_u64();
        assert!(last.is_some(), "the generation is a number");

        let daemon = site.start();
        let status = json(&site, &["policy", "status"]);
        assert_eq!(status[0]["health"], "running", "{status}");
        // An announced activation is durable; a durable activation may not have been announced.
        assert!(status[0]["generation"].as_u64() >= last, "{last:?} {status}");
        assert!(daemon.events().all(5012).is_empty() && daemon.events().all(5005).is_empty());
        let (status, _) = daemon.stop();
        assert!(status.success());
    }
}

#[test]
fn check_reports_the_problems_of_a_load_without_changes() {
    let site = Site::new();
    let file = example("misbehaving");
    let file = file.to_string_lossy();
    let offline = site.cli(&["policy", "check", &file, "--settings", BAD]).ok();
    assert!(
        offline.ends_with("OK\n") && offline.contains("contract 0."),
        "{offline}"
    );
    let refused = site
        .cli(&["policy", "check", &file, "--settings", r#"{"mode": "dance"}"#])
        .failed();
    assert!(refused.contains("settings"), "{refused}");
    for (name, reason) in [
        ("core-module", "core module"),
        ("imports-http", "wasi:http"),
        ("other-contract", "9.0.0"),
        ("endless-configure", "cpu-timeout"),
    ] {
        let file = guest(name, site.path());
        let said = site.cli(&["policy", "check", &file.to_string_lossy()]).failed();
        assert!(said.contains(reason), "{name}: {said}");
    }
    let daemon = site.start();
    let checked = json(&site, &["policy", "check", &file, "--settings", GOOD, "--running"]);
    assert_eq!(
        (checked["active"].as_u64(), &checked["problems"]),
        (Some(1), &serde_json::json!([]))
    );
    let file = guest("endless-configure", site.path());
    let said = site
        .cli(&["policy", "check", &file.to_string_lossy(), "--running"])
        .failed();
    assert!(said.contains("cpu-timeout"), "{said}");
    let status = json(&site, &["policy", "status"]);
    assert_eq!(status[0]["generation"], 1);
    assert!(daemon.events().all(4037).is_empty() && daemon.events().all(5004).is_empty());
}

#[test]
fn inspects_a_component_without_running_the_code() {
    let site = Site::new();
    let inspect = |file: &Path| {
        let output = posthouse_tests::run(
            std::process::Command::new(posthouse_tests::posthouse())
                .args(["policy", "inspect"])
                .arg(file),
            "",
        );
        (output.status.success(), output.text())
    };
    let (good, said) = inspect(&example("posthouse-default-policy"));
    assert!(good, "{said}");
    assert!(
        said.contains("grants = [\"directory\"") && said.contains("exemption, homing, ndr"),
        "{said}"
    );
    assert!(said.contains("language") && said.contains("Rust"), "{said}");
    let (good, said) = inspect(&guest("imports-http", site.path()));
    assert!(
        !good && said.contains("wasi:http") && said.contains("PROBLEM"),
        "{said}"
    );
}

#[test]
fn load_reports_unfinished_work_of_the_previous_generation() {
    let site = Site::new();
    let daemon = site.start();
    let mut client = daemon.connect_from("127.0.0.3");
    client.ehlo();
    client.command("MAIL FROM:<a@example.com>", 250);
    let said = load(&site, &example("misbehaving"), GOOD);
    assert!(
        said.contains("1 unit(s) of work in hand finish with generation 1, the oldest since 2"),
        "{said}"
    );
    let status = json(&site, &["policy", "status"]);
    let draining = &status[0]["draining"][0];
    assert_eq!(
        (&draining["generation"], &draining["units"]),
        (&1.into(), &1.into()),
        "{status:#}"
    );
    let (oldest, replaced) = (draining["oldest"].as_u64(), draining["since"].as_u64());
    assert!(oldest.is_some() && oldest <= replaced, "{status:#}");
    let said = site.cli(&["policy", "status"]).ok();
    assert!(said.contains("1 units of work, the oldest since 2"), "{said}");
    client.quit();
    eventually("an end of the work", || {
        let status = json(&site, &["policy", "status"]);
        (status[0]["draining"] == serde_json::json!([])).then_some(())
    });
}

/// Writes a file outside the folder and renames the file into the folder, as an operator should.
fn move_in(site: &Site, folder: &Path, name: &str, bytes: &[u8]) {
    let made = site.file(&format!("{name}.part"), bytes);
    std::fs::rename(made, folder.join(name)).expect("moved");
}

#[test]
fn loads_components_moved_into_the_watched_folder() {
    let mut site = Site::new();
    site.set("policy-engine.watch", "watched");
    let folder = site.path().join("watched");
    let daemon = site.start();
    // The folder does not exist yet: a single event is emitted, and the daemon waits for the folder.
    let event = daemon.events().take(5041);
    assert!(event.text("error").contains("No such file"), "{event:?}");
    std::fs::create_dir(&folder).expect("made");
    daemon.events().take(5042);

    let good = std::fs::read(example("misbehaving")).expect("built");
    // A partial component written in place is ignored.
    std::fs::write(folder.join("main.wasm"), &good[..good.len() / 2]).expect("written");
    move_in(&site, &folder, "main.json", BAD.as_bytes());
    move_in(&site, &folder, "main.wasm", &good);
    daemon.events().take(5003);
    let event = daemon.events().take(5003);
    assert_eq!(event.text("by"), "watch", "{event:?}");
    assert!(daemon.events().all(5004).is_empty(), "half a file was looked at");
    assert_eq!(mail_from(&daemon), 451, "the settings beside it hold");

    // A bad component leaves the old component in force, with an event each time.
    for _ in 0..2 {
        move_in(&site, &folder, "main.wasm", &good[..good.len() / 2]);
        let event = daemon.events().take(5004);
        assert!(event.text("problems").contains("truncated"), "{event:?}");
    }
    move_in(&site, &folder, "nobody.wasm", &good);
    let event = daemon.events().take(5004);
    assert!(event.text("problems").contains("not one of main"), "{event:?}");
    assert_eq!(mail_from(&daemon), 451);

    // A file moved in while the host is stopped is loaded at the start; an unchanged file is not loaded again.
    let (status, _) = daemon.stop();
    assert!(status.success());
    std::fs::remove_file(folder.join("nobody.wasm")).expect("removed");
    move_in(&site, &folder, "main.json", GOOD.as_bytes());
    move_in(&site, &folder, "main.wasm", &good);
    let daemon = site.start();
    let event = eventually("the watched file", || {
        let mut all = daemon.events().all(5003);
        all.pop().filter(|event| event.text("by") == "watch" && all.len() == 1)
    });
    assert_eq!(event.text("policy"), "main");
    assert_eq!(mail_from(&daemon), 250);
    load(&site, &example("misbehaving"), BAD);
    let (status, _) = daemon.stop();
    assert!(status.success());
    let daemon = site.start();
    // Removal of the folder is an event and does not stop the daemon.
    std::fs::remove_dir_all(&folder).expect("removed");
    daemon.events().take(5041);
    assert_eq!(mail_from(&daemon), 451, "what an operator loaded later stays");
    std::fs::create_dir(&folder).expect("made");
    daemon.events().take(5042);
    move_in(&site, &folder, "main.json", GOOD.as_bytes());
    move_in(&site, &folder, "main.wasm", &good);
    eventually("the old state of affairs", || (mail_from(&daemon) == 250).then_some(()));
}

#[test]
fn changes_the_order_of_the_chain_under_traffic() {
    let mut site = Site::new();
    let bad = example("misbehaving").to_string_lossy().into_owned();
    let module = |name: &str| -> toml::Value {
        let text = match name {
            "good" => "name = 'good'".to_owned(),
            _ => format!("name = 'bad'\nfile = '{bad}'\nsettings = {{ mode = 'panic', stage = 'sender' }}"),
        };
        text.parse::<toml::Table>().expect("TOML").into()
    };
    let write = |site: &mut Site, order: [&str; 2]| {
        site.set("policy", order.map(module).to_vec());
    };
    write(&mut site, ["good", "bad"]);
    let daemon = site.start();
    let address = daemon.address("smtp");
    let stop = Arc::new(AtomicBool::new(false));
    let clients: Vec<_> = (0..3)
        .map(|_| {
            let stop = Arc::clone(&stop);
            std::thread::spawn(move || {
                let mut codes = Vec::new();
                while !stop.load(Ordering::Relaxed) {
                    let mut client = Client::connect(address, None);
                    client.expect_reply(220);
                    client.ehlo();
                    client.send(b"MAIL FROM:<world@example.net>\r\n");
                    codes.push(client.reply().expect("a reply").code);
                    client.quit();
                }
                codes
            })
        })
        .collect();
    for round in 0..6 {
        let order = if round % 2 == 0 {
            ["bad", "good"]
        } else {
            ["good", "bad"]
        };
        write(&mut site, order);
        let said = site.cli(&["reload"]).ok();
        assert!(said.contains(&format!("in the order {}", order.join(", "))), "{said}");
        let status = json(&site, &["policy", "status"]);
        assert_eq!(
            (&status[0]["module"], &status[0]["generation"]),
            (&order[0].into(), &expected_generation(order[0]))
        );
    }
    stop.store(true, Ordering::Relaxed);
    let codes: Vec<u16> = clients
        .into_iter()
        .flat_map(|client| client.join().expect("a client"))
        .collect();
    assert!(!codes.is_empty());
    // Each client was answered by a chain in either order, never by a mixture.
    assert!(
        codes.iter().all(|code| [250, 451, 530, 550].contains(code)),
        "{codes:?}"
    );
    assert!(daemon.events().all(5019).is_empty() && daemon.events().all(5004).is_empty());
}

/// Returns the expected generation of a module, which does not change when the module moves within the chain.
fn expected_generation(module: &str) -> Value {
    if module == "good" { 1.into() } else { 2.into() }
}
