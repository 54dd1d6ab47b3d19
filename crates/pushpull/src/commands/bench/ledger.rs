//! Which message was sent when, and when it arrived where. One clock, one process.

use std::{
    ops::Range,
    sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    time::Duration,
};

use tokio::time::Instant;

use super::{figures::Faults, stats::Latencies};

/// The books of one run. Times are nanoseconds since its start, plus one: 0 is "not yet".
pub(super) struct Ledger {
    start: Instant,
    endpoints: usize,
    sent: Box<[AtomicU64]>,
    accepted: Box<[AtomicBool]>,
    /// By message, then by endpoint.
    arrived: Box<[AtomicU64]>,
    /// Distinct pairs that arrived.
    pairs: AtomicU64,
    last_arrival: AtomicU64,
    duplicates: AtomicU64,
    badly_signed: AtomicU64,
    altered: AtomicU64,
}

fn zeroes(count: usize) -> Box<[AtomicU64]> {
    std::iter::repeat_with(AtomicU64::default).take(count).collect()
}

impl Ledger {
    /// Books for so many messages, each owed to so many endpoints.
    pub(super) fn new(messages: usize, endpoints: usize) -> Self {
        Self {
            start: Instant::now(),
            endpoints,
            sent: zeroes(messages),
            accepted: std::iter::repeat_with(AtomicBool::default).take(messages).collect(),
            arrived: zeroes(messages * endpoints),
            pairs: AtomicU64::new(0),
            last_arrival: AtomicU64::new(0),
            duplicates: AtomicU64::new(0),
            badly_signed: AtomicU64::new(0),
            altered: AtomicU64::new(0),
        }
    }

    fn since_start(&self, at: Instant) -> u64 {
        at.saturating_duration_since(self.start).as_nanos() as u64 + 1
    }

    /// A message is sent, or was planned for, now.
    pub(super) fn send(&self, message: usize, at: Instant) {
        self.sent[message].store(self.since_start(at), Relaxed);
    }

    /// A message was accepted: from now on it is owed.
    pub(super) fn accept(&self, message: usize) {
        self.accepted[message].store(true, Relaxed);
    }

    /// The whole of a message has arrived at an endpoint. `false`: there is no such pair.
    pub(super) fn arrive(&self, message: usize, endpoint: usize, at: Instant) -> bool {
        if endpoint >= self.endpoints || message >= self.sent.len() {
            return false;
        }
        let at = self.since_start(at);
        let first =
            self.arrived[message * self.endpoints + endpoint].compare_exchange(0, at, Relaxed, Relaxed);
        if first.is_ok() {
            self.last_arrival.fetch_max(at, Relaxed);
            self.pairs.fetch_add(1, Relaxed);
        } else {
            self.duplicates.fetch_add(1, Relaxed);
        }
        true
    }

    /// An arrival of the sample was looked at closely.
    pub(super) fn check(&self, is_signed: bool, is_unaltered: bool) {
        self.badly_signed.fetch_add(u64::from(!is_signed), Relaxed);
        self.altered.fetch_add(u64::from(!is_unaltered), Relaxed);
    }

    /// How many pairs have arrived by now.
    pub(super) fn pairs(&self) -> u64 {
        self.pairs.load(Relaxed)
    }

    /// How many of these messages were accepted.
    pub(super) fn accepted(&self, messages: Range<usize>) -> usize {
        self.accepted[messages].iter().filter(|accepted| accepted.load(Relaxed)).count()
    }

    /// From a moment to the last arrival.
    pub(super) fn until_last_arrival(&self, from: Instant) -> Duration {
        Duration::from_nanos(self.last_arrival.load(Relaxed).saturating_sub(self.since_start(from)))
    }

    /// From the send to the arrival, for each pair of accepted messages that arrived.
    pub(super) fn end_to_end(&self, messages: Range<usize>) -> Latencies {
        let arrived = self.pairs_of(messages).filter(|(_, arrived)| *arrived > 0);
        let took = arrived.map(|(sent, arrived)| Duration::from_nanos(arrived.saturating_sub(sent)));
        Latencies::new(took.collect())
    }

    /// What went wrong with these messages, as far as can be seen here.
    pub(super) fn faults(&self, messages: Range<usize>) -> Faults {
        Faults {
            lost: self.pairs_of(messages).filter(|(_, arrived)| *arrived == 0).count() as u64,
            duplicates: self.duplicates.load(Relaxed),
            badly_signed: self.badly_signed.load(Relaxed),
            altered: self.altered.load(Relaxed),
            ..Faults::default()
        }
    }

    /// Sent and arrived, of each pair that is owed.
    fn pairs_of(&self, messages: Range<usize>) -> impl Iterator<Item = (u64, u64)> {
        let owed = messages.filter(|message| self.accepted[*message].load(Relaxed));
        owed.flat_map(|message| {
            let sent = self.sent[message].load(Relaxed);
            let pairs = &self.arrived[message * self.endpoints..][..self.endpoints];
            pairs.iter().map(move |arrived| (sent, arrived.load(Relaxed)))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_was_accepted_and_did_not_arrive_is_lost() {
        let ledger = Ledger::new(3, 2);
        let start = ledger.start;
        let at = |ms| start + Duration::from_millis(ms);
        for message in 0..3 {
            ledger.send(message, at(10));
        }
        ledger.accept(0);
        ledger.accept(1);
        for (message, endpoint, ms) in [(0, 0, 11), (0, 1, 12), (1, 1, 14), (1, 1, 15)] {
            assert!(ledger.arrive(message, endpoint, at(ms)));
        }
        let faults = ledger.faults(0..3);
        assert_eq!((faults.lost, faults.duplicates), (1, 1));
        assert_eq!((ledger.pairs(), ledger.accepted(0..3)), (3, 2));
        assert_eq!([0.0, 0.5, 1.0].map(|q| ledger.end_to_end(0..3).ms(q)), [Some(1.0), Some(2.0), Some(4.0)]);
        assert_eq!(ledger.until_last_arrival(at(10)), Duration::from_millis(4));
    }

    #[test]
    fn pairs_that_nobody_owes_are_told_apart() {
        let ledger = Ledger::new(1, 1);
        assert!(!ledger.arrive(1, 0, ledger.start));
        assert!(!ledger.arrive(0, 1, ledger.start));
        assert_eq!(ledger.pairs(), 0);
    }
}
