//! The engine alone, with a guest that does nothing: the cost of crossing the boundary, by the data that crosses.

use std::hint::black_box;
use std::time::Instant;

use criterion::{BenchmarkGroup, BenchmarkId, Criterion, Throughput, measurement::WallTime};
use tokio::runtime::Runtime;
use wasmtime::component::{Component, ComponentNamedList, Instance, InstancePre, Lift, Linker, Lower, TypedFunc};
use wasmtime::{Config, Engine, InstanceAllocationStrategy, PoolingAllocationConfig, Store};

use crate::scene::{each, runtime};

const GUEST: &str = include_str!("boundary.wat");
/// Number of host calls that the guest makes in a call.
const CALLS: u64 = 1_000;

struct Guest {
    runtime: Runtime,
    store: Store<()>,
    instance: Instance,
}

impl Guest {
    async fn instance(pre: &InstancePre<()>) -> (Store<()>, Instance) {
        let mut store = Store::new(pre.engine(), ());
        store.set_epoch_deadline(1);
        let instance = pre.instantiate_async(&mut store).await.expect("an instance");
        (store, instance)
    }

    fn new(pre: &InstancePre<()>) -> Self {
        let runtime = runtime();
        let (store, instance) = runtime.block_on(Self::instance(pre));
        Self {
            runtime,
            store,
            instance,
        }
    }

    fn function<P, R>(&mut self, name: &str) -> TypedFunc<P, R>
    where
        P: ComponentNamedList + Lower,
        R: ComponentNamedList + Lift,
    {
        let function = self.instance.get_typed_func(&mut self.store, name);
        function.expect("a function of this type")
    }

    /// Measures a function with an argument, which is made for each call at almost no cost.
    fn measure<P, R>(
        &mut self,
        group: &mut BenchmarkGroup<'_, WallTime>,
        name: impl Into<BenchmarkName>,
        (function, argument): (&str, P),
    ) where
        P: ComponentNamedList + Lower + Clone + Send + Sync + 'static,
        R: ComponentNamedList + Lift + Send + Sync + 'static,
    {
        let function: TypedFunc<P, R> = self.function(function);
        let Self { runtime, store, .. } = self;
        group.bench_function(name.into().0, |bencher| {
            each(bencher, runtime, async || {
                let answer = function.call_async(&mut *store, black_box(argument.clone())).await;
                black_box(answer.expect("an answer"));
            });
        });
    }
}

/// The name of a benchmark, with or without a size.
struct BenchmarkName(BenchmarkId);

impl From<&str> for BenchmarkName {
    fn from(name: &str) -> Self {
        Self(BenchmarkId::from_parameter(name))
    }
}

impl From<(&str, usize)> for BenchmarkName {
    fn from((name, size): (&str, usize)) -> Self {
        Self(BenchmarkId::new(name, size))
    }
}

pub fn measure(criterion: &mut Criterion) {
    let pre = guest().expect("the guest is part of the repository");
    instances(criterion, &pre);
    arguments(criterion, &mut Guest::new(&pre));
    answers(criterion, &mut Guest::new(&pre));
    imports(criterion, &mut Guest::new(&pre));
}

/// Makes an engine like the daemon's: pooled, interruptible, asynchronous.
fn guest() -> wasmtime::Result<InstancePre<()>> {
    let mut pool = PoolingAllocationConfig::new();
    pool.total_memories(8)
        .total_core_instances(32)
        .total_component_instances(8);
    pool.linear_memory_keep_resident(128 * 1024)
        .table_keep_resident(128 * 1024);
    let mut config = Config::new();
    config.concurrency_support(false).epoch_interruption(true);
    config.allocation_strategy(InstanceAllocationStrategy::Pooling(pool));
    let engine = Engine::new(&config)?;
    let mut linker = Linker::new(&engine);
    let mut root = linker.root();
    root.func_wrap("nothing", |_, (): ()| Ok(()))?;
    root.func_wrap_async("later", |_, (): ()| Box::new(async { Ok(()) }))?;
    root.func_wrap("text", |_, (text,): (String,)| {
        black_box(text);
        Ok(())
    })?;
    let component = wat::parse_str(GUEST).expect("the guest is part of the repository");
    linker.instantiate_pre(&Component::new(&engine, component)?)
}

