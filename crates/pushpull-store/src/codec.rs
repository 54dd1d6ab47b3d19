//! How keys, lists, timings and states are written in columns.

use std::time::Duration;

use bytes::Bytes;
use pushpull_domain::{
    AppNo, CancelReason, DeliveryKey, DeliveryState, EndpointNo, MessageKey, Position, Seq, Timestamp,
    attempt::{ErrorClass, Outcome, Timings, Trigger},
};

/// Bits of a position, seq or attempt number in a key; the rest is the application's or endpoint's number.
const PLACE_BITS: u32 = 40;
const PLACE_MASK: i64 = (1 << PLACE_BITS) - 1;
/// Largest number of an application or endpoint that still fits a key.
pub const NO_MAX: u32 = (1 << 23) - 1;

fn join(no: u32, place: u64) -> i64 {
    (i64::from(no) << PLACE_BITS) | (place as i64 & PLACE_MASK)
}

/// The first and the last key that a number's rows can have.
pub fn range(no: u32) -> (i64, i64) {
    (join(no, 0), join(no, PLACE_MASK as u64))
}

/// The place in a key.
pub fn place(key: i64) -> u64 {
    (key & PLACE_MASK) as u64
}

/// The number in a key.
pub fn no(key: i64) -> u32 {
    (key >> PLACE_BITS) as u32
}

/// A message's key.
pub fn message_key(key: MessageKey) -> i64 {
    join(key.app.0, key.position.0)
}

/// What [`message_key`] was made of.
pub fn to_message_key(key: i64) -> MessageKey {
    MessageKey { app: AppNo(no(key)), position: Position(place(key)) }
}

/// A delivery's key.
pub fn delivery_key(key: DeliveryKey) -> i64 {
    join(key.endpoint.0, key.seq.0)
}

/// What [`delivery_key`] was made of.
pub fn to_delivery_key(key: i64) -> DeliveryKey {
    DeliveryKey { endpoint: EndpointNo(no(key)), seq: Seq(place(key)) }
}

/// An attempt's key.
pub fn attempt_key(endpoint: EndpointNo, n: u64) -> i64 {
    join(endpoint.0, n)
}

