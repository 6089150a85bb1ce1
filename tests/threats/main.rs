//! The threats of the web's ways in, one by one: `TABLE.md` names each with the tests that hold it off.

#[path = "../support/mod.rs"]
mod support;

mod canaries;
mod canary;
#[path = "../transport/certs.rs"]
#[allow(dead_code, reason = "made for the tests of transport")]
mod certs;
mod cursors;
mod fetching;
mod files;
mod foreign;
mod hosts;
mod lines;
mod oracle;
mod origins;
mod setup;
mod smuggling;
mod start_up;
mod supply;
mod table;
mod ways;
