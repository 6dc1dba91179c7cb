//! Core dumps can be read by standard tools.

use wasmparser::{KnownCustom, Parser, Payload};

use crate::LoadRequest;
use crate::testing::{Bench, anna, load, path};
use host_mail::SessionId;

#[tokio::test]
async fn core_dump_has_frames_and_memory_of_the_trap() {
    let bench = Bench::misbehaving("panic", "sender").await;
    let folder = tempfile::tempdir().expect("a folder");
    let request = LoadRequest {
        core_dumps: Some(folder.path().to_owned()),
        ..load(None, None)
    };
    let active = bench.policies.load(request).await.expect("loaded");
    assert_eq!(Some(active.generation), active.previous, "the same generation goes on");

    let mut transaction = bench.policies.transaction(SessionId::generate());
    assert!(transaction.sender(&anna(), &path("anna@example.org")).await.fault);
    let file = bench.fault().core_dump.expect("a dump");
    let dump = std::fs::read(file).expect("the file is there");
    let (mut frames, mut modules, mut instances, mut memories) = (0, 0, 0, 0);
    for payload in Parser::new(0).parse_all(&dump) {
        match payload.expect("well formed") {
            Payload::MemorySection(section) => memories += section.count(),
            Payload::CustomSection(section) => match section.as_known() {
                KnownCustom::CoreDumpStack(stack) => frames += stack.frames.len(),
                KnownCustom::CoreDumpModules(known) => modules += known.modules.len(),
                KnownCustom::CoreDumpInstances(known) => instances += known.instances.len(),
                _ => {}
            },
            _ => {}
        }
    }
    assert!(frames > 3 && modules > 0 && instances > 0 && memories > 0);
    assert!(dump.windows(13).any(|window| window == b"told to panic"));
}

#[tokio::test]
async fn core_dump_folder_must_exist_and_be_absolute() {
    let bench = Bench::misbehaving("panic", "sender").await;
    for folder in ["/nowhere/at/all", "relative"] {
        let request = LoadRequest {
            core_dumps: Some(folder.into()),
            ..load(None, None)
        };
        let problems = bench.policies.load(request).await.expect_err("no such folder");
        assert_eq!(problems[0].key, "core-dumps");
    }
}
