//! On which days the rows of a store lie that knew of none.

use std::collections::BTreeSet;

use pushpull_domain::Timestamp;
use pushpull_store::{codec, transfer::Value};

use crate::days::day_of;

/// The days of rows of one kind: where each begins, in the order of keys. They never go back within a number's rows.
#[derive(Debug, Default)]
struct Spans(Vec<(i64, i32)>);

impl Spans {
    /// The next row, written on this day at the earliest.
    fn push(&mut self, key: i64, day: i32) -> i32 {
        let before = self.0.last().filter(|(first, _)| codec::no(*first) == codec::no(key));
        match before {
            Some((_, before)) if *before >= day => *before,
            _ => {
                self.0.push((key, day));
                day
            }
        }
    }

    /// The day of a row that was pushed; of one that was not, which is gone, any or none.
    fn day(&self, key: i64) -> Option<i32> {
        let at = self.0.partition_point(|(first, _)| *first <= key).checked_sub(1)?;
        let (first, day) = self.0[at];
        (codec::no(first) == codec::no(key)).then_some(day)
    }
}

/// The days of messages, deliveries and attempts, as if each had been written where days are known.
#[derive(Debug, Default)]
pub(super) struct Days {
    messages: Spans,
    deliveries: Spans,
    attempts: Spans,
    all: BTreeSet<i32>,
}

/// A moment's day.
fn moment(millis: i64) -> i32 {
    day_of(Timestamp::from_millis(millis))
}

impl Days {
    /// Every day on which something lies.
    pub(super) fn all(&self) -> &BTreeSet<i32> {
        &self.all
    }

    /// The next message, in the order of keys.
    pub(super) fn message(&mut self, key: i64, created_at: i64) {
        self.all.insert(self.messages.push(key, moment(created_at)));
    }

    /// The next delivery, once all messages are known: one that was sent again joined its queue later.
    pub(super) fn delivery(&mut self, key: i64, message: i64) {
        if let Some(day) = self.messages.day(message) {
            self.deliveries.push(key, day);
        }
    }

    /// The next attempt, once all deliveries are known.
    pub(super) fn attempt(&mut self, key: i64, started_at: i64, seq: i64) {
        let delivery = (i64::from(codec::no(key)) << 40) | seq;
        let day = moment(started_at).max(self.deliveries.day(delivery).unwrap_or(i32::MIN));
        self.all.insert(self.attempts.push(key, day));
    }

    /// What a row's columns of days say, by what they are the days of; the columns.
    pub(super) fn of(
        &self,
        table: &'static str,
        value: impl Fn(&'static str) -> i64,
        optional: impl Fn(&'static str) -> Option<i64>,
    ) -> Vec<Option<i32>> {
        let attempt = |column| optional(column).and_then(|key| self.attempts.day(key));
        let message = |column| self.messages.day(value(column));
        match table {
            "message" => vec![message("key")],
            "delivery" => {
                vec![self.deliveries.day(value("key")), message("message"), attempt("last_attempt")]
            }
            "attempt" => vec![attempt("key"), message("message"), attempt("previous")],
            // What is gone has no day, and is looked for on none that there is.
            "event_id" | "idempotency" => vec![message("message").or(Some(0))],
            "consumer_item" => {
                let delivery = (value("endpoint") << 40) | value("seq");
                vec![self.deliveries.day(delivery).or(Some(0))]
            }
            _ => Vec::new(),
        }
    }
}

/// The columns of days that a table has here.
pub(super) fn columns(table: &str) -> &'static [&'static str] {
    match table {
        "message" | "event_id" | "idempotency" | "consumer_item" => &["day"],
        "delivery" => &["day", "message_day", "last_attempt_day"],
        "attempt" => &["day", "message_day", "previous_day"],
        _ => &[],
    }
}

/// A day as a value.
pub(super) fn to_value(day: Option<i32>) -> Value {
    day.map_or(Value::Null, |day| Value::Int(i64::from(day)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::days::DAY_MILLIS;

    fn key(no: i64, place: i64) -> i64 {
        (no << 40) | place
    }

    #[test]
    fn days_never_go_back_within_a_queue_and_what_was_sent_again_joins_late() {
        let mut days = Days::default();
        for (place, day) in [(1, 10), (2, 10), (3, 12)] {
            days.message(key(1, place), day * DAY_MILLIS);
        }
        days.message(key(2, 1), 7 * DAY_MILLIS);
        // The third was sent again: the first message, behind one of the twelfth day.
        for (seq, message) in [(1, 1), (2, 3), (3, 1)] {
            days.delivery(key(5, seq), key(1, message));
        }
        days.delivery(key(6, 1), key(2, 1));
        assert_eq!([1, 2, 3].map(|seq| days.deliveries.day(key(5, seq))), [Some(10), Some(12), Some(12)]);
        // A clock that was put back; then one attempt of the third delivery, begun before that joined.
        for (n, day, seq) in [(1, 11, 1), (2, 10, 1), (3, 11, 3)] {
            days.attempt(key(5, n), day * DAY_MILLIS, seq);
        }
        assert_eq!([1, 2, 3].map(|n| days.attempts.day(key(5, n))), [Some(11), Some(11), Some(12)]);
        assert_eq!(days.messages.day(key(2, 1)), Some(7), "another application's days are its own");
        assert_eq!(days.messages.day(key(3, 1)), None);
        assert_eq!(Vec::from_iter(days.all()), [&7, &10, &11, &12]);
    }
}
