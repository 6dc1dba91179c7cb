//! The linker: every function that a policy can import.

use wasmtime::Engine;
use wasmtime::component::{HasSelf, Linker};

use crate::bindings::Everything;
use crate::component::Contract;
use crate::contract_0_1::link_0_1;
use crate::instance_state::InstanceState;

/// Links WASI 0.2 and all interfaces of each contract served. Grants are not checked here: a component's imports
/// are compared with the grants when a candidate is built.
pub(super) fn link(engine: &Engine) -> wasmtime::Result<Linker<InstanceState>> {
    let mut linker = Linker::new(engine);
    wasmtime_wasi::p2::add_to_linker_async(&mut linker)?;
    Everything::add_to_linker::<_, HasSelf<_>>(&mut linker, |host| host)?;
    let [oldest, _] = Contract::SERVED;
    link_0_1(&mut linker, oldest)?;
    Ok(linker)
}
