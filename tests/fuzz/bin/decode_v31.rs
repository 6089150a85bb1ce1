#![no_main]

#[path = "../targets/decode.rs"]
mod decode;

libfuzzer_sys::fuzz_target!(|data: &[u8]| decode::run(tidegate::mqtt::Version::V31, data));
