//! What the contract in `wit/` generates; nobody outside this crate sees these types.
#![allow(missing_docs, clippy::all)]

pub use crate::message_view::{MessageView, Slot};

wasmtime::component::bindgen!({
    path: "../../wit",
    world: "everything",
    imports: { default: async | trappable },
    exports: { default: async },
    with: {
        "posthouse:policy/types.more-client": Slot,
        "posthouse:policy/types.more-envelope": Slot,
        "posthouse:policy/types.more-failure": Slot,
        "posthouse:policy/message.message": MessageView,
    },
});
