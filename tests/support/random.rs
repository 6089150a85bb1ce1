//! Choices that can be made again: from a seed, or from the bytes that a fuzzer found.
#![allow(
    dead_code,
    reason = "each test crate includes this module and uses its part of it"
)]

/// Where choices come from.
pub struct Random<'a>(Source<'a>);

enum Source<'a> {
    Seed(u64),
    Bytes(&'a [u8]),
}

impl<'a> Random<'a> {
    /// Without end, and the same for the same seed.
    pub fn seeded(seed: u64) -> Self {
        Random(Source::Seed(seed))
    }

    /// As many as there are bytes; then always the first choice.
    pub fn bytes(bytes: &'a [u8]) -> Self {
        Random(Source::Bytes(bytes))
    }

    /// Whether only first choices are left.
    pub fn is_over(&self) -> bool {
        matches!(self.0, Source::Bytes([]))
    }

    /// A number below `end`; 0 for 0.
    pub fn below(&mut self, end: u64) -> u64 {
        match &mut self.0 {
            // splitmix64
            Source::Seed(state) => {
                *state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
                let mut mixed = *state;
                mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
                mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
                (mixed ^ (mixed >> 31)) % end.max(1)
            }
            Source::Bytes(bytes) => {
                let wanted = if end <= 256 { 1 } else { 4 };
                let (now, later) = bytes.split_at(wanted.min(bytes.len()));
                *bytes = later;
                now.iter().fold(0, |n, byte| n << 8 | u64::from(*byte)) % end.max(1)
            }
        }
    }

    /// A number from `low` to `high`.
    pub fn between(&mut self, low: u64, high: u64) -> u64 {
        low + self.below(high - low + 1)
    }

    /// True once in `times`.
    pub fn once_in(&mut self, times: u64) -> bool {
        self.below(times) == times - 1
    }

    /// One of these.
    pub fn of<T: Clone>(&mut self, choices: &[T]) -> T {
        choices[self.below(choices.len() as u64) as usize].clone()
    }
}

/// The seed to use: the one in this environment variable, to see a failure again, or a new one. The flag says
/// whether it was given.
pub fn seed(variable: &str) -> (u64, bool) {
    match std::env::var(variable) {
        Ok(text) => (text.parse().expect("a seed is a number"), true),
        Err(_) => {
            let mut bytes = [0; 8];
            getrandom::fill(&mut bytes).expect("randomness");
            // short enough to be typed again
            (u64::from_le_bytes(bytes) % 1_000_000_000, false)
        }
    }
}

/// Prints how to see a failure again, if there is one while it lives.
pub struct Repeat(pub String);

impl Drop for Repeat {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("to see it again: {}", self.0);
        }
    }
}
