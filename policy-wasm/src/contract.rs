//! The contract's types and imports, generated from `wit/policy.wit`, under short names.

pub use bindings::exports::posthouse::policy::{exemption, homing, lifecycle, ndr};
pub use bindings::posthouse::policy::{directory, message, types};

// The generator writes neither docs for everything nor code free of `unsafe`.
#[allow(missing_docs, unsafe_code, clippy::all)]
pub(crate) mod bindings {
    wit_bindgen::generate!({
        path: "../wit",
        world: "policy",
        additional_derives: [PartialEq],
        additional_derives_ignore: ["client", "envelope", "failure"],
    });
}
