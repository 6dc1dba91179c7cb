//! Queues and permits between threads and tasks, independent of mail.

pub mod batch_queue;
pub mod permit_pool;
mod primitives;
pub mod queue_budget;
