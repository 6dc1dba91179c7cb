//! The contract's types and imports, generated from `wit/policy.wit`.

// The generator writes neither docs for everything nor code free of `unsafe`.
#![allow(missing_docs, unsafe_code, clippy::all)]

wit_bindgen::generate!({
    path: "../wit",
    world: "policy",
    additional_derives: [PartialEq],
    additional_derives_ignore: ["client", "envelope", "failure"],
    pub_export_macro: true,
});
