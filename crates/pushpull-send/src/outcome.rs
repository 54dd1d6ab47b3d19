//! What follows from an attempt.

use std::time::Duration;

use pushpull_domain::{
    Delivery, DeliveryState, RetrySchedule, Timestamp,
    attempt::{ErrorClass, Outcome, Trigger},
};

/// The status with which a receiver says that the endpoint is gone for good (RFC 9110 s. 15.5.11).
const GONE: u16 = 410;
/// How long to wait after a fault of ours, which no schedule counts.
const OWN_FAULT_WAIT: Duration = Duration::from_secs(5);

/// What an attempt means for its endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It works.
    Succeeded,
    /// It answered, but not with success, or refused the connection: it costs little to ask again.
    Failed,
    /// It kept us waiting: asking again costs a place for as long.
    Stalled,
    /// It wants nothing any more.
    Gone,
    /// A fault of ours: says nothing about the endpoint.
    OwnFault,
}

impl Verdict {
    pub(crate) fn of(outcome: &Outcome) -> Self {
        match outcome {
            Outcome::Delivered { .. } => Self::Succeeded,
            Outcome::Refused { status: GONE, .. } => Self::Gone,
            Outcome::Refused { .. } => Self::Failed,
            Outcome::Failed { class, .. } => match class {
                ErrorClass::Timeout | ErrorClass::ConnectTimeout => Self::Stalled,
                ErrorClass::Internal => Self::OwnFault,
                ErrorClass::Dns
                | ErrorClass::BlockedAddress
                | ErrorClass::ConnectRefused
                | ErrorClass::Tls
                | ErrorClass::ConnectionClosed
                | ErrorClass::Protocol
                | ErrorClass::Status => Self::Failed,
            },
        }
    }
}

/// The delivery as it stands after an attempt that ended now.
///
/// `chance` in 0..1 spreads the next attempt. A fault of ours is not counted.
pub(crate) fn after(
    delivery: &Delivery,
    outcome: &Outcome,
    schedule: &RetrySchedule,
    now: Timestamp,
    chance: f64,
) -> Delivery {
    let attempts = delivery.attempts + 1;
    let owed = |wait| DeliveryState::Owed { due_at: Some(now.after(wait)), trigger: Trigger::Scheduled };
    let (state, attempts) = match Verdict::of(outcome) {
        Verdict::Succeeded => (DeliveryState::Delivered, attempts),
        Verdict::Gone => (DeliveryState::Exhausted, attempts),
        Verdict::OwnFault => (owed(OWN_FAULT_WAIT), delivery.attempts),
        Verdict::Failed | Verdict::Stalled => {
            let asked = match outcome {
                Outcome::Refused { retry_after, .. } => *retry_after,
                Outcome::Delivered { .. } | Outcome::Failed { .. } => None,
            };
            (schedule.wait_after(attempts, asked, chance).map_or(DeliveryState::Exhausted, owed), attempts)
        }
    };
    Delivery { state, attempts, ..*delivery }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use pushpull_domain::{AppNo, DeliveryKey, EndpointNo, MessageKey, Position, Seq};

    use super::*;

    const NOW: Timestamp = Timestamp::from_millis(1_000_000);

    fn delivery(attempts: u32) -> Delivery {
        Delivery {
            key: DeliveryKey { endpoint: EndpointNo(1), seq: Seq(1) },
            message: MessageKey { app: AppNo(1), position: Position(1) },
            state: DeliveryState::Owed { due_at: Some(NOW), trigger: Trigger::Manual },
            attempts,
        }
    }

    fn refused(status: u16, retry_after: Option<u64>) -> Outcome {
        Outcome::Refused { status, body: Bytes::new(), retry_after: retry_after.map(Duration::from_secs) }
    }

    fn failed(class: ErrorClass) -> Outcome {
        Outcome::Failed { class, detail: String::new() }
    }

    #[track_caller]
    fn check(attempts: u32, outcome: &Outcome, expected: (DeliveryState, u32)) {
        let schedule: RetrySchedule = "5s,60s".parse().unwrap();
        let after = after(&delivery(attempts), outcome, &schedule, NOW, 0.0);
        assert_eq!((after.state, after.attempts), expected);
    }

    fn owed(secs: u64) -> DeliveryState {
        DeliveryState::Owed {
            due_at: Some(NOW.after(Duration::from_secs(secs))),
            trigger: Trigger::Scheduled,
        }
    }

    #[test]
    fn the_schedule_is_followed_to_its_end() {
        let delivered = Outcome::Delivered { status: 204, body: Bytes::new() };
        check(0, &delivered, (DeliveryState::Delivered, 1));
        check(0, &refused(500, None), (owed(5), 1));
        check(1, &refused(302, None), (owed(60), 2));
        check(2, &refused(500, None), (DeliveryState::Exhausted, 3));
        check(0, &failed(ErrorClass::Timeout), (owed(5), 1));
    }

    #[test]
    fn retry_after_lengthens_a_wait_and_never_shortens_it() {
        check(0, &refused(429, Some(120)), (owed(120), 1));
        check(1, &refused(503, Some(1)), (owed(60), 2));
        check(0, &refused(429, Some(1_000_000)), (owed(86_400), 1));
    }

    #[test]
    fn a_410_ends_the_delivery_at_once() {
        check(0, &refused(410, None), (DeliveryState::Exhausted, 1));
        assert_eq!(Verdict::of(&refused(410, None)), Verdict::Gone);
    }

    #[test]
    fn a_fault_of_ours_is_not_counted() {
        check(1, &failed(ErrorClass::Internal), (owed(5), 1));
    }
}
