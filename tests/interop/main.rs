//! Real clients, as people use them, against one gateway. A client that is not installed is a failure:
//! `tests/run.sh` installs them all.

#[path = "../support/mod.rs"]
mod support;

mod browser_stream;
mod commands;
mod curl;
mod dashboard;
mod foreign_pages;
mod mosquitto;
mod mosquitto_bridge;
mod nginx;
mod openapi;
mod program;
mod scripts;
mod stored_scripts;
