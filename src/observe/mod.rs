//! Looking in: log lines, metrics as text. Observes the other rooms and never changes what they do.

pub mod log;
pub mod process;
pub mod prometheus;
pub mod sys;
