//! Generated bindings of the contract: a module for the imports, and a module for each exported interface. The use of
//! [`crate::export!`] decides which interfaces a component exports.
#![allow(missing_docs, unsafe_code, clippy::all)]

/// Bindings of all imports. The component contains only those that are called.
pub mod imports {
    wit_bindgen::generate!({
        path: "wit",
        inline: "package posthouse:sdk-imports;
            world imports {
                import posthouse:policy/types@0.2.0;
                import posthouse:policy/directory@0.2.0;
                import posthouse:policy/host@0.2.0;
                import posthouse:policy/message@0.2.0;
                import posthouse:policy/dns@0.2.0;
                import posthouse:policy/counters@0.2.0;
                import posthouse:policy/verification@0.2.0;
            }",
        generate_all,
    });
}

macro_rules! exported {
    ($($module:ident $world:literal { $($interface:literal: $shared:ident),* };)*) => {$(
        pub mod $module {
            wit_bindgen::generate!({
                path: "wit",
                inline: $world,
                pub_export_macro: true,
                with: { $($interface: crate::__bindings::imports::posthouse::policy::$shared),* },
            });
        }
    )*};
}

exported! {
    lifecycle "package posthouse:sdk-lifecycle; world sdk-lifecycle { export posthouse:policy/lifecycle@0.2.0; }" {};
    exemption "package posthouse:sdk-exemption; world sdk-exemption { export posthouse:policy/exemption@0.2.0; }" {
        "posthouse:policy/types@0.2.0": types
    };
    homing "package posthouse:sdk-homing; world sdk-homing { export posthouse:policy/homing@0.2.0; }" {
        "posthouse:policy/types@0.2.0": types,
        "posthouse:policy/message@0.2.0": message
    };
    ndr "package posthouse:sdk-ndr; world sdk-ndr { export posthouse:policy/ndr@0.2.0; }" {
        "posthouse:policy/types@0.2.0": types
    };
}
