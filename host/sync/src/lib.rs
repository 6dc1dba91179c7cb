//! Queues and permits between threads and tasks, with nothing of mail in them.

pub mod batch_queue;
pub mod permit_pool;
