//! Export of a policy type as a component.

use crate::answers::{Admission, Decision, Disposition, Plan, Verdict};
use crate::client_and_envelope::{Client, Envelope, ReversePath};
use crate::failure::Failure;
use crate::host::Host;
use crate::message_reader::Message;
use crate::roles::Policy;

#[cfg(target_arch = "wasm32")]
mod convert;
#[cfg(target_arch = "wasm32")]
mod glue;

/// Questions of all roles, as [`crate::export!`] implements the trait. The answer of a missing role is `None`.
#[doc(hidden)]
pub trait Exported: Policy {
    /// Returns the slot for the policy that `configure` made in this instance.
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

/// Implementation of the generated bindings' traits for a policy.
#[doc(hidden)]
pub struct Glue<P>(std::marker::PhantomData<P>);

/// Exports a policy as a component: `export!(Type: Role, Role)`, with one to three of the roles `Exemption`, `Homing`
/// and `Ndr`. The host asks a component only about the exported roles.
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
///         Plan::default().because(Rule::new("quiet", "no notice is sent").alone())
///     }
/// }
///
/// posthouse_policy::export!(Quiet: Exemption, Ndr);
/// # fn main() {}
/// ```
///
/// # Settings
/// `export!(Type: Role; settings = "settings.schema.json")` puts this JSON Schema into the component, for
/// `posthouse policy explain`, which shows the settings with types and defaults. The path is relative to the package.
/// The function `testing::settings_schema` writes the file from the type.
#[macro_export]
macro_rules! export {
    ($policy:ident: $($role:ident),+ $(,)?; settings = $schema:literal) => {
        $crate::export!($policy: $($role),+);

        #[allow(missing_docs, unsafe_code)]
        const _: () = {
            // A native build reads the file only to report early that it is missing.
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
            // In a native build only tests call a policy: this use prevents warnings of dead code.
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
