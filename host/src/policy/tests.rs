//! The engine as a whole, with real guests and with hostile ones.

mod faults;
mod generations;
mod hostile;
mod speed;
mod trials;
