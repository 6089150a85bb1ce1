//! What can be wrong with bytes.
