//! Standard Webhooks 1.0.0: what a webhook is signed with, and how.
//!
//! `v1` is HMAC-SHA256, `v1a` is ed25519; both over `{id}.{timestamp}.{body}`.

use std::fmt;

use aws_lc_rs::{
    constant_time, hmac,
    signature::{ED25519, Ed25519KeyPair, KeyPair, UnparsedPublicKey},
};
use base64::{Engine, engine::general_purpose::STANDARD as BASE64};

use crate::{Chance, Timestamp, chance};

/// Fewest bytes of an HMAC secret (Standard Webhooks 1.0.0, "Signature scheme").
const HMAC_MIN: usize = 24;
/// Most bytes of an HMAC secret: what the Svix API's pattern lets through.
const HMAC_MAX: usize = 75;
/// Bytes of a secret that we make.
const HMAC_OURS: usize = 24;
/// Most old secrets that sign along at once.
pub const OLD_SECRETS_MAX: usize = 10;

/// Which kind of secret an endpoint gets when none is given.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SignatureType {
    /// Symmetric: sender and receiver share the secret.
    #[default]
    Hmac256,
    /// Asymmetric: the receiver has the public key only.
    Ed25519,
}

impl SignatureType {
    /// The word for it in settings: `hmac256` or `ed25519`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Hmac256 => "hmac256",
            Self::Ed25519 => "ed25519",
        }
    }
}

/// Why a text is no secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidSecret {
    /// Not base 64 after the prefix.
    #[error("the secret is not base64 after its prefix")]
    Base64,
    /// Too short or too long.
    #[error("an HMAC secret has {HMAC_MIN} to {HMAC_MAX} bytes")]
    Length,
    /// A `whsk_` secret that is no ed25519 key pair.
    #[error("a `whsk_` secret is an ed25519 seed and its public key, 64 bytes")]
    KeyPair,
    /// A public key, or a version of keys that is not supported.
    #[error("secrets start with `whsec_` or `whsk_`")]
    Prefix,
}

/// What an endpoint's webhooks are signed with.
#[derive(Clone, PartialEq, Eq)]
pub enum Secret {
    /// The bytes of an HMAC-SHA256 key.
    Hmac(Vec<u8>),
    /// An ed25519 seed and its public key.
    Ed25519 {
        /// The private half.
        seed: [u8; 32],
        /// The public half.
        public: [u8; 32],
    },
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Hmac(_) => "Hmac(..)",
            Self::Ed25519 { .. } => "Ed25519(..)",
        })
    }
}

impl Secret {
    /// A new secret.
    pub fn generate(kind: SignatureType, source: &dyn Chance) -> Self {
        match kind {
            SignatureType::Hmac256 => Self::Hmac(chance::bytes::<HMAC_OURS>(source).to_vec()),
            SignatureType::Ed25519 => Self::from_seed(chance::bytes(source)),
        }
    }

    fn from_seed(seed: [u8; 32]) -> Self {
        let pair = Ed25519KeyPair::from_seed_unchecked(&seed).expect("any 32 bytes are a seed");
        let public = pair.public_key().as_ref().try_into().expect("an ed25519 public key has 32 bytes");
        Self::Ed25519 { seed, public }
    }

    /// Reads a secret: `whsec_` or nothing before an HMAC secret, `whsk_` before a key pair.
    pub fn parse(text: &str) -> Result<Self, InvalidSecret> {
        let decode = |t: &str| BASE64.decode(t).map_err(|_| InvalidSecret::Base64);
        if let Some(rest) = text.strip_prefix("whsk_") {
            let bytes: [u8; 64] = decode(rest)?.try_into().map_err(|_| InvalidSecret::KeyPair)?;
            let secret = Self::from_seed(bytes[..32].try_into().expect("half of 64"));
            return match &secret {
                Self::Ed25519 { public, .. } if public[..] == bytes[32..] => Ok(secret),
                _ => Err(InvalidSecret::KeyPair),
            };
        }
        if text.starts_with("whsk1_") || text.starts_with("whpk_") || text.starts_with("whpk1_") {
            return Err(InvalidSecret::Prefix);
        }
        let bytes = decode(text.strip_prefix("whsec_").unwrap_or(text))?;
        if !(HMAC_MIN..=HMAC_MAX).contains(&bytes.len()) {
            return Err(InvalidSecret::Length);
        }
        Ok(Self::Hmac(bytes))
    }

