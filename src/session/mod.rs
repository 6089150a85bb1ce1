//! The conversation: one client's protocol state.

pub mod limits;
