//! Keys that tokens are verified with. Each knows the algorithms it is for, and a token cannot change that.

use super::token::Token;
use jsonwebtoken::{Algorithm, AlgorithmFamily, DecodingKey, crypto};
use rustls_pki_types::{SubjectPublicKeyInfoDer, pem::PemObject};
use x509_parser::{
    prelude::FromDer,
    public_key::{PublicKey, RSAPublicKey},
    x509::SubjectPublicKeyInfo,
};

/// Why there is no key, or no good one. For the operator; holds no key.
#[derive(Debug, thiserror::Error)]
pub enum KeyFault {
    /// The system does not give the file.
    #[error("cannot be read: {0}")]
    Io(#[from] std::io::Error),
    /// The file is far larger than keys are.
    #[error("is larger than 64 KiB, so it holds no keys")]
    TooLarge,
    /// A secret that can be guessed.
    #[error(
        "has {found} bytes, but {algorithm:?} needs a secret of at least {needed}; make one with `openssl rand -base64 64`"
    )]
    Short {
        /// Bytes in it.
        found: usize,
        /// Bytes it needs.
        needed: usize,
        /// What needs so many.
        algorithm: Algorithm,
    },
    /// A public key in the place of a secret: whoever knows it could sign.
    #[error("is a key in PEM, not a secret; give it as public_key_file")]
    NoSecret,
    /// No public key is in the file.
    #[error(
        "holds no PUBLIC KEY in PEM of RSA, P-256, P-384 or Ed25519; `openssl pkey -in KEY -pubout` writes one"
    )]
    NoPublicKey,
    /// The key's size.
    #[error("holds an RSA key of {0} bits; 2048 to 8192 are accepted")]
    RsaSize(usize),
    /// The key is not for what the entry allows.
    #[error("holds a key for {fits}, none of which is in algorithms; name one of them there")]
    NoAlgorithm {
        /// What it is for.
        fits: String,
    },
    /// Not a set of keys.
    #[error("is no JSON Web Key Set")]
    NoSet,
    /// A set without any key that could be used.
    #[error("holds no key that could be used: {0}")]
    NoUsableKey(String),
}

/// A key and the algorithms it may be used with.
pub struct Key {
    /// Its name in a set of keys.
    pub kid: Option<String>,
    algorithms: Vec<Algorithm>,
    key: DecodingKey,
}

impl Key {
    /// A key for those of `allowed` that its kind is for.
    pub fn new(
        kid: Option<String>,
        material: Material,
        allowed: &[Algorithm],
    ) -> Result<Self, KeyFault> {
        let fits = material.algorithms();
        let algorithms: Vec<_> = allowed
            .iter()
            .filter(|algorithm| fits.contains(algorithm))
            .copied()
            .collect();
        if algorithms.is_empty() {
            let names: Vec<_> = fits.iter().map(|name| format!("{name:?}")).collect();
            return Err(KeyFault::NoAlgorithm {
                fits: names.join(", "),
            });
        }
        let key = material.key()?;
        Ok(Key {
            kid,
            algorithms,
            key,
        })
    }

    /// Whether it may be used with this.
    pub fn is_for(&self, algorithm: Algorithm) -> bool {
        self.algorithms.contains(&algorithm)
    }

    /// Whether the token's signature was made with it.
    pub fn has_signed(&self, token: &Token<'_>) -> bool {
        let message = token.message.as_bytes();
        self.is_for(token.algorithm)
            && crypto::verify(token.signature, message, &self.key, token.algorithm).unwrap_or(false)
    }
}

/// What a key is made of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Material {
    /// Modulus and exponent, without zeros before.
    Rsa(Vec<u8>, Vec<u8>),
    /// An uncompressed point of P-256.
    P256(Vec<u8>),
    /// An uncompressed point of P-384.
    P384(Vec<u8>),
    /// A public key of Ed25519.
    Ed25519(Vec<u8>),
}

