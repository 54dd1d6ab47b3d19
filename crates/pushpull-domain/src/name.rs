//! Names that users give: checked once, then trusted.

use std::{fmt, ops::Deref, sync::Arc};

use serde::{Deserialize, Deserializer, Serialize, de};

/// Why a text is no such name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidName {
    /// Nothing at all.
    #[error("must not be empty")]
    Empty,
    /// Longer than this many characters.
    #[error("must have at most {0} characters")]
    TooLong(usize),
    /// A character outside the pattern.
    #[error("must match the pattern {0}")]
    Character(&'static str),
}

fn check(text: &str, max: usize, pattern: &'static str, extra: &[u8]) -> Result<(), InvalidName> {
    if text.is_empty() {
        return Err(InvalidName::Empty);
    }
    if text.len() > max {
        return Err(InvalidName::TooLong(max));
    }
    if !text.bytes().all(|c| c.is_ascii_alphanumeric() || extra.contains(&c)) {
        return Err(InvalidName::Character(pattern));
    }
    Ok(())
}

macro_rules! name {
    ($(#[$doc:meta])* $name:ident, $max:literal, $pattern:literal, $extra:literal) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
        pub struct $name(Arc<str>);

        impl $name {
            /// Longest such name, in characters.
            pub const MAX_LEN: usize = $max;
            /// What it must match.
            pub const PATTERN: &'static str = $pattern;

            /// Checks a text.
            pub fn new(text: &str) -> Result<Self, InvalidName> {
                check(text, $max, $pattern, $extra)?;
                Ok(Self(text.into()))
            }
        }

        impl Deref for $name {
            type Target = str;

            fn deref(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(&**self, f)
            }
        }

        impl std::str::FromStr for $name {
            type Err = InvalidName;

            fn from_str(text: &str) -> Result<Self, InvalidName> {
                Self::new(text)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
                Self::new(&text).map_err(de::Error::custom)
            }
        }
    };
}

name!(
    /// A user's own name for a thing, used wherever its id is.
    Uid, 256, r"^[a-zA-Z0-9\-_.]+$", b"-_."
);
name!(
    /// The name of a kind of message: `invoice.paid`.
    EventTypeName, 256, r"^[a-zA-Z0-9\-_.]+$", b"-_."
);
name!(
    /// A user's own id of an event, unique in its application while its message is kept.
    EventId, 256, r"^[a-zA-Z0-9\-_.]+$", b"-_."
);
name!(
    /// The name of a feature that hides event types.
    FeatureFlag, 256, r"^[a-zA-Z0-9\-_.]+$", b"-_."
);
name!(
    /// The name of a reader of an endpoint's queue, whose place is kept.
    ConsumerName, 256, r"^[a-zA-Z0-9\-_.]+$", b"-_."
);
name!(
    /// Who holds a lease: whatever a reader calls itself.
    Holder, 256, r"^[a-zA-Z0-9\-_.]+$", b"-_."
);
name!(
    /// A dimension of filtering beside the event type: `project_1337`.
    Channel, 128, r"^[a-zA-Z0-9\-_.:+]+$", b"-_.:+"
);
name!(
    /// A label of a message, to find it by.
    Tag, 128, r"^[a-zA-Z0-9\-_./\\#]+$", b"-_./\\#"
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_checked_at_the_edge() {
        assert_eq!(&*Uid::new("user-1_2.3").unwrap(), "user-1_2.3");
        assert_eq!(Uid::new(""), Err(InvalidName::Empty));
        assert_eq!(Uid::new(&"a".repeat(257)), Err(InvalidName::TooLong(256)));
        assert!(matches!(Uid::new("a b"), Err(InvalidName::Character(_))));
        assert!(Channel::new("a:b+c").is_ok() && Channel::new("a/b").is_err());
        assert!(Tag::new(r"a/b\c#d").is_ok() && Tag::new("a:b").is_err());
    }
}
