//! Identifiers: typed, prefixed, sortable by time.
//!
//! The shape is the Svix API's: a prefix and 27 base-62 characters (a KSUID with milliseconds: four
//! bytes of seconds since 2014-05-13, one byte of 4 ms steps, fifteen bytes more). What the fifteen
//! bytes hold differs: chance for what is made rarely; for messages and attempts their place in the
//! log and eight bytes of chance, so that one is found by its id without an index.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::Timestamp;

/// Seconds between the Unix epoch and the KSUID epoch.
const EPOCH_SECS: i64 = 1_400_000_000;
/// Characters of an id after its prefix.
const TEXT_LEN: usize = 27;
/// Digits are split off five at a time: 62^5 still fits a word.
const FIVE_DIGITS: u64 = 62_u64.pow(5);
const ALPHABET: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/// A text that is no id of the wanted kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not an id that starts with `{prefix}`")]
pub struct InvalidId {
    /// The prefix that was wanted, with its underscore.
    pub prefix: &'static str,
}

/// The twenty bytes of an id, without its prefix.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RawId([u8; 20]);

impl RawId {
    /// An id made at a moment (kept in steps of 4 ms, from 2014 to 2150), with fifteen bytes more.
    pub fn new(at: Timestamp, rest: [u8; 15]) -> Self {
        let millis = at.as_millis() - EPOCH_SECS * 1000;
        let secs = u32::try_from(millis.div_euclid(1000)).unwrap_or(if millis < 0 { 0 } else { u32::MAX });
        let step = (millis.rem_euclid(1000) / 4) as u8;
        let mut bytes = [0; 20];
        bytes[..4].copy_from_slice(&secs.to_be_bytes());
        bytes[4] = step;
        bytes[5..].copy_from_slice(&rest);
        Self(bytes)
    }

    /// When it was made, in steps of 4 ms.
    pub fn at(self) -> Timestamp {
        let secs = u32::from_be_bytes([self.0[0], self.0[1], self.0[2], self.0[3]]);
        Timestamp::from_millis((i64::from(secs) + EPOCH_SECS) * 1000 + i64::from(self.0[4]) * 4)
    }

    /// An id that holds a number (under 2^48) and eight bytes of chance.
    fn numbered(at: Timestamp, number: u64, salt: u64) -> Self {
        let mut rest = [0; 15];
        rest[..6].copy_from_slice(&number.to_be_bytes()[2..]);
        rest[6..14].copy_from_slice(&salt.to_be_bytes());
        Self::new(at, rest)
    }

    fn number(self) -> u64 {
        let mut wide = [0; 8];
        wide[2..].copy_from_slice(&self.0[5..11]);
        u64::from_be_bytes(wide)
    }

    fn salt(self) -> u64 {
        let mut wide = [0; 8];
        wide.copy_from_slice(&self.0[11..19]);
        u64::from_be_bytes(wide)
    }

    /// Base 62, most significant digit first.
    fn encode(self) -> [u8; TEXT_LEN] {
        let mut words = [0_u32; 5];
        for (word, bytes) in words.iter_mut().zip(self.0.chunks_exact(4)) {
            *word = u32::from_be_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]);
        }
        let mut text = [b'0'; TEXT_LEN];
        let mut end = TEXT_LEN;
        while end > 0 {
            let mut rest = 0_u64;
            for word in &mut words {
                let value = (rest << 32) | u64::from(*word);
                *word = (value / FIVE_DIGITS) as u32;
                rest = value % FIVE_DIGITS;
            }
            let start = end.saturating_sub(5);
            for place in text[start..end].iter_mut().rev() {
                *place = ALPHABET[(rest % 62) as usize];
                rest /= 62;
            }
            end = start;
        }
        text
    }

    fn decode(text: &[u8]) -> Option<Self> {
        if text.len() != TEXT_LEN {
            return None;
        }
        let mut words = [0_u32; 5];
        for &c in text {
            let mut carry = u64::from(match c {
                b'0'..=b'9' => c - b'0',
                b'A'..=b'Z' => c - b'A' + 10,
                b'a'..=b'z' => c - b'a' + 36,
                _ => return None,
            });
            for word in words.iter_mut().rev() {
                let value = u64::from(*word) * 62 + carry;
                *word = value as u32;
                carry = value >> 32;
            }
            // 27 digits can say a little more than 160 bits.
            if carry != 0 {
                return None;
            }
        }
        let mut bytes = [0; 20];
        for (bytes, word) in bytes.chunks_exact_mut(4).zip(words) {
            bytes.copy_from_slice(&word.to_be_bytes());
        }
        Some(Self(bytes))
    }
}

