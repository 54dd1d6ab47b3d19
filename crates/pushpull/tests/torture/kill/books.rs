//! What both sides wrote down, compared.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    fmt,
    time::Duration,
};

use pushpull_domain::MessageId;
use serde_json::Value;
use tokio::time::Instant;

use crate::support::{Arrival, Client, Ledger, eventually};

use super::load::{APPS, ENDPOINTS, Entry, ORDERED, PAID, path};

/// Longest that an outcome may wait to be written, on a machine that is busy with four other things: the outbox
/// gathers for 50 ms, then one transaction.
const UNWRITTEN_MAX: Duration = Duration::from_secs(2);

/// How the server itself says that things stand, at the end.
pub(crate) struct Standing {
    /// By path: how many deliveries succeeded, and how many stand otherwise.
    endpoints: HashMap<String, (u64, u64)>,
    /// By application: the ids in its log.
    messages: Vec<HashSet<String>>,
}

/// Waits until nothing is owed any more; how things stand then.
pub(crate) async fn settled(client: &mut Client) -> Standing {
    let mut standing = Standing { endpoints: HashMap::new(), messages: Vec::new() };
    for app in 0..APPS {
        for name in ENDPOINTS {
            let stats = format!("/api/v1/app/app-{app}/endpoint/{name}/stats");
            let counts = eventually("an endpoint owed nothing", async || {
                let counts = client.get(&stats).await.expect(200).json();
                (count(&counts, "pending") + count(&counts, "sending") == 0).then_some(counts)
            })
            .await;
            let others = count(&counts, "fail") + count(&counts, "canceled");
            standing.endpoints.insert(path(app, name), (count(&counts, "success"), others));
        }
    }
    for app in 0..APPS {
        let items = client.list(&format!("/api/v1/app/app-{app}/msg?with_content=false")).await;
        standing.messages.push(items.iter().map(|item| item["id"].as_str().unwrap().to_owned()).collect());
    }
    standing
}

fn count(counts: &Value, field: &str) -> u64 {
    counts[field].as_u64().unwrap()
}

/// The position that a message's id holds.
pub(crate) fn position(id: &str) -> u64 {
    id.parse::<MessageId>().expect("a message's id").number()
}

/// What may have made deliveries twice.
pub(crate) enum Faults {
    /// The one server was killed: when each of its lives ended.
    Lives(Vec<Instant>),
    /// Of several servers one, or what they stand on, was broken: from when until when.
    Spans(Vec<(Instant, Instant)>),
}

impl Faults {
    /// The fault that may have made a delivery again, and how long before it the first one was answered.
    fn behind(&self, first: &Arrival, again: &Arrival) -> Option<(usize, Duration)> {
        let before = |at: Instant| at.saturating_duration_since(first.at);
        match self {
            Self::Lives(ends) => (first.life != again.life).then(|| (first.life, before(ends[first.life]))),
            Self::Spans(spans) => {
                let near = |(from, until): &(Instant, Instant)| {
                    before(*from) <= UNWRITTEN_MAX && first.at <= *until && again.at >= *from
                };
                spans.iter().position(near).map(|nth| (nth, before(spans[nth].0)))
            }
        }
    }
}

/// All that is known.
pub(crate) struct Books {
    pub(crate) entries: Vec<Entry>,
    pub(crate) arrivals: Ledger,
    pub(crate) faults: Faults,
    pub(crate) standing: Standing,
}

/// What the comparison came to. All but the first three must be nothing.
#[derive(Debug, Default)]
pub(crate) struct Findings {
    pub(crate) acknowledged: usize,
    pub(crate) delivered: usize,
    /// Most deliveries that one fault made twice.
    pub(crate) repeated_max: usize,
    /// Deliveries made twice by all faults.
    pub(crate) repeated: usize,
    /// Longest time from an answer to a fault that lost its outcome.
    pub(crate) unwritten_max: Duration,
    pub(crate) lost: usize,
    wrong: BTreeMap<&'static str, (usize, String)>,
}

impl fmt::Display for Findings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { acknowledged, delivered, repeated, repeated_max, unwritten_max, lost, wrong } = self;
        write!(
            f,
            "{acknowledged} acknowledged, {delivered} deliveries, {lost} lost, {repeated} repeated (at most \
             {repeated_max} by one fault, the oldest answered {unwritten_max:?} before it), wrong: {wrong:?}"
        )
    }
}

impl Findings {
    /// What must not be, each with how often it is and an example.
    pub(crate) fn wrong(&self) -> Vec<String> {
        self.wrong.iter().map(|(what, (times, example))| format!("{what}: {times}, as {example}")).collect()
    }

    fn note(&mut self, what: &'static str, example: impl fmt::Display) {
        let noted = self.wrong.entry(what).or_insert_with(|| (0, example.to_string()));
        noted.0 += 1;
    }
}

impl Books {
    pub(crate) fn check(self) -> Findings {
        let mut findings = Findings::default();
        let by_id = self.check_ids(&mut findings);
        self.check_arrivals(&by_id, &mut findings);
        self.check_deliveries(&by_id, &mut findings);
        self.check_standing(&by_id, &mut findings);
        self.check_order(&mut findings);
        self.check_repeats(&mut findings);
        findings
    }

