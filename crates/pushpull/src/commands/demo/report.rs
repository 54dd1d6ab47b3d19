//! The totals, as counted on arrival.

use std::{
    collections::{HashMap, HashSet},
    fmt,
    time::Duration,
};

use tokio::time::Instant;

use super::receiver::{Arrival, Who};

/// What was sent and what became of it.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    /// When each message was handed in.
    sent: HashMap<String, Instant>,
    /// What must arrive.
    owed: HashSet<(Who, String)>,
    /// Requests that reached nobody.
    unreached: usize,
    arrivals: Vec<Arrival>,
    /// What was read instead, in its order.
    read: Vec<(Who, String)>,
}

impl Ledger {
    pub(super) fn send(&mut self, message: &str, at: Instant, to: &[Who]) {
        self.sent.insert(message.to_owned(), at);
        self.owed.extend(to.iter().map(|who| (*who, message.to_owned())));
    }

    pub(super) fn arrive(&mut self, arrival: Arrival) {
        self.arrivals.push(arrival);
    }

    pub(super) fn fail_to_reach(&mut self) {
        self.unreached += 1;
    }

    /// A message of a receiver's queue was read.
    pub(super) fn read(&mut self, who: Who, message: &str) {
        self.read.push((who, message.to_owned()));
    }

    /// Deliveries to a receiver that it took.
    pub(super) fn taken_by(&self, who: Who) -> usize {
        self.taken().filter(|arrival| arrival.to == who).count()
    }

    /// Messages that were read instead of arriving.
    pub(super) fn read_count(&self) -> usize {
        self.read.len()
    }

    fn taken(&self) -> impl Iterator<Item = &Arrival> {
        self.arrivals.iter().filter(|arrival| arrival.status.is_success())
    }

    pub(super) fn report(&self) -> Report {
        let mut arrived = HashSet::new();
        let mut repeated = 0;
        for arrival in self.taken() {
            if !arrived.insert((arrival.to, arrival.message.clone())) {
                repeated += 1;
            }
        }
        for read in &self.read {
            if !arrived.insert(read.clone()) {
                repeated += 1;
            }
        }
        let attempts = self.arrivals.len() + self.unreached;
        let at_once = self.taken().filter(|arrival| arrival.attempt == 1 && arrival.to == Who::Good);
        let mut delays: Vec<Duration> = at_once
            .filter_map(|arrival| {
                Some(arrival.at.saturating_duration_since(*self.sent.get(&arrival.message)?))
            })
            .collect();
        delays.sort_unstable();
        Report {
            messages: self.sent.len(),
            deliveries: self.owed.len(),
            retries: attempts.saturating_sub(self.owed.len()),
            read: self.read_count(),
            lost: self.owed.difference(&arrived).count(),
            repeated,
            unsigned: self.arrivals.iter().filter(|arrival| !arrival.is_signed).count(),
            p95: delays.get(delays.len() * 95 / 100).copied().unwrap_or_default(),
        }
    }
}

/// The totals.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Report {
    messages: usize,
    deliveries: usize,
    retries: usize,
    /// Deliveries that no push brought, and a reader has.
    read: usize,
    lost: usize,
    repeated: usize,
    unsigned: usize,
    /// From the call to the arrival, where the first attempt succeeded.
    p95: Duration,
}

impl Report {
    /// Whether everything arrived or was read, once, and what arrived had a valid signature.
    pub(super) fn is_complete(&self) -> bool {
        self.lost == 0 && self.repeated == 0 && self.unsigned == 0
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { messages, deliveries, retries, read, lost, repeated, unsigned, p95 } = self;
        write!(
            f,
            "done   {messages} messages, {deliveries} deliveries, {retries} retries, {read} read by pull, \
             {lost} lost, {repeated} repeated, {unsigned} badly signed     p95 end to end {:.1} ms",
            p95.as_secs_f64() * 1e3
        )
    }
}

#[cfg(test)]
mod tests {
    use axum::http::StatusCode;

    use super::*;

    fn arrival(to: Who, message: &str, status: StatusCode) -> Arrival {
        Arrival { at: Instant::now(), to, message: message.into(), attempt: 1, status, is_signed: true }
    }

    #[test]
    fn what_arrived_once_and_signed_is_complete() {
        let mut ledger = Ledger::default();
        ledger.send("msg_1", Instant::now(), &[Who::Good, Who::Flaky]);
        ledger.arrive(arrival(Who::Good, "msg_1", StatusCode::OK));
        ledger.arrive(arrival(Who::Flaky, "msg_1", StatusCode::SERVICE_UNAVAILABLE));
        assert!(!ledger.report().is_complete());
        assert_eq!(ledger.report().lost, 1);
        ledger.arrive(arrival(Who::Flaky, "msg_1", StatusCode::OK));
        let report = ledger.report();
        assert!(report.is_complete());
        assert_eq!((report.messages, report.deliveries, report.retries), (1, 2, 1));
    }

    #[test]
    fn what_is_read_instead_is_not_lost_and_counts_once() {
        let mut ledger = Ledger::default();
        ledger.send("msg_1", Instant::now(), &[Who::Down, Who::Gone]);
        ledger.arrive(arrival(Who::Down, "msg_1", StatusCode::OK));
        ledger.read(Who::Gone, "msg_1");
        assert_eq!((ledger.report().read, ledger.report().is_complete()), (1, true));
        ledger.read(Who::Down, "msg_1");
        assert_eq!((ledger.report().repeated, ledger.report().is_complete()), (1, false));
    }

    #[test]
    fn what_arrives_twice_or_badly_signed_is_not() {
        let mut ledger = Ledger::default();
        ledger.send("msg_1", Instant::now(), &[Who::Good]);
        ledger.arrive(arrival(Who::Good, "msg_1", StatusCode::OK));
        ledger.arrive(arrival(Who::Good, "msg_1", StatusCode::OK));
        assert_eq!(ledger.report().repeated, 1);
        assert!(!ledger.report().is_complete());

        let mut ledger = Ledger::default();
        ledger.send("msg_1", Instant::now(), &[Who::Good]);
        ledger.arrive(Arrival { is_signed: false, ..arrival(Who::Good, "msg_1", StatusCode::OK) });
        assert!(!ledger.report().is_complete());
    }
}
