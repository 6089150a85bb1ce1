#![no_main]

#[path = "../targets/conversation.rs"]
mod conversation;
#[path = "../../support/random.rs"]
mod random;

libfuzzer_sys::fuzz_target!(|data: &[u8]| conversation::run(data));