impl Material {
    /// The algorithms such a key can be used with.
    pub fn algorithms(&self) -> &'static [Algorithm] {
        use Algorithm::*;
        match self {
            Material::Rsa(..) => &[RS256, RS384, RS512, PS256, PS384, PS512],
            Material::P256(_) => &[ES256],
            Material::P384(_) => &[ES384],
            Material::Ed25519(_) => &[EdDSA],
        }
    }

    fn key(&self) -> Result<DecodingKey, KeyFault> {
        Ok(match self {
            Material::Rsa(modulus, exponent) => {
                let top = modulus.first().copied().unwrap_or_default();
                let bits = (modulus.len() * 8).saturating_sub(top.leading_zeros() as usize);
                if !(2048..=8192).contains(&bits) {
                    return Err(KeyFault::RsaSize(bits));
                }
                DecodingKey::from_rsa_raw_components(modulus, exponent)
            }
            Material::P256(point) | Material::P384(point) => DecodingKey::from_ec_der(point),
            Material::Ed25519(key) => DecodingKey::from_ed_der(key),
        })
    }
}

/// A secret for the HMACs of `allowed`. It must be as long as their sums are (RFC 7518, section 3.2).
pub fn secret(bytes: &[u8], allowed: &[Algorithm]) -> Result<Key, KeyFault> {
    if bytes.windows(11).any(|window| window == b"-----BEGIN ") {
        return Err(KeyFault::NoSecret);
    }
    for algorithm in allowed {
        let needed = match algorithm {
            Algorithm::HS256 => 32,
            Algorithm::HS384 => 48,
            _ => 64,
        };
        if bytes.len() < needed {
            return Err(KeyFault::Short {
                found: bytes.len(),
                needed,
                algorithm: *algorithm,
            });
        }
    }
    Ok(Key {
        kid: None,
        // another algorithm with these bytes for a key is impossible
        algorithms: allowed
            .iter()
            .filter(|algorithm| algorithm.family() == AlgorithmFamily::Hmac)
            .copied()
            .collect(),
        key: DecodingKey::from_secret(bytes),
    })
}

/// The public key in a PEM file, for those of `allowed` that it can be used with.
pub fn public(pem: &[u8], allowed: &[Algorithm]) -> Result<Key, KeyFault> {
    let der = SubjectPublicKeyInfoDer::from_pem_slice(pem).map_err(|_| KeyFault::NoPublicKey)?;
    let (_, info) = SubjectPublicKeyInfo::from_der(&der).map_err(|_| KeyFault::NoPublicKey)?;
    let material = material(&info).ok_or(KeyFault::NoPublicKey)?;
    Key::new(None, material, allowed)
}

fn material(info: &SubjectPublicKeyInfo<'_>) -> Option<Material> {
    let bits = || info.subject_public_key.data.to_vec();
    let curve = || info.algorithm.parameters.as_ref()?.as_oid().ok();
    match info.algorithm.algorithm.to_id_string().as_str() {
        "1.2.840.113549.1.1.1" => match info.parsed().ok()? {
            PublicKey::RSA(RSAPublicKey { modulus, exponent }) => {
                Some(Material::Rsa(trimmed(modulus), trimmed(exponent)))
            }
            _ => None,
        },
        "1.2.840.10045.2.1" => match curve()?.to_id_string().as_str() {
            "1.2.840.10045.3.1.7" => Some(Material::P256(bits())).filter(|_| bits().len() == 65),
            "1.3.132.0.34" => Some(Material::P384(bits())).filter(|_| bits().len() == 97),
            _ => None,
        },
        "1.3.101.112" => Some(Material::Ed25519(bits())).filter(|_| bits().len() == 32),
        _ => None,
    }
}

/// Without the zeros that come first.
pub fn trimmed(number: &[u8]) -> Vec<u8> {
    let zeros = number.iter().take_while(|byte| **byte == 0).count();
    number[zeros..].to_vec()
}