    /// The whole secret as text, for storage (sealed) and for the sender.
    pub fn to_text(&self) -> String {
        match self {
            Self::Hmac(bytes) => format!("whsec_{}", BASE64.encode(bytes)),
            Self::Ed25519 { seed, public } => format!("whsk_{}", BASE64.encode([*seed, *public].concat())),
        }
    }

    /// What the receiver verifies with: the HMAC secret, or the public key alone (`whpk_`).
    pub fn to_verifier_text(&self) -> String {
        match self {
            Self::Hmac(_) => self.to_text(),
            Self::Ed25519 { public, .. } => format!("whpk_{}", BASE64.encode(public)),
        }
    }

    /// Which kind it is.
    pub fn kind(&self) -> SignatureType {
        match self {
            Self::Hmac(_) => SignatureType::Hmac256,
            Self::Ed25519 { .. } => SignatureType::Ed25519,
        }
    }
}

/// A secret that was rotated out and signs along until a moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OldSecret {
    /// The secret.
    pub secret: Secret,
    /// From then on it signs no more.
    pub expires_at: Timestamp,
}

/// The secret of an endpoint and those that it had before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Secrets {
    /// What signs now.
    pub current: Secret,
    /// What signs along, newest first; at most [`OLD_SECRETS_MAX`].
    pub old: Vec<OldSecret>,
}

impl Secrets {
    /// A first secret.
    pub fn new(current: Secret) -> Self {
        Self { current, old: Vec::new() }
    }

    /// Puts a new secret in place; the one before signs along until `old_until`.
    ///
    /// What expired by `now` is forgotten, and so is the oldest beyond [`OLD_SECRETS_MAX`].
    pub fn rotate(&mut self, new: Secret, old_until: Timestamp, now: Timestamp) {
        let before = std::mem::replace(&mut self.current, new);
        self.old.insert(0, OldSecret { secret: before, expires_at: old_until });
        self.old.retain(|old| old.expires_at > now);
        self.old.truncate(OLD_SECRETS_MAX);
    }
}

enum Key {
    Hmac(Box<hmac::Key>),
    Ed25519(Box<Ed25519KeyPair>),
}

impl Key {
    fn new(secret: &Secret) -> Self {
        match secret {
            Secret::Hmac(bytes) => Self::Hmac(Box::new(hmac::Key::new(hmac::HMAC_SHA256, bytes))),
            Secret::Ed25519 { seed, .. } => Self::Ed25519(Box::new(
                Ed25519KeyPair::from_seed_unchecked(seed).expect("any 32 bytes are a seed"),
            )),
        }
    }

    fn sign(&self, prefix: &[u8], body: &[u8], header: &mut String) {
        match self {
            Self::Hmac(key) => {
                let mut context = hmac::Context::with_key(key);
                context.update(prefix);
                context.update(body);
                header.push_str("v1,");
                BASE64.encode_string(context.sign().as_ref(), header);
            }
            Self::Ed25519(pair) => {
                let signature = pair.sign(&[prefix, body].concat());
                header.push_str("v1a,");
                BASE64.encode_string(signature.as_ref(), header);
            }
        }
    }
}

/// An endpoint's keys, made ready once and used for each attempt.
pub struct Signer {
    current: Key,
    old: Vec<(Key, Timestamp)>,
}

impl fmt::Debug for Signer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Signer({} old)", self.old.len())
    }
}

impl Signer {
    /// Makes the keys ready.
    pub fn new(secrets: &Secrets) -> Self {
        Self {
            current: Key::new(&secrets.current),
            old: secrets.old.iter().map(|old| (Key::new(&old.secret), old.expires_at)).collect(),
        }
    }

    /// The `webhook-signature` header: one signature for each secret that is valid at `now`, current first.
    pub fn sign(&self, id: &str, now: Timestamp, body: &[u8]) -> String {
        let prefix = format!("{id}.{}.", now.as_secs());
        let mut header = String::with_capacity(48 * (1 + self.old.len()));
        self.current.sign(prefix.as_bytes(), body, &mut header);
        for (key, _) in self.old.iter().filter(|(_, until)| *until > now) {
            header.push(' ');
            key.sign(prefix.as_bytes(), body, &mut header);
        }
        header
    }
}

