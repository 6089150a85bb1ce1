#![no_main]

#[path = "../targets/conversation.rs"]
mod conversation;

libfuzzer_sys::fuzz_target!(|data: &[u8]| conversation::run(data));