    /// One id for each message, whatever happened between its requests, and no position twice.
    fn check_ids(&self, findings: &mut Findings) -> HashMap<&str, &Entry> {
        let mut by_id = HashMap::new();
        let mut positions = HashMap::new();
        for entry in &self.entries {
            for id in &entry.ids {
                if *id != entry.ids[0] {
                    findings.note("one key, two messages", id);
                }
                if positions.insert((entry.app, position(id)), id).is_some_and(|other| other != id) {
                    findings.note("one position, two messages", id);
                }
            }
            let Some(id) = entry.ids.first() else { continue };
            if position(id) <= entry.floor {
                findings.note("a position went back", id);
            }
            if by_id.insert(id.as_str(), entry).is_some() {
                findings.note("one id, two messages", id);
            }
        }
        findings.acknowledged = by_id.len();
        by_id
    }

    /// What arrived was acknowledged, was wanted there, and is byte for byte what was sent.
    fn check_arrivals(&self, by_id: &HashMap<&str, &Entry>, findings: &mut Findings) {
        let refused: HashSet<_> = self.entries.iter().filter(|e| e.ids.is_empty()).map(|e| e.hash).collect();
        for ((path, id), arrivals) in &self.arrivals {
            if arrivals.iter().any(|arrival| refused.contains(&arrival.hash)) {
                findings.note("refused and delivered", id);
            }
            match by_id.get(id.as_str()) {
                None => findings.note("delivered, but never acknowledged", id),
                Some(entry) if !wanted_at(entry).any(|wanted| wanted == *path) => {
                    findings.note("delivered to an endpoint that does not match", id);
                }
                Some(entry) if arrivals.iter().any(|arrival| arrival.hash != entry.hash) => {
                    findings.note("other bytes", id);
                }
                Some(_) => findings.delivered += 1,
            }
        }
    }

    /// What was acknowledged arrived everywhere.
    fn check_deliveries(&self, by_id: &HashMap<&str, &Entry>, findings: &mut Findings) {
        for (id, entry) in by_id {
            for path in wanted_at(entry) {
                let arrivals = self.arrivals.get(&(path, (*id).to_owned()));
                if !arrivals.is_some_and(|arrivals| arrivals.iter().any(is_success)) {
                    findings.lost += 1;
                    findings.note("acknowledged and lost", id);
                }
            }
        }
    }

    /// The server's own books say the same.
    fn check_standing(&self, by_id: &HashMap<&str, &Entry>, findings: &mut Findings) {
        let mut wanted: HashMap<String, u64> = HashMap::new();
        for path in by_id.values().flat_map(|entry| wanted_at(entry)) {
            *wanted.entry(path).or_default() += 1;
        }
        for (path, (success, others)) in &self.standing.endpoints {
            let wanted = wanted.get(path).copied().unwrap_or_default();
            if (*success, *others) != (wanted, 0) {
                findings.note(
                    "the server's books differ",
                    format!("{path}: {success} succeeded, {others} did not, {wanted} were owed"),
                );
            }
        }
        for messages in &self.standing.messages {
            let positions: BTreeSet<u64> = messages.iter().map(|id| position(id)).collect();
            if let Some((gap, _)) = (1..).zip(&positions).find(|(next, position)| next != *position) {
                findings.note("a position that is nobody's", gap);
            }
        }
        let kept: HashSet<&str> = self.standing.messages.iter().flatten().map(String::as_str).collect();
        for id in by_id.keys().filter(|id| !kept.contains(*id)) {
            findings.note("acknowledged, but not in the log", id);
        }
        for id in kept.iter().filter(|id| !by_id.contains_key(*id)) {
            findings.note("in the log, but never acknowledged", id);
        }
    }

    /// The endpoint that keeps order saw each message first after the ones before it.
    fn check_order(&self, findings: &mut Findings) {
        let mut firsts: BTreeMap<(&str, u64), Instant> = BTreeMap::new();
        for ((path, id), arrivals) in self.arrivals.iter().filter(|((path, _), _)| path.ends_with(ORDERED)) {
            firsts.insert((path, position(id)), arrivals[0].at);
        }
        for (((path, before), at), ((next_path, next), next_at)) in firsts.iter().zip(firsts.iter().skip(1)) {
            if path == next_path && at > next_at {
                findings.note("out of order", format!("{path}: {next} arrived before {before}"));
            }
        }
    }

    /// Only a fault makes a delivery twice, and only of what was answered just before.
    fn check_repeats(&self, findings: &mut Findings) {
        let mut by_fault: HashMap<usize, usize> = HashMap::new();
        for ((path, id), arrivals) in &self.arrivals {
            let answered: Vec<&Arrival> = arrivals.iter().filter(|arrival| is_success(arrival)).collect();
            for pair in answered.windows(2) {
                let (first, again) = (pair[0], pair[1]);
                let Some((fault, unwritten)) = self.faults.behind(first, again) else {
                    let later = again.at - first.at;
                    findings
                        .note("delivered twice without a fault", format!("{path}: {id}, {later:?} later"));
                    continue;
                };
                *by_fault.entry(fault).or_default() += 1;
                findings.unwritten_max = findings.unwritten_max.max(unwritten);
                if unwritten > UNWRITTEN_MAX {
                    findings.note("an old delivery was made again", id);
                }
            }
        }
        findings.repeated = by_fault.values().sum();
        findings.repeated_max = by_fault.values().copied().max().unwrap_or_default();
    }
}

/// The paths that a message must arrive at.
fn wanted_at(entry: &Entry) -> impl Iterator<Item = String> {
    let takes = |name: &&&str| **name != "paid" || entry.event_type == PAID;
    ENDPOINTS.iter().filter(takes).map(|name| path(entry.app, name)).collect::<Vec<_>>().into_iter()
}

fn is_success(arrival: &Arrival) -> bool {
    (200..300).contains(&arrival.status)
}
