//! Who may do what, asked of a running gateway through every way in.

#[path = "../support/random.rs"]
mod random;
#[path = "../support/mod.rs"]
mod support;

mod listing;
mod live;
mod login;
mod mosquitto;
mod oracle;
mod owner;
mod rotation;
mod setup;
mod table;
mod tokens;
