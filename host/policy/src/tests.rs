//! The engine as a whole, with real guests and with hostile ones.

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
