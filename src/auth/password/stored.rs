//! A hash of a password as it is written, and whether a password fits it.

use super::super::secret::random;
use argon2::{Algorithm, Argon2, Params, Version};
use base64::{
    Engine,
    engine::general_purpose::{STANDARD, STANDARD_NO_PAD},
};
use pbkdf2::pbkdf2_hmac;
use sha2::{Digest, Sha512};
use std::io;
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

/// Bytes of a SHA-512 hash.
const SHA512: usize = 64;

// A file that asks for more than these would stop the gateway instead of guarding it.
const MAX_ITERATIONS: u32 = 10_000_000;
const MAX_MEMORY: u32 = 256 * 1024;
const MAX_PASSES: u32 = 10;
const MAX_LANES: u32 = 8;

/// What it takes to compute a hash. Ordered by kind first, the dearer one above.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Cost {
    recipe: Recipe,
    salt: usize,
    output: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
enum Recipe {
    Sha512,
    Pbkdf2 {
        iterations: u32,
    },
    Argon2id {
        /// In KiB.
        memory: u32,
        passes: u32,
        lanes: u32,
    },
}

/// What new passwords cost: the second choice of OWASP's advice, as its first one needs 46 MiB for each.
const ADVISED: Cost = Cost {
    recipe: Recipe::Argon2id {
        memory: 19_456,
        passes: 2,
        lanes: 1,
    },
    salt: 16,
    output: 32,
};

impl Default for Cost {
    fn default() -> Self {
        ADVISED
    }
}

/// A hash.
pub struct Stored {
    recipe: Recipe,
    salt: Vec<u8>,
    hash: Vec<u8>,
}

impl Stored {
    /// Reads a hash. The error says what is wrong with it, without the hash.
    pub fn parse(text: &str) -> Result<Self, String> {
        let fields: Vec<&str> = text.split('$').collect();
        match fields[..] {
            ["", "6", salt, hash] => Stored::with_sha512(Recipe::Sha512, salt, hash),
            ["", "7", iterations, salt, hash] => {
                let iterations = number(iterations, 1..=MAX_ITERATIONS).ok_or(format!(
                    "its hash has no number of iterations from 1 to {MAX_ITERATIONS}"
                ))?;
                Stored::with_sha512(Recipe::Pbkdf2 { iterations }, salt, hash)
            }
            ["", "argon2id", "v=19", costs, salt, hash] => Stored::with_argon2id(costs, salt, hash),
            ["", "6" | "7" | "argon2id", ..] => Err("its hash is incomplete or damaged".to_owned()),
            ["", _, ..] => Err("its hash is neither $6$, $7$ nor $argon2id$v=19$".to_owned()),
            [""] => Err("its user has no hash".to_owned()),
            _ => {
                Err("it has a password in clear text, or something else that is no hash".to_owned())
            }
        }
    }

    fn with_sha512(recipe: Recipe, salt: &str, hash: &str) -> Result<Self, String> {
        let decode = |text, what| {
            let bytes = STANDARD.decode(text);
            bytes.map_err(|_| format!("the {what} in its hash is not base64"))
        };
        let (salt, hash) = (decode(salt, "salt")?, decode(hash, "sum")?);
        // what Mosquitto has ever written, and all that it reads
        if ![12, 64].contains(&salt.len()) {
            return Err("the salt in its hash has neither 12 nor 64 bytes".to_owned());
        }
        if hash.len() != SHA512 {
            return Err("the sum in its hash has not 64 bytes".to_owned());
        }
        Ok(Stored { recipe, salt, hash })
    }

