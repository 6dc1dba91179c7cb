//! Pre-initialisation: a snapshot of a configured instance becomes a new component (wasmtime's Wizer), whose instances
//! come up configured.
//!
//! A snapshot is right only for policies that call no import during `configure`, since an answer, a random number, the
//! time or a handle would be frozen into all later instances. Every import therefore traps while the snapshot is taken;
//! policies that call an import keep their original code.

use std::sync::Arc;

use wasmtime::StoreContext;
use wasmtime::component::{Component, ComponentNamedList, ComponentType, Lift, Linker, WasmList};
use wasmtime_wizer::{ComponentInstanceState, Wizer};

use super::generation::{Candidate, Code, settings_text};
use super::instance::Instance;
use crate::component::digest::digest;
use crate::instance_state::{CallContext, InstanceState};
use crate::runtime::Runtime;

/// Makes code whose instances have taken the candidate's settings already. Takes processor time between awaits.
///
/// # Errors
/// A text that explains why there is no such code. The candidate remains usable.
pub async fn with_settings(runtime: &Runtime, candidate: &Candidate, context: &CallContext) -> Result<Code, String> {
    let code = &candidate.code;
    let wizer = Wizer::new();
    let (wizened, instrumented) = wizer.instrument_component(&code.bytes).map_err(error_text)?;
    let instrumented: Arc<[u8]> = instrumented.into();
    let component = compile(runtime, &instrumented).await?;
    let mut traps = Linker::<InstanceState>::new(runtime.engine());
    traps.define_unknown_imports_as_traps(&component).map_err(error_text)?;
    let instrumented = Arc::new(code.linked(&component, instrumented, &traps).map_err(error_text)?);
    let mut instance = Instance::of(runtime, candidate, instrumented, context.clone())
        .await
        .map_err(|failed| failed.to_string())?;
    let configured = instance.configure(&settings_text(&candidate.settings)).await;
    configured
        .map_err(|failed| failed.to_string())?
        .map_err(|_| "it refuses the settings it took before".to_owned())?;
    let mut reader = SnapshotReader {
        instance: &mut instance,
        failed: None,
    };
    let snapshot = wizer
        .snapshot_component(&wizened, &mut reader)
        .await
        .map_err(error_text)?;
    if let Some(error) = reader.failed {
        return Err(error);
    }
    drop(instance);
    let snapshot: Arc<[u8]> = snapshot.into();
    let component = compile(runtime, &snapshot).await?;
    let preinitialised = Arc::new(
        code.linked(&component, snapshot, runtime.linker())
            .map_err(error_text)?,
    );
    check_description(runtime, candidate, &preinitialised, context).await?;
    Arc::into_inner(preinitialised).ok_or_else(|| "it is still in use".to_owned())
}

async fn compile(runtime: &Runtime, bytes: &Arc<[u8]>) -> Result<Component, String> {
    runtime.compile(Arc::clone(bytes), &digest(bytes)).await
}

/// Checks that instances of `preinitialised` run and describe themselves as the candidate's do.
async fn check_description(
    runtime: &Runtime,
    candidate: &Candidate,
    preinitialised: &Arc<Code>,
    context: &CallContext,
) -> Result<(), String> {
    let mut descriptions = Vec::new();
    for code in [&candidate.code, preinitialised] {
        let made = Instance::of(runtime, candidate, Arc::clone(code), context.clone()).await;
        let mut instance = made.map_err(|failed| failed.to_string())?;
        instance.check_types().map_err(|failed| failed.to_string())?;
        descriptions.push(instance.describe().await.map_err(|failed| failed.to_string())?);
    }
    if descriptions[0] == descriptions[1] {
        Ok(())
    } else {
        Err("it describes itself differently after it was configured".to_owned())
    }
}

fn error_text(error: wasmtime::Error) -> String {
    format!("{error:#}")
}

/// Reads the globals and memories of an instance through functions that Wizer added. The first failure is kept, and
/// failed reads return defaults.
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
