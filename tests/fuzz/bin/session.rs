#![no_main]

#[path = "../../support/random.rs"]
mod random;
#[path = "../targets/session.rs"]
mod session;

libfuzzer_sys::fuzz_target!(|data: &[u8]| session::run(data));