fn put(out: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        out.push(number as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

fn take(bytes: &mut &[u8]) -> Option<u64> {
    let mut number = 0_u64;
    for shift in (0..64).step_by(7) {
        let (&byte, rest) = bytes.split_first()?;
        *bytes = rest;
        number |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return Some(number);
        }
    }
    None
}

/// A message's deliveries, packed.
pub fn fanout(pairs: &[(EndpointNo, Seq)]) -> Vec<u8> {
    let mut out = Vec::with_capacity(pairs.len() * 6);
    for (endpoint, seq) in pairs {
        put(&mut out, u64::from(endpoint.0));
        put(&mut out, seq.0);
    }
    out
}

/// `None`: not what [`fanout`] wrote.
pub fn to_fanout(mut bytes: &[u8]) -> Option<Vec<(EndpointNo, Seq)>> {
    let mut pairs = Vec::new();
    while !bytes.is_empty() {
        let endpoint = u32::try_from(take(&mut bytes)?).ok()?;
        pairs.push((EndpointNo(endpoint), Seq(take(&mut bytes)?)));
    }
    Some(pairs)
}

/// An attempt's timings, packed.
pub fn timings(timings: &Timings) -> Vec<u8> {
    let micros = |d: Duration| u64::try_from(d.as_micros()).unwrap_or(u64::MAX);
    let mut out = Vec::with_capacity(16);
    put(&mut out, micros(timings.wait));
    put(&mut out, micros(timings.total));
    for step in [timings.dns, timings.connect, timings.tls, timings.first_byte] {
        put(&mut out, step.map_or(0, |d| micros(d).saturating_add(1)));
    }
    out
}

/// What cannot be read counts as not measured.
pub fn to_timings(mut bytes: &[u8]) -> Timings {
    let mut next = || take(&mut bytes).unwrap_or(0);
    let (wait, total) = (Duration::from_micros(next()), Duration::from_micros(next()));
    let mut step = || next().checked_sub(1).map(Duration::from_micros);
    Timings { wait, total, dns: step(), connect: step(), tls: step(), first_byte: step() }
}

/// Names never contain a space, so a list is one text; empty: `None`.
pub fn words<T: AsRef<str>>(list: impl IntoIterator<Item = T>) -> Option<String> {
    let mut text = String::new();
    for word in list {
        if !text.is_empty() {
            text.push(' ');
        }
        text.push_str(word.as_ref());
    }
    (!text.is_empty()).then_some(text)
}

/// What [`DeliveryState::Delivered`] is written as.
pub const DELIVERED: u8 = 1;

/// What a state is written as.
pub fn state_number(state: DeliveryState) -> u8 {
    match state {
        DeliveryState::Owed { .. } => 0,
        DeliveryState::Delivered => DELIVERED,
        DeliveryState::Exhausted => 2,
        DeliveryState::Cancelled(CancelReason::Retention) => 3,
        DeliveryState::Cancelled(CancelReason::Expunged) => 4,
        DeliveryState::Cancelled(CancelReason::Deleted) => 5,
    }
}

/// The state that is written as this number, with what is written beside it of one that is owed. `None`: no number of
/// ours.
pub fn to_state(number: u8, due_at: Option<i64>, trigger: u8) -> Option<DeliveryState> {
    Some(match number {
        0 => DeliveryState::Owed { due_at: due_at.map(Timestamp::from_millis), trigger: to_trigger(trigger) },
        DELIVERED => DeliveryState::Delivered,
        2 => DeliveryState::Exhausted,
        3 => DeliveryState::Cancelled(CancelReason::Retention),
        4 => DeliveryState::Cancelled(CancelReason::Expunged),
        5 => DeliveryState::Cancelled(CancelReason::Deleted),
        _ => return None,
    })
}

/// Who asked for an attempt.
pub fn to_trigger(number: u8) -> Trigger {
    if number == Trigger::Manual as u8 { Trigger::Manual } else { Trigger::Scheduled }
}

/// What came of an attempt, from its columns. `None`: neither a status nor an error.
pub fn to_outcome(
    status: Option<u16>,
    class: Option<u8>,
    detail: Option<String>,
    body: Bytes,
) -> Option<Outcome> {
    match (status, class.and_then(ErrorClass::from_number)) {
        (Some(status), None) => Some(Outcome::Delivered { status, body }),
        // What a receiver asked for has been obeyed by then and is not kept.
        (Some(status), Some(_)) => Some(Outcome::Refused { status, body, retry_after: None }),
        (None, Some(class)) => Some(Outcome::Failed { class, detail: detail.unwrap_or_default() }),
        (None, None) => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn what_is_packed_is_unpacked(pairs in proptest::collection::vec((0_u32..=NO_MAX, 0_u64..1 << 40), 0..20),
            micros: [u32; 6], some: [bool; 4]) {
            let pairs: Vec<_> = pairs.into_iter().map(|(e, s)| (EndpointNo(e), Seq(s))).collect();
            prop_assert_eq!(to_fanout(&fanout(&pairs)), Some(pairs.clone()));
            for (endpoint, seq) in pairs {
                let key = DeliveryKey { endpoint, seq };
                prop_assert_eq!(to_delivery_key(delivery_key(key)), key);
                let (first, last) = range(endpoint.0);
                prop_assert!((first..=last).contains(&delivery_key(key)));
            }
            let step = |i: usize| some[i].then(|| Duration::from_micros(u64::from(micros[i])));
            let measured = Timings { wait: Duration::from_micros(u64::from(micros[4])),
                total: Duration::from_micros(u64::from(micros[5])), dns: step(0), connect: step(1), tls: step(2),
                first_byte: step(3) };
            prop_assert_eq!(to_timings(&timings(&measured)), measured);
        }
    }

    #[test]
    fn a_cut_fanout_is_refused() {
        let bytes = fanout(&[(EndpointNo(300), Seq(5))]);
        assert_eq!(to_fanout(&bytes[..bytes.len() - 1]), None);
    }
}
