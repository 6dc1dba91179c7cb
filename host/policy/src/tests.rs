//! Tests of the policy manager with real guests and with hostile guests.

mod contracts;
mod core_dumps;
mod faults;
mod generations;
mod hostile;
mod life;
mod prepared;
mod records;
mod shadow;
mod speed;
mod stateless;
mod trials;
