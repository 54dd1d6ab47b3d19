//! Deliveries: what is owed to one endpoint for one message, and how it ended.

use std::{num::ParseIntError, str::FromStr};

use crate::{EndpointNo, MessageKey, Timestamp, attempt::Trigger};

/// Where a delivery stands in its endpoint's queue: from 1, without gaps, in commit order; under 2^40.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Seq(pub u64);

impl FromStr for Seq {
    type Err = ParseIntError;

    fn from_str(text: &str) -> Result<Self, ParseIntError> {
        text.parse().map(Self)
    }
}

/// Where a delivery is: its endpoint and its place in that endpoint's queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DeliveryKey {
    /// Whose queue.
    pub endpoint: EndpointNo,
    /// Where in it.
    pub seq: Seq,
}

/// Why a delivery was given up without being attempted to the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CancelReason {
    /// Its message, or its payload, was older than what is kept.
    Retention = 0,
    /// Its payload was erased by a call.
    Expunged = 1,
    /// Its endpoint or application was deleted.
    Deleted = 2,
}

/// How a delivery stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeliveryState {
    /// Still to be delivered.
    Owed {
        /// When the next attempt is due; `None`: a reader comes for it, or it is held.
        due_at: Option<Timestamp>,
        /// Who asked for the next attempt.
        trigger: Trigger,
    },
    /// Answered 2xx.
    Delivered,
    /// Every attempt of its schedule failed.
    Exhausted,
    /// Given up.
    Cancelled(CancelReason),
}

impl DeliveryState {
    /// Whether it is over, one way or another.
    pub fn is_settled(self) -> bool {
        !matches!(self, Self::Owed { .. })
    }
}

/// What is owed to one endpoint for one message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Delivery {
    /// Where it is.
    pub key: DeliveryKey,
    /// For which message.
    pub message: MessageKey,
    /// How it stands.
    pub state: DeliveryState,
    /// Attempts since it was first owed, or since it was last asked for by hand: the schedule counts these.
    pub attempts: u32,
}
