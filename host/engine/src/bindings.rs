//! Types and traits that `bindgen!` generates from the contract in `wit/`. Of other crates only host-policy uses them,
//! to build questions.
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
