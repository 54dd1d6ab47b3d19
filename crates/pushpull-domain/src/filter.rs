//! Which messages an endpoint wants.

use crate::{Channel, EventTypeName};

/// A subscription's filter. Empty lists do not occur: no restriction is `None`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    /// Only these event types; `None`: all.
    pub event_types: Option<Vec<EventTypeName>>,
    /// Only messages in at least one of these channels; `None`: all, those without a channel too.
    pub channels: Option<Vec<Channel>>,
}

impl Filter {
    /// Whether a message of this type in these channels is wanted.
    pub fn matches(&self, event_type: &EventTypeName, channels: &[Channel]) -> bool {
        self.event_types.as_ref().is_none_or(|wanted| wanted.contains(event_type))
            && self.channels.as_ref().is_none_or(|wanted| channels.iter().any(|c| wanted.contains(c)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(types: Option<&[&str]>, channels: Option<&[&str]>, message: (&str, &[&str]), expected: bool) {
        let channel = |c: &&str| Channel::new(c).unwrap();
        let filter = Filter {
            event_types: types.map(|l| l.iter().map(|t| EventTypeName::new(t).unwrap()).collect()),
            channels: channels.map(|l| l.iter().map(channel).collect()),
        };
        let in_channels: Vec<_> = message.1.iter().map(channel).collect();
        assert_eq!(filter.matches(&EventTypeName::new(message.0).unwrap(), &in_channels), expected);
    }

    #[test]
    fn a_message_matches_by_type_and_channel() {
        check(None, None, ("a", &[]), true);
        check(Some(&["a", "b"]), None, ("b", &["x"]), true);
        check(Some(&["a", "b"]), None, ("ab", &[]), false);
        check(None, Some(&["x"]), ("a", &[]), false);
        check(None, Some(&["x", "y"]), ("a", &["z", "y"]), true);
        check(Some(&["a"]), Some(&["x"]), ("b", &["x"]), false);
    }
}
