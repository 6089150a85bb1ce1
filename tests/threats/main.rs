//! The threats of the web's ways in, one by one: `TABLE.md` names each with the tests that hold it off.

#[path = "../support/mod.rs"]
mod support;

mod cursors;
mod files;
mod foreign;
mod hosts;
mod oracle;
mod origins;
mod setup;
mod smuggling;
mod supply;
mod table;
