//! The transactions table and what belongs to it: transitions, attempts, operations, idempotency keys.
//!
//! Steps are taken by `settlement`, in one statement over all tables concerned; here stand acceptance, reading, and the small acts
//! beside a step.

pub mod accept;
mod accept_columns;
pub mod acts;
pub mod due;
pub mod load;
pub mod resource;
