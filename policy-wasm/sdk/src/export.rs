//! From a type to a component.

use crate::client::{Client, Envelope, ReversePath};
use crate::decision::{Admission, Decision, Disposition, Plan, Verdict};
use crate::failure::Failure;
use crate::host::Host;
use crate::message::Message;
use crate::policy::Policy;

#[cfg(target_arch = "wasm32")]
mod convert;
#[cfg(target_arch = "wasm32")]
mod guest;

/// What [`crate::export!`] says of a policy: the roles it has. None is a role it has not.
#[doc(hidden)]
pub trait Exported: Policy {
    /// The policy that this instance was configured as.
    #[cfg(target_arch = "wasm32")]
    fn slot() -> &'static std::thread::LocalKey<std::cell::OnceCell<Self>>;

    fn ask_admit(&self, _: &Client, _: &Host) -> Option<Decision<Admission>> {
        None
    }

    fn ask_sender(&self, _: &Client, _: &ReversePath, _: &Host) -> Option<Decision<Verdict>> {
        None
    }

    fn ask_recipient(&self, _: &Client, _: &ReversePath, _: &str, _: &Host) -> Option<Decision<Verdict>> {
        None
    }

    fn ask_message(&self, _: &Client, _: &Envelope, _: &Message<'_>, _: &Host) -> Option<Decision<Disposition>> {
        None
    }

    fn ask_plan(&self, _: &Failure, _: &Host) -> Option<Decision<Plan>> {
        None
    }
}

/// The guest of the generated bindings.
#[doc(hidden)]
pub struct Glue<P>(std::marker::PhantomData<P>);

/// Makes a component of a policy: `export!(Type: Role, Role)`, with one to three of the roles
/// `Exemption`, `Homing` and `Ndr`. The host asks a component about the roles it exports and no others.
///
/// ```
/// # use posthouse_policy::*;
/// struct Quiet;
///
/// impl Policy for Quiet {
///     fn describe() -> Description {
///         posthouse_policy::description!()
///     }
///     fn configure(_: Settings<'_>) -> Result<Self, Vec<Problem>> {
///         Ok(Self)
///     }
/// }
///
/// impl Exemption for Quiet {}
/// impl Ndr for Quiet {
///     fn plan(&self, _: &Failure, _: &Host) -> Decision<Plan> {
///         Plan::default().because(Rule::new("quiet", "nobody is told").alone())
///     }
/// }
///
/// posthouse_policy::export!(Quiet: Exemption, Ndr);
/// # fn main() {}
/// ```
///
/// # Settings
/// `export!(Type: Role; settings = "settings.schema.json")` puts that file, a JSON Schema, into the component,
/// where `posthouse policy explain` finds which settings there are, with types and defaults. The path is
/// relative to the package; the function `testing::settings_schema` writes the file from the type.
#[macro_export]
macro_rules! export {
    ($policy:ident: $($role:ident),+ $(,)?; settings = $schema:literal) => {
        $crate::export!($policy: $($role),+);

        #[allow(missing_docs, unsafe_code)]
        const _: () = {
            // In a native build it is read for nothing but to say early that it is not there.
            const SCHEMA: &[u8] = include_bytes!(concat!(env!("CARGO_MANIFEST_DIR"), "/", $schema));
            #[cfg(target_arch = "wasm32")]
            #[used]
            #[unsafe(link_section = "posthouse:settings")]
            static SECTION: [u8; SCHEMA.len()] = *include_bytes!(concat!(env!("CARGO_MANIFEST_DIR"), "/", $schema));
        };
    };
    ($policy:ident: $($role:ident),+ $(,)?) => {
        #[allow(missing_docs, unsafe_code, clippy::all)]
        const _: () = {
            impl $crate::Exported for $policy {
                #[cfg(target_arch = "wasm32")]
                fn slot() -> &'static ::std::thread::LocalKey<::std::cell::OnceCell<Self>> {
                    ::std::thread_local! {
                        static SLOT: ::std::cell::OnceCell<$policy> = const { ::std::cell::OnceCell::new() };
                    }
                    &SLOT
                }
                $($crate::__ask!($role);)+
            }
            // Nothing calls a policy in a native build but its tests: it is not dead for that.
            #[cfg(not(target_arch = "wasm32"))]
            #[allow(dead_code)]
            fn exported(_: &$policy) {}
            #[cfg(target_arch = "wasm32")]
            type Component = $crate::Glue<$policy>;
            #[cfg(target_arch = "wasm32")]
            $crate::__bindings::lifecycle::export!(Component with_types_in $crate::__bindings::lifecycle);
            $(#[cfg(target_arch = "wasm32")] $crate::__component!($role);)+
        };
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! __ask {
    (Exemption) => {
        fn ask_admit(
            &self,
            client: &$crate::Client,
            host: &$crate::Host,
        ) -> Option<$crate::Decision<$crate::Admission>> {
            Some($crate::Exemption::admit(self, client, host))
        }
    };
    (Homing) => {
        fn ask_sender(
            &self,
            client: &$crate::Client,
            sender: &$crate::ReversePath,
            host: &$crate::Host,
        ) -> Option<$crate::Decision<$crate::Verdict>> {
            Some($crate::Homing::sender(self, client, sender, host))
        }

        fn ask_recipient(
            &self,
            client: &$crate::Client,
            sender: &$crate::ReversePath,
            recipient: &str,
            host: &$crate::Host,
        ) -> Option<$crate::Decision<$crate::Verdict>> {
            Some($crate::Homing::recipient(self, client, sender, recipient, host))
        }

        fn ask_message(
            &self,
            client: &$crate::Client,
            envelope: &$crate::Envelope,
            message: &$crate::Message<'_>,
            host: &$crate::Host,
        ) -> Option<$crate::Decision<$crate::Disposition>> {
            Some($crate::Homing::message(self, client, envelope, message, host))
        }
    };
    (Ndr) => {
        fn ask_plan(&self, failure: &$crate::Failure, host: &$crate::Host) -> Option<$crate::Decision<$crate::Plan>> {
            Some($crate::Ndr::plan(self, failure, host))
        }
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! __component {
    (Exemption) => {
        $crate::__bindings::exemption::export!(Component with_types_in $crate::__bindings::exemption);
    };
    (Homing) => {
        $crate::__bindings::homing::export!(Component with_types_in $crate::__bindings::homing);
    };
    (Ndr) => {
        $crate::__bindings::ndr::export!(Component with_types_in $crate::__bindings::ndr);
    };
}
