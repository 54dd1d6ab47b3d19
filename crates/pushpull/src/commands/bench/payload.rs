//! The payloads: a number, and text that hardly compresses, so that what is stored is what was sent.

use std::fmt::Write;

use bytes::Bytes;

/// What stands before the number; the number follows at once, so that a receiver finds it without parsing.
const HEAD: &str = r#"{"n":""#;
/// Digits of the number.
const DIGITS: usize = 10;
const MIDDLE: &str = r#"","fill":""#;
const TAIL: &str = r#""}"#;
/// Bytes of a payload without any filling.
pub(super) const SIZE_MIN: usize = HEAD.len() + DIGITS + MIDDLE.len() + TAIL.len();
/// Neighbours differ: each payload's filling starts at another of so many places.
const STARTS: usize = 4_096;

/// Payloads of one size.
#[derive(Debug)]
pub(super) struct Payloads {
    filling: String,
    filled: usize,
}

impl Payloads {
    /// Payloads of `size` bytes, at least [`SIZE_MIN`].
    pub(super) fn new(size: usize) -> Self {
        let filled = size.saturating_sub(SIZE_MIN);
        let mut filling = String::with_capacity(filled + STARTS + 16);
        let mut word = 1_u64;
        while filling.len() < filled + STARTS {
            // Steps of a linear congruential generator (Knuth's MMIX), its upper half as text.
            word = word.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let _ = write!(filling, "{:08x}", word >> 32);
        }
        Self { filling, filled }
    }

    /// The bytes of each.
    pub(super) fn size(&self) -> usize {
        SIZE_MIN + self.filled
    }

    /// The one with this number, between `before` and `after`.
    pub(super) fn wrapped(&self, n: usize, before: &str, after: &str) -> Bytes {
        let mut body = String::with_capacity(before.len() + self.size() + after.len());
        let start = n % STARTS;
        body.push_str(before);
        body.push_str(HEAD);
        let _ = write!(body, "{n:0DIGITS$}");
        for part in [MIDDLE, &self.filling[start..start + self.filled], TAIL, after] {
            body.push_str(part);
        }
        body.into()
    }

    /// The one with this number.
    pub(super) fn of(&self, n: usize) -> Bytes {
        self.wrapped(n, "", "")
    }
}

/// The number of a payload; `None`: it is none of ours.
pub(super) fn number(body: &[u8]) -> Option<usize> {
    let digits = body.strip_prefix(HEAD.as_bytes())?.get(..DIGITS)?;
    std::str::from_utf8(digits).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_payload_is_json_of_the_size_asked_for_and_tells_its_number() {
        for size in [SIZE_MIN, 64, 1_024, 70_000] {
            let payloads = Payloads::new(size);
            for n in [0, 7, 4_095, 4_096, 1_999_999] {
                let body = payloads.of(n);
                assert_eq!(body.len(), size);
                assert_eq!(number(&body), Some(n));
                serde_json::from_slice::<serde_json::Value>(&body).unwrap();
            }
        }
    }

    #[test]
    fn what_is_none_of_ours_has_no_number() {
        for body in ["", "{}", r#"{"n":"12"}"#, r#"{"n":"00000000x1"}"#, r#"{ "n":"0000000001"}"#] {
            assert_eq!(number(body.as_bytes()), None, "{body}");
        }
    }

    #[test]
    fn neighbours_differ_in_more_than_their_number() {
        let payloads = Payloads::new(256);
        assert_ne!(payloads.of(1)[SIZE_MIN..], payloads.of(2)[SIZE_MIN..]);
    }
}
