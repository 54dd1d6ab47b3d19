//! Iterators of an endpoint's queue: a place in it that leaves the house, and is known again when it comes back.
//!
//! Authenticated with a key derived from the master key, so that a place cannot be made up or carried to another
//! endpoint, and tied to the store's history, so that one from before a restored backup is known as such.

use std::fmt;

use aws_lc_rs::{constant_time::verify_slices_are_equal, hmac};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};

use crate::{EndpointNo, Seq, seal::MasterKey};

/// The first byte: the form described here.
const FORM: u8 = 1;
/// Form, seq and history.
const HEAD_LEN: usize = 1 + 8 + 8;
/// Bytes of the HMAC-SHA256 that are kept: nobody guesses 128 bits.
const MAC_LEN: usize = 16;
/// What an iterator's key is derived for.
const PURPOSE: &str = "iterator";

/// Why an iterator is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum IteratorError {
    /// Made up, cut, changed, or of another endpoint.
    #[error("not an iterator of this endpoint")]
    Invalid,
    /// Of a history that ended: the store is a restored backup, and what was read may not be what it holds now.
    #[error("of a history that ended when the store was restored")]
    OtherHistory,
}

/// Makes and reads the iterators of a store's endpoints.
pub struct Iterators {
    history: u64,
    /// The newest first: it makes; all of them are known.
    keys: Vec<hmac::Key>,
}

impl fmt::Debug for Iterators {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Iterators(..)")
    }
}

impl Iterators {
    /// For a store of this history, with the master keys it has had.
    pub fn new(history: u64, newest: &MasterKey, older: &[MasterKey]) -> Self {
        let key = |master: &MasterKey| hmac::Key::new(hmac::HMAC_SHA256, &master.derive(PURPOSE));
        Self { history, keys: std::iter::once(newest).chain(older).map(key).collect() }
    }

    /// The iterator of a place: what comes after this seq.
    pub fn make(&self, endpoint: EndpointNo, after: Seq) -> String {
        let mut bytes = [0; HEAD_LEN + MAC_LEN];
        bytes[0] = FORM;
        bytes[1..9].copy_from_slice(&after.0.to_be_bytes());
        bytes[9..HEAD_LEN].copy_from_slice(&self.history.to_be_bytes());
        let mac = mac(&self.keys[0], endpoint, &bytes[..HEAD_LEN]);
        bytes[HEAD_LEN..].copy_from_slice(&mac.as_ref()[..MAC_LEN]);
        URL_SAFE_NO_PAD.encode(bytes)
    }

    /// The place of an iterator: what comes after this seq is wanted.
    pub fn read(&self, endpoint: EndpointNo, text: &str) -> Result<Seq, IteratorError> {
        let mut bytes = [0; HEAD_LEN + MAC_LEN];
        match URL_SAFE_NO_PAD.decode_slice(text, &mut bytes) {
            Ok(length) if length == bytes.len() && bytes[0] == FORM => {}
            _ => return Err(IteratorError::Invalid),
        }
        let (head, given) = bytes.split_at(HEAD_LEN);
        let is_ours =
            |key| verify_slices_are_equal(&mac(key, endpoint, head).as_ref()[..MAC_LEN], given).is_ok();
        if !self.keys.iter().any(is_ours) {
            return Err(IteratorError::Invalid);
        }
        let number = |part: &[u8]| part.iter().fold(0, |number, byte| number << 8 | u64::from(*byte));
        if number(&head[9..]) != self.history {
            return Err(IteratorError::OtherHistory);
        }
        Ok(Seq(number(&head[1..9])))
    }
}

fn mac(key: &hmac::Key, endpoint: EndpointNo, head: &[u8]) -> hmac::Tag {
    let mut context = hmac::Context::with_key(key);
    context.update(&endpoint.0.to_be_bytes());
    context.update(head);
    context.sign()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MASTER: MasterKey = MasterKey::new([1; 32]);

    proptest! {
        #[test]
        fn an_iterator_is_known_again_unchanged_and_at_its_endpoint(no: u32, other: u32, seq: u64, history: u64,
            place in 0_usize..44, letter in "[A-Za-z0-9_-]") {
            let iterators = Iterators::new(history, &MASTER, &[]);
            let text = iterators.make(EndpointNo(no), Seq(seq));
            prop_assert_eq!(text.len(), 44);
            prop_assert_eq!(iterators.read(EndpointNo(no), &text), Ok(Seq(seq)));
            if other != no {
                prop_assert_eq!(iterators.read(EndpointNo(other), &text), Err(IteratorError::Invalid));
            }
            let mut changed = text.clone();
            changed.replace_range(place..=place, &letter);
            if changed != text {
                prop_assert!(iterators.read(EndpointNo(no), &changed).is_err());
            }
            prop_assert_eq!(iterators.read(EndpointNo(no), &text[..place]), Err(IteratorError::Invalid));
        }

        #[test]
        fn what_is_no_iterator_is_refused(text in "\\PC{0,60}") {
            let iterators = Iterators::new(7, &MASTER, &[]);
            prop_assert_eq!(iterators.read(EndpointNo(1), &text), Err(IteratorError::Invalid));
        }
    }

    #[test]
    fn an_iterator_outlives_a_change_of_the_master_key_but_not_of_the_history() {
        let text = Iterators::new(7, &MASTER, &[]).make(EndpointNo(1), Seq(5));
        let newer = MasterKey::new([2; 32]);
        let read = |iterators: Iterators| iterators.read(EndpointNo(1), &text);
        assert_eq!(read(Iterators::new(7, &newer, &[MASTER])), Ok(Seq(5)));
        assert_eq!(read(Iterators::new(7, &newer, &[])), Err(IteratorError::Invalid));
        assert_eq!(read(Iterators::new(8, &MASTER, &[])), Err(IteratorError::OtherHistory));
    }
}
