//! Who may: an identity and what it is allowed to do, the same for every way in; and how a client proves who it is.
//!
//! This room decides about topics and proofs. It never learns how a message came in, and never talks to a client.
//!
//! Proofs: [`password`] with [`recent`], which knows again what was right a moment ago; [`jwt`] with [`jwks`], the keys that
//! are on the web; and [`exchange`] for methods of more than one step. [`loaded`] has the first two as the settings
//! want them.

pub mod address;
pub mod certificate;
pub mod chain;
pub mod config;
pub mod exchange;
pub mod failures;
pub mod identity;
pub mod jwks;
pub mod jwt;
pub mod loaded;
pub mod password;
pub mod passwords;
pub mod quota;
pub mod recent;
pub mod rules;
pub mod secret;
pub mod token_method;
