#![no_main]

#[path = "../targets/topics.rs"]
mod topics;

libfuzzer_sys::fuzz_target!(|data: &[u8]| topics::run(data));
