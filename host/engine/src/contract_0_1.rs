//! Imports of contract 0.1, under their versioned names.
//!
//! `bindgen!` generates the linking of the newest contract. An older contract is a subset of the newest and has the
//! same functions, so the same implementations are linked here. The engine compares types when a component is linked;
//! a test links all functions of the frozen contracts in `wit/`.

use wasmtime::StoreContextMut;
use wasmtime::component::{Linker, Resource, ResourceType};

use super::bindings::posthouse::policy::{directory, host, message};
use crate::component::Contract;
use crate::instance_state::InstanceState;
use crate::message_view::MessageView;
use crate::message_view::Slot;

/// Links one function of an interface, given by name, implementation and arguments.
macro_rules! function {
    ($interface:ident, $name:literal, $function:path, $($argument:ident: $type:ty),*) => {
        $interface.func_wrap_async(
            $name,
            |mut store: StoreContextMut<'_, InstanceState>, ($($argument,)*): ($($type,)*)| {
                Box::new(async move { Ok(($function(store.data_mut(), $($argument),*).await?,)) })
            },
        )?
    };
}

/// Links the imports of contract 0.1.
pub(super) fn link_0_1(linker: &mut Linker<InstanceState>, contract: Contract) -> wasmtime::Result<()> {
    link_types(linker, contract)?;
    link_directory(linker, contract)?;
    link_message(linker, contract)?;
    link_host(linker, contract)
}

/// Links the growth slots. Slots have no values, so their destructors do nothing.
fn link_types(linker: &mut Linker<InstanceState>, contract: Contract) -> wasmtime::Result<()> {
    let mut interface = linker.instance(&contract.interface("types"))?;
    for slot in ["more-client", "more-envelope", "more-failure"] {
        interface.resource(slot, ResourceType::host::<Slot>(), |_, _| Ok(()))?;
    }
    Ok(())
}

fn link_directory(linker: &mut Linker<InstanceState>, contract: Contract) -> wasmtime::Result<()> {
    let mut interface = linker.instance(&contract.interface("directory"))?;
    function!(interface, "lookup", directory::Host::lookup, address: String);
    function!(interface, "may-send-as", directory::Host::may_send_as, account: String, address: String);
    function!(interface, "is-local-domain", directory::Host::is_local_domain, domain: String);
    Ok(())
}

fn link_message(linker: &mut Linker<InstanceState>, contract: Contract) -> wasmtime::Result<()> {
    let mut interface = linker.instance(&contract.interface("message"))?;
    interface.resource_async("message", ResourceType::host::<MessageView>(), |mut store, rep| {
        Box::new(async move { message::HostMessage::drop(store.data_mut(), Resource::new_own(rep)).await })
    })?;
    type Handle = Resource<MessageView>;
    function!(interface, "[method]message.size", message::HostMessage::size, handle: Handle);
    function!(interface, "[method]message.header", message::HostMessage::header, handle: Handle, name: String);
    function!(interface, "[method]message.header-block", message::HostMessage::header_block, handle: Handle);
    function!(interface, "[method]message.read", message::HostMessage::read, handle: Handle, offset: u64, length: u32);
    Ok(())
}

fn link_host(linker: &mut Linker<InstanceState>, contract: Contract) -> wasmtime::Result<()> {
    let mut interface = linker.instance(&contract.interface("host"))?;
    interface.func_wrap_async(
        "log",
        |mut store: StoreContextMut<'_, InstanceState>, (level, text): (host::Level, String)| {
            Box::new(async move { host::Host::log(store.data_mut(), level, text).await })
        },
    )?;
    function!(interface, "now", host::Host::now,);
    Ok(())
}