    fn with_argon2id(costs: &str, salt: &str, hash: &str) -> Result<Self, String> {
        let recipe = argon2id(costs).ok_or(format!(
            "the costs in its hash are not m=…,t=…,p=… with m from 8 for each p to {MAX_MEMORY} (KiB), t from 1 to \
             {MAX_PASSES} and p from 1 to {MAX_LANES}"
        ))?;
        let decode = |text, what| {
            let bytes = STANDARD_NO_PAD.decode(text).ok();
            bytes
                .filter(|bytes| (8..=64).contains(&bytes.len()))
                .ok_or(format!(
                    "the {what} in its hash is not base64 without padding of 8 to 64 bytes"
                ))
        };
        let (salt, hash) = (decode(salt, "salt")?, decode(hash, "sum")?);
        if hash.len() < 16 {
            return Err("the sum in its hash has less than 16 bytes".to_owned());
        }
        Ok(Stored { recipe, salt, hash })
    }

    /// One of this cost, of no password.
    pub fn dummy(cost: Cost) -> Self {
        Stored {
            recipe: cost.recipe,
            salt: vec![0; cost.salt],
            hash: vec![0; cost.output],
        }
    }

    /// What it costs to compute it.
    pub fn cost(&self) -> Cost {
        Cost {
            recipe: self.recipe,
            salt: self.salt.len(),
            output: self.hash.len(),
        }
    }

    /// Whether it is of this password. The comparison takes the same time wherever both differ.
    pub fn matches(&self, password: &[u8]) -> bool {
        let mut computed = Zeroizing::new(vec![0; self.hash.len()]);
        let done = compute(self.recipe, password, &self.salt, &mut computed);
        computed.ct_eq(&self.hash).into() && done.is_ok()
    }
}

/// A number within `range`, written as people do: digits, no sign, no zeros before.
fn number(text: &str, range: std::ops::RangeInclusive<u32>) -> Option<u32> {
    let digits = text.bytes().all(|byte| byte.is_ascii_digit()) && !text.starts_with('0');
    let number = digits.then(|| text.parse().ok())??;
    range.contains(&number).then_some(number)
}

fn argon2id(costs: &str) -> Option<Recipe> {
    let mut costs = costs.split(',');
    let mut cost = |name, most| number(costs.next()?.strip_prefix(name)?, 1..=most);
    let (memory, passes, lanes) = (
        cost("m=", MAX_MEMORY)?,
        cost("t=", MAX_PASSES)?,
        cost("p=", MAX_LANES)?,
    );
    let recipe = Recipe::Argon2id {
        memory,
        passes,
        lanes,
    };
    (costs.next().is_none() && memory >= 8 * lanes).then_some(recipe)
}

fn compute(
    recipe: Recipe,
    password: &[u8],
    salt: &[u8],
    into: &mut [u8],
) -> Result<(), argon2::Error> {
    match recipe {
        Recipe::Sha512 => {
            let sum = Sha512::new().chain_update(password).chain_update(salt);
            into.copy_from_slice(&sum.finalize());
            Ok(())
        }
        Recipe::Pbkdf2 { iterations } => {
            pbkdf2_hmac::<Sha512>(password, salt, iterations, into);
            Ok(())
        }
        Recipe::Argon2id {
            memory,
            passes,
            lanes,
        } => {
            let params = Params::new(memory, passes, lanes, Some(into.len()))?;
            Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
                .hash_password_into(password, salt, into)
        }
    }
}

/// A new hash of a password, argon2id, to be written into a file. An error if the system has no random numbers or no
/// memory. Blocks for some 20 milliseconds.
pub fn hash(password: &[u8]) -> io::Result<String> {
    let Recipe::Argon2id {
        memory,
        passes,
        lanes,
    } = ADVISED.recipe
    else {
        unreachable!("new passwords are argon2id");
    };
    let salt = random::<16>()?;
    let mut sum = vec![0; ADVISED.output];
    compute(ADVISED.recipe, password, &salt, &mut sum).map_err(io::Error::other)?;
    Ok(format!(
        "$argon2id$v=19$m={memory},t={passes},p={lanes}${}${}",
        STANDARD_NO_PAD.encode(salt),
        STANDARD_NO_PAD.encode(sum)
    ))
}