macro_rules! id {
    ($(#[$doc:meta])* $name:ident, $prefix:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(RawId);

        impl $name {
            /// What such an id starts with.
            pub const PREFIX: &'static str = $prefix;

            /// An id made at a moment, with fifteen bytes of chance.
            pub fn new(at: Timestamp, chance: [u8; 15]) -> Self {
                Self(RawId::new(at, chance))
            }

            /// When it was made, in steps of 4 ms.
            pub fn at(self) -> Timestamp {
                self.0.at()
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str($prefix)?;
                f.write_str(std::str::from_utf8(&self.0.encode()).expect("base 62 is ASCII"))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }

        impl FromStr for $name {
            type Err = InvalidId;

            fn from_str(text: &str) -> Result<Self, InvalidId> {
                text.strip_prefix($prefix)
                    .and_then(|rest| RawId::decode(rest.as_bytes()))
                    .map(Self)
                    .ok_or(InvalidId { prefix: $prefix })
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
                text.parse().map_err(de::Error::custom)
            }
        }
    };
}

macro_rules! numbered {
    ($name:ident, $what:literal) => {
        impl $name {
            #[doc = concat!("The id of ", $what, ", made at a moment, with eight bytes of chance.")]
            pub fn of(at: Timestamp, number: u64, salt: u64) -> Self {
                Self(RawId::numbered(at, number, salt))
            }

            #[doc = concat!("Where to look for it: ", $what, ".")]
            pub fn number(self) -> u64 {
                self.0.number()
            }

            /// The eight bytes of chance: what was found is it only if these agree.
            pub fn salt(self) -> u64 {
                self.0.salt()
            }
        }
    };
}

id!(
    /// An environment (`org_`: the Svix API calls it an organization).
    EnvironmentId, "org_"
);
id!(
    /// An application.
    AppId, "app_"
);
id!(
    /// An endpoint.
    EndpointId, "ep_"
);
id!(
    /// A message.
    MessageId, "msg_"
);
numbered!(MessageId, "the message at this position of its application");
id!(
    /// An attempt.
    AttemptId, "atmpt_"
);
numbered!(AttemptId, "this attempt of its endpoint, counted from 1");
id!(
    /// An API key.
    KeyId, "key_"
);
id!(
    /// A task that goes on in the background (recover).
    TaskId, "qtask_"
);

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_text_of_another_kind_or_length_is_refused() {
        let id = AppId::new(Timestamp::from_millis(1_795_513_560_123), [7; 15]).to_string();
        assert_eq!(id.len(), 31);
        assert!(id.parse::<AppId>().is_ok());
        assert_eq!(id.parse::<EndpointId>(), Err(InvalidId { prefix: "ep_" }));
        assert!(id[..30].parse::<AppId>().is_err());
        assert!("app_zzzzzzzzzzzzzzzzzzzzzzzzzzz".parse::<AppId>().is_err(), "over 160 bits");
        assert!("app_00000000000000000000000000é".parse::<AppId>().is_err());
    }

    proptest! {
        #[test]
        fn an_id_reads_back_what_it_prints(millis in 1_400_000_000_000_i64..5_000_000_000_000, rest: [u8; 15]) {
            let id = AppId::new(Timestamp::from_millis(millis), rest);
            prop_assert_eq!(id.to_string().parse::<AppId>(), Ok(id));
            prop_assert!(millis - id.at().as_millis() < 4);
        }

        #[test]
        fn ids_sort_as_texts_by_time_then_number(a in 1_400_000_000_000_i64..5_000_000_000_000, step in 0_i64..100,
            n in 0_u64..1 << 47, salts: (u64, u64)) {
            let first = MessageId::of(Timestamp::from_millis(a), n, salts.0);
            let second = MessageId::of(Timestamp::from_millis(a + step), n + 1, salts.1);
            prop_assert!(first.to_string() < second.to_string());
            prop_assert_eq!((first.number(), first.salt()), (n, salts.0));
        }
    }
}