/// Whether one of the signatures in a `webhook-signature` header is right: whole length, constant time.
///
/// `verifier` is what [`Secret::to_verifier_text`] gives. Anything that cannot be read is not right.
pub fn verify(verifier: &str, id: &str, timestamp: &str, body: &[u8], header: &str) -> bool {
    let signed = [id.as_bytes(), b".", timestamp.as_bytes(), b".", body].concat();
    let public = verifier.strip_prefix("whpk_").and_then(|t| BASE64.decode(t).ok());
    let shared = match Secret::parse(verifier) {
        Ok(Secret::Hmac(bytes)) => Some(hmac::Key::new(hmac::HMAC_SHA256, &bytes)),
        _ => None,
    };
    header.split(' ').filter_map(|part| part.split_once(',')).any(|(version, signature)| {
        let Ok(signature) = BASE64.decode(signature) else { return false };
        match (version, &shared, &public) {
            ("v1", Some(key), _) => {
                let right = hmac::sign(key, &signed);
                constant_time::verify_slices_are_equal(right.as_ref(), &signature).is_ok()
            }
            ("v1a", _, Some(public)) => {
                UnparsedPublicKey::new(&ED25519, public).verify(&signed, &signature).is_ok()
            }
            _ => false,
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::SeededChance;

    const NOW: Timestamp = Timestamp::from_millis(1_614_265_330_000);

    #[test]
    fn the_published_vector_is_signed_as_published() {
        // Standard Webhooks' reference libraries, test of `sign`.
        let secret = Secret::parse("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").unwrap();
        let header = Signer::new(&Secrets::new(secret)).sign(
            "msg_p5jXN8AQM9LWM0D4loKWxJek",
            NOW,
            br#"{"test": 2432232314}"#,
        );
        assert_eq!(header, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
    }

    #[test]
    fn both_kinds_verify_and_any_change_does_not() {
        for kind in [SignatureType::Hmac256, SignatureType::Ed25519] {
            let secret = Secret::generate(kind, &SeededChance::new(1));
            let verifier = secret.to_verifier_text();
            let header = Signer::new(&Secrets::new(secret)).sign("msg_1", NOW, b"{}");
            let at = NOW.as_secs().to_string();
            assert!(verify(&verifier, "msg_1", &at, b"{}", &header));
            assert!(!verify(&verifier, "msg_2", &at, b"{}", &header));
            assert!(!verify(&verifier, "msg_1", "1614265331", b"{}", &header));
            assert!(!verify(&verifier, "msg_1", &at, b"{} ", &header));
            assert!(!verify(&verifier, "msg_1", &at, b"{}", &header[..header.len() - 4]));
            assert!(!verify(&verifier, "msg_1", &at, b"{}", "v1,"));
            assert!(!verify("", "msg_1", &at, b"{}", &header));
        }
    }

    #[test]
    fn rotated_secrets_sign_along_until_they_expire() {
        let source = SeededChance::new(2);
        let mut secrets = Secrets::new(Secret::generate(SignatureType::Hmac256, &source));
        let old = secrets.current.to_verifier_text();
        let until = Timestamp::from_millis(NOW.as_millis() + 60_000);
        secrets.rotate(Secret::generate(SignatureType::Ed25519, &source), until, NOW);
        let signer = Signer::new(&secrets);
        let both = signer.sign("m", NOW, b"x");
        let at = NOW.as_secs().to_string();
        assert!(verify(&old, "m", &at, b"x", &both));
        assert!(verify(&secrets.current.to_verifier_text(), "m", &at, b"x", &both));
        assert_eq!(signer.sign("m", until, b"x").split(' ').count(), 1);
    }

    #[test]
    fn secrets_are_read_strictly() {
        let pair = Secret::generate(SignatureType::Ed25519, &SeededChance::new(3));
        assert_eq!(Secret::parse(&pair.to_text()), Ok(pair.clone()));
        assert_eq!(Secret::parse(&pair.to_verifier_text()), Err(InvalidSecret::Prefix));
        assert_eq!(Secret::parse("whsec_AAAA"), Err(InvalidSecret::Length));
        assert_eq!(Secret::parse("whsec_???"), Err(InvalidSecret::Base64));
        assert_eq!(Secret::parse(&format!("whsk_{}", BASE64.encode([1; 64]))), Err(InvalidSecret::KeyPair));
        assert!(Secret::parse("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").is_ok(), "the prefix may be left out");
        assert_eq!(format!("{pair:?}"), "Ed25519(..)");
    }
}
