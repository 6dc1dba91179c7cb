//! Code whose instances come up configured: what `configure` left in an instance becomes part of a
//! component of its own (wasmtime's Wizer), which is compiled like any other.
//!
//! That is right only for policies that ask nothing of the host while they are configured, since an
//! answer, a random number, the time or a handle would be the same in all instances to come. For
//! them every import is a trap while the snapshot is taken, and they go on as before.

use std::sync::Arc;

use wasmtime::StoreContext;
use wasmtime::component::{Component, ComponentNamedList, ComponentType, Lift, Linker, WasmList};
use wasmtime_wizer::{ComponentInstanceState, Wizer};

use super::generation::{Candidate, Code, digest, settings_text};
use super::instance::Instance;
use crate::instance_state::CallContext;
use crate::instance_state::InstanceState;
use crate::runtime::Runtime;

/// Code of which each instance has taken the candidate's settings already. The error says why there
/// can be none; the candidate is as good as it was. Takes processor time between awaits.
pub async fn with_settings(runtime: &Runtime, candidate: &Candidate, context: &CallContext) -> Result<Code, String> {
    let code = &candidate.code;
    let wizer = Wizer::new();
    let (wizened, instrumented) = wizer.instrument_component(&code.bytes).map_err(in_words)?;
    let instrumented: Arc<[u8]> = instrumented.into();
    let component = compiled(runtime, &instrumented).await?;
    let mut nothing = Linker::<InstanceState>::new(runtime.engine());
    nothing.define_unknown_imports_as_traps(&component).map_err(in_words)?;
    let observed = Arc::new(code.linked(&component, instrumented, &nothing).map_err(in_words)?);
    let mut instance = Instance::of(runtime, candidate, observed, context.clone())
        .await
        .map_err(|failed| failed.to_string())?;
    let taken = instance.configure(&settings_text(&candidate.settings)).await;
    taken
        .map_err(|failed| failed.to_string())?
        .map_err(|_| "it refuses the settings it took before".to_owned())?;
    let mut state = SnapshotReader {
        instance: &mut instance,
        failed: None,
    };
    let snapshot = wizer.snapshot_component(&wizened, &mut state).await.map_err(in_words)?;
    if let Some(why) = state.failed {
        return Err(why);
    }
    drop(instance);
    let snapshot: Arc<[u8]> = snapshot.into();
    let component = compiled(runtime, &snapshot).await?;
    let prepared = Arc::new(code.linked(&component, snapshot, runtime.linker()).map_err(in_words)?);
    proven(runtime, candidate, &prepared, context).await?;
    Arc::into_inner(prepared).ok_or_else(|| "it is still in use".to_owned())
}

async fn compiled(runtime: &Runtime, bytes: &Arc<[u8]>) -> Result<Component, String> {
    runtime.compile(Arc::clone(bytes), &digest(bytes)).await
}

/// It runs, and says of itself what the candidate said.
async fn proven(
    runtime: &Runtime,
    candidate: &Candidate,
    prepared: &Arc<Code>,
    context: &CallContext,
) -> Result<(), String> {
    let mut described = Vec::new();
    for code in [&candidate.code, prepared] {
        let made = Instance::of(runtime, candidate, Arc::clone(code), context.clone()).await;
        let mut instance = made.map_err(|failed| failed.to_string())?;
        instance.check_types().map_err(|failed| failed.to_string())?;
        described.push(instance.describe().await.map_err(|failed| failed.to_string())?);
    }
    if described[0] == described[1] {
        Ok(())
    } else {
        Err("it describes itself differently after it was configured".to_owned())
    }
}

fn in_words(error: wasmtime::Error) -> String {
    format!("{error:#}")
}

/// Reads the globals and memories of an instance through functions that Wizer added.
struct SnapshotReader<'a> {
    instance: &'a mut Instance,
    failed: Option<String>,
}

impl SnapshotReader<'_> {
    async fn read<R, T>(
        &mut self,
        interface: &str,
        function: &str,
        take: impl FnOnce(StoreContext<'_, InstanceState>, R) -> T,
    ) -> Option<T>
    where
        R: ComponentType + Lift + Send + Sync + 'static,
        (R,): ComponentNamedList + Lift,
    {
        match self.instance.read(interface, function, take).await {
            Ok(value) => Some(value),
            Err(failed) => {
                self.failed.get_or_insert_with(|| failed.to_string());
                None
            }
        }
    }
}

impl ComponentInstanceState for SnapshotReader<'_> {
    async fn call_func_ret_list_u8(&mut self, instance: &str, func: &str, contents: impl FnOnce(&[u8]) + Send) {
        let read = self.read(instance, func, |store, list: WasmList<u8>| {
            contents(list.as_le_slice(&store))
        });
        read.await.unwrap_or_default();
    }

    async fn call_func_ret_s32(&mut self, instance: &str, func: &str) -> i32 {
        self.read(instance, func, |_, value| value).await.unwrap_or_default()
    }

    async fn call_func_ret_s64(&mut self, instance: &str, func: &str) -> i64 {
        self.read(instance, func, |_, value| value).await.unwrap_or_default()
    }

    async fn call_func_ret_f32(&mut self, instance: &str, func: &str) -> u32 {
        let bits = |_: StoreContext<'_, InstanceState>, value: f32| value.to_bits();
        self.read(instance, func, bits).await.unwrap_or_default()
    }

    async fn call_func_ret_f64(&mut self, instance: &str, func: &str) -> u64 {
        let bits = |_: StoreContext<'_, InstanceState>, value: f64| value.to_bits();
        self.read(instance, func, bits).await.unwrap_or_default()
    }
}
