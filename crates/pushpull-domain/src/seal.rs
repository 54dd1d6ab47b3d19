//! Secrets at rest: sealed with a key derived from the master key.
//!
//! AES-256-GCM-SIV (RFC 8452: a repeated nonce costs no key), one key for each purpose by HKDF-SHA256, the
//! place of the value (table and row) as associated data, so that a sealed value moved elsewhere does not open.

use std::fmt;

use aws_lc_rs::{
    aead::{AES_256_GCM_SIV, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey},
    digest, hkdf,
};

use crate::{Chance, chance};

/// The first byte of a sealed value: the form described below.
const FORM: u8 = 1;
/// Form, key id, nonce.
const HEAD_LEN: usize = 1 + 4 + NONCE_LEN;

/// The one secret from which all keys at rest are derived: 32 bytes.
#[derive(Clone)]
pub struct MasterKey([u8; 32]);

impl fmt::Debug for MasterKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "MasterKey({:08x})", self.id())
    }
}

impl MasterKey {
    /// A master key of these bytes.
    pub const fn new(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// Which key this is, as sealed values name it; says nothing about the key.
    pub fn id(&self) -> u32 {
        let hash = digest::digest(&digest::SHA256, &[b"pushpull key id".as_slice(), &self.0].concat());
        let bytes = hash.as_ref();
        u32::from_be_bytes([bytes[0], bytes[1], bytes[2], bytes[3]])
    }

    /// Derives the 32 bytes for one purpose (HKDF-SHA256, RFC 5869).
    pub fn derive(&self, purpose: &str) -> [u8; 32] {
        let mut key = [0; 32];
        let info = [purpose.as_bytes()];
        hkdf::Salt::new(hkdf::HKDF_SHA256, b"pushpull")
            .extract(&self.0)
            .expand(&info, hkdf::HKDF_SHA256)
            .and_then(|okm| okm.fill(&mut key))
            .expect("HKDF-SHA256 gives 32 bytes");
        key
    }
}

/// Why a sealed value does not open.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OpenError {
    /// Not in a form that is known.
    #[error("the sealed value is cut short or of an unknown form")]
    Form,
    /// Sealed with a master key that is not here.
    #[error("the value was sealed with master key {sealed_with:08x}, which is not among those given")]
    UnknownKey {
        /// The id of the key that it was sealed with.
        sealed_with: u32,
    },
    /// Changed, or moved from another place.
    #[error("the sealed value was changed or belongs elsewhere")]
    Broken,
}

/// The id of the master key that a value was sealed with. `None`: it is in no form that is known.
pub fn sealed_with(sealed: &[u8]) -> Option<u32> {
    let id = sealed.get(1..5).filter(|_| sealed.len() >= HEAD_LEN && sealed[0] == FORM)?;
    Some(u32::from_be_bytes(id.try_into().expect("four bytes")))
}

/// Seals with the newest master key, opens with any of those given.
pub struct Sealer {
    keys: Vec<(u32, LessSafeKey)>,
}

impl fmt::Debug for Sealer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.keys.iter().map(|(id, _)| format!("{id:08x}"))).finish()
    }
}

impl Sealer {
    /// A sealer for one purpose. The first master key seals; the others only open what they sealed.
    pub fn new(purpose: &str, newest: &MasterKey, older: &[MasterKey]) -> Self {
        let keys = std::iter::once(newest)
            .chain(older)
            .map(|master| {
                let key =
                    UnboundKey::new(&AES_256_GCM_SIV, &master.derive(purpose)).expect("a key of 32 bytes");
                (master.id(), LessSafeKey::new(key))
            })
            .collect();
        Self { keys }
    }

    /// Seals a value for a place.
    pub fn seal(&self, place: &str, value: &[u8], source: &dyn Chance) -> Vec<u8> {
        let (id, key) = &self.keys[0];
        let nonce: [u8; NONCE_LEN] = chance::bytes(source);
        let mut sealed = value.to_vec();
        key.seal_in_place_append_tag(
            Nonce::assume_unique_for_key(nonce),
            Aad::from(place.as_bytes()),
            &mut sealed,
        )
        .expect("the value is far below the cipher's limit of 64 GiB");
        [&[FORM], id.to_be_bytes().as_slice(), &nonce, &sealed].concat()
    }

    /// Opens a value that was sealed for this place.
    pub fn open(&self, place: &str, sealed: &[u8]) -> Result<Vec<u8>, OpenError> {
        let sealed_with = sealed_with(sealed).ok_or(OpenError::Form)?;
        let key = self
            .keys
            .iter()
            .find_map(|(id, key)| (*id == sealed_with).then_some(key))
            .ok_or(OpenError::UnknownKey { sealed_with })?;
        let nonce = Nonce::try_assume_unique_for_key(&sealed[5..HEAD_LEN]).expect("as long as a nonce");
        let mut value = sealed[HEAD_LEN..].to_vec();
        let length = key
            .open_in_place(nonce, Aad::from(place.as_bytes()), &mut value)
            .map_err(|_| OpenError::Broken)?
            .len();
        value.truncate(length);
        Ok(value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::SeededChance;

    #[test]
    fn a_value_opens_only_unchanged_in_its_place_and_with_its_key() {
        let (old, new) = (MasterKey::new([1; 32]), MasterKey::new([2; 32]));
        let source = SeededChance::new(1);
        let sealed = Sealer::new("endpoint", &old, &[]).seal("endpoint/7", b"whsec_x", &source);
        let both = Sealer::new("endpoint", &new, std::slice::from_ref(&old));
        assert_eq!(both.open("endpoint/7", &sealed).unwrap(), b"whsec_x");
        assert_eq!((sealed_with(&sealed), sealed_with(b"whsec")), (Some(old.id()), None));
        assert_eq!(both.open("endpoint/8", &sealed), Err(OpenError::Broken));
        let only_new = Sealer::new("endpoint", &new, &[]);
        assert_eq!(
            only_new.open("endpoint/7", &sealed),
            Err(OpenError::UnknownKey { sealed_with: old.id() })
        );
        let other_purpose = Sealer::new("headers", &old, &[]);
        assert_eq!(other_purpose.open("endpoint/7", &sealed), Err(OpenError::Broken));
        for i in 0..sealed.len() {
            let mut changed = sealed.clone();
            changed[i] ^= 1;
            assert!(both.open("endpoint/7", &changed).is_err());
            assert!(both.open("endpoint/7", &sealed[..i]).is_err());
        }
        assert!(!sealed.windows(5).any(|w| w == b"whsec"));
    }
}