fn instances(criterion: &mut Criterion, pre: &InstancePre<()>) {
    let runtime = runtime();
    let mut group = criterion.benchmark_group("boundary: instances");
    group.bench_function("made and dropped", |bencher| {
        each(bencher, &runtime, async || {
            black_box(Guest::instance(pre).await);
        });
    });
    group.bench_function("made, trapped and dropped", |bencher| {
        each(bencher, &runtime, async || {
            let (mut store, instance) = Guest::instance(pre).await;
            let trap = instance.get_typed_func::<(), ()>(&mut store, "trap");
            let trap = trap.expect("a function").call_async(&mut store, ()).await;
            black_box(trap.expect_err("a trap"));
        });
    });
}

fn arguments(criterion: &mut Criterion, guest: &mut Guest) {
    let mut group = criterion.benchmark_group("boundary: arguments");
    guest.measure::<(), ()>(&mut group, "nothing", ("nothing", ()));
    for size in [16, 256, 4096, 65536] {
        group.throughput(Throughput::Bytes(size as u64));
        let text: std::sync::Arc<str> = "x".repeat(size).into();
        guest.measure::<_, ()>(&mut group, ("a text of bytes", size), ("take-text", (text,)));
    }
    for size in [256, 4096, 65536] {
        group.throughput(Throughput::Bytes(size as u64));
        let bytes: std::sync::Arc<[u8]> = vec![0_u8; size].into();
        guest.measure::<_, ()>(&mut group, ("bytes", size), ("take-bytes", (bytes,)));
    }
    for count in [1, 10, 100, 1000] {
        group.throughput(Throughput::Elements(count as u64));
        let texts: std::sync::Arc<[&'static str]> = vec!["anna@example.org"; count].into();
        guest.measure::<_, ()>(
            &mut group,
            ("a list of texts of 16 bytes", count),
            ("take-texts", (texts,)),
        );
    }
    group.throughput(Throughput::Elements(10));
    let text = "anna@example.org";
    let ten = (text, text, text, text, text, text, text, text, text, text);
    guest.measure::<_, ()>(&mut group, "a record of ten texts of 16 bytes", ("take-record", (ten,)));
}

fn answers(criterion: &mut Criterion, guest: &mut Guest) {
    let mut group = criterion.benchmark_group("boundary: answers");
    for size in [16, 256, 4096, 65536_u32] {
        group.throughput(Throughput::Bytes(size.into()));
        let name = ("a text of bytes", size as usize);
        guest.measure::<_, (String,)>(&mut group, name, ("give-text", (size,)));
        let name = ("bytes", size as usize);
        guest.measure::<_, (Vec<u8>,)>(&mut group, name, ("give-bytes", (size,)));
    }
}

/// Measures a call of the host by the guest: the time of a thousand calls, divided.
fn imports(criterion: &mut Criterion, guest: &mut Guest) {
    let mut group = criterion.benchmark_group("boundary: one call of the host");
    for (name, function) in [
        ("nothing", "call-nothing"),
        ("nothing, of an async function", "call-later"),
        ("a text of 32 bytes", "call-text"),
    ] {
        let function: TypedFunc<(), ()> = guest.function(function);
        let Guest { runtime, store, .. } = &mut *guest;
        group.bench_function(name, |bencher| {
            bencher.iter_custom(|times| {
                let rounds = times.div_ceil(CALLS);
                let elapsed = runtime.block_on(async {
                    let began = Instant::now();
                    for _ in 0..rounds {
                        function.call_async(&mut *store, ()).await.expect("no trap");
                    }
                    began.elapsed()
                });
                elapsed.mul_f64(times as f64 / (rounds * CALLS) as f64)
            });
        });
    }
}
