//! The engine as a whole, with real guests and with hostile ones.

mod faults;
mod generations;
mod hostile;
mod records;
mod shadow;
mod speed;
