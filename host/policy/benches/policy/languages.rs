//! A decision in each language: a recipient is looked up in a list, by the first policy in Rust and by the policies
//! that `posthouse policy new --lang` makes.

use std::hint::black_box;
use std::path::Path;
use std::sync::Arc;

use criterion::{BenchmarkGroup, Criterion, measurement::WallTime};
use host_config::Config;
use host_contract::Question;
use host_engine::component::encode::component_of;
use host_engine::host_call::{Answer, Call, Caller, HostServices, NoAnswer};
use host_mail::Timestamp;
use host_policy::{LiveQuestion, PolicyHarness, Purpose};

use crate::scene::{Scene, built, carried, each, runtime, target};

/// Host services without answers: the decision makes no host call.
struct NoHost;

impl HostServices for NoHost {
    fn answer<'a>(
        &'a self,
        _: Caller<'a>,
        _: &'a Call,
    ) -> futures_util::future::BoxFuture<'a, Result<Answer, NoAnswer>> {
        Box::pin(async { Err(NoAnswer::Other("nothing is known".to_owned())) })
    }
}

pub fn measure(criterion: &mut Criterion) {
    let scene = Scene::new();
    let mut group = criterion.benchmark_group("a recipient on a list");
    let made = |language: &str| built(&format!("languages/{language}/new-homing/new-homing.wasm"));
    for (language, policy) in [
        ("Rust", carried("first_policy")),
        ("C", made("c")),
        ("JavaScript", made("javascript")),
        ("Python", made("python")),
    ] {
        if let Some(policy) = policy {
            measure_policy(&mut group, &scene, language, &policy);
        }
    }
}

fn measure_policy(group: &mut BenchmarkGroup<'_, WallTime>, scene: &Scene, language: &str, file: &Path) {
    let runtime = runtime();
    // The compilation of Python and JavaScript takes ten seconds and is cached.
    let cache = target().join("criterion/compiled");
    std::fs::create_dir_all(&cache).expect("a folder");
    let harness = PolicyHarness::new(Purpose::Time, scene.directory.clone(), Some(&cache)).expect("an engine");
    let text = "hostname = \"mail.example.org\"\nadministrator = \"anna@example.org\"\n[[policy]]\nname = \"measured\"\n\
                settings = { refuse = [\"nobody@example.org\"] }\n";
    let config = Config::parse(text, scene.folder()).expect("a configuration");
    let bytes = std::fs::read(file).expect("a policy");
    let bytes = component_of(bytes).expect("a component, or a core module with its types");
    let policy = runtime.block_on(async {
        let code = harness.compile(&bytes).await.expect("a component");
        harness
            .load(&code, bytes.len(), &config.policies[0])
            .await
            .expect("a policy")
    });
    let question: LiveQuestion = Question::Recipient {
        client: Arc::new(scene.client.clone()),
        sender: Arc::new(scene.sender.clone()),
        recipient: scene.recipient.clone(),
    };
    let mut session = harness.session(&policy, Arc::new(NoHost), Timestamp::now());
    group.bench_function(format!("{language}, fresh instance"), |bencher| {
        each(bencher, &runtime, async || {
            session.release();
            assert!(black_box(session.ask(&question).await).fault.is_none());
        });
    });
    group.bench_function(format!("{language}, warm"), |bencher| {
        each(bencher, &runtime, async || {
            assert!(black_box(session.ask(&question).await).fault.is_none());
        });
    });
}
