//! The fixed header, and the incremental decoder: feed bytes, take packets.
