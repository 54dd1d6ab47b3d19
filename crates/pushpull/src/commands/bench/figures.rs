//! What was measured: figures by name, and what went wrong.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::{Map, Value, json};

use super::stats::{Latencies, median};

/// Figures in the order they are told. A dot in a name groups: `end_to_end_ms.p50`.
#[derive(Clone, Debug, Default)]
pub(super) struct Figures(Vec<(String, f64)>);

impl Figures {
    /// Adds one.
    pub(super) fn put(&mut self, name: impl Into<String>, value: f64) {
        self.0.push((name.into(), value));
    }

    /// Adds one, if there is one.
    pub(super) fn put_some(&mut self, name: &str, value: Option<f64>) {
        if let Some(value) = value {
            self.put(name, value);
        }
    }

    /// Adds the percentiles of latencies as a group.
    pub(super) fn put_latencies(&mut self, group: &str, latencies: &Latencies) {
        for (percentile, ms) in latencies.told() {
            self.put(group_member(group, percentile), ms);
        }
    }

    /// The one of this name.
    pub(super) fn get(&self, name: &str) -> Option<f64> {
        self.0.iter().find(|(known, _)| known == name).map(|(_, value)| *value)
    }

    /// Name by name the median of runs; the order is that of the first.
    pub(super) fn medians(runs: &[Self]) -> Self {
        let Some(first) = runs.first() else { return Self::default() };
        let middle = |name: &String| {
            let all = runs.iter().filter_map(|run| run.get(name)).collect();
            median(all).map(|value| (name.clone(), value))
        };
        Self(first.0.iter().filter_map(|(name, _)| middle(name)).collect())
    }

    /// Line by line for people: a group is one line of its members.
    pub(super) fn lines(&self) -> Vec<(String, String)> {
        let mut lines: Vec<(String, String)> = Vec::new();
        for (name, value) in &self.0 {
            match split(name) {
                (name, None) => lines.push((name.to_owned(), shown(*value))),
                (group, Some(member)) => {
                    let cell = format!("{member} {}", shown(*value));
                    match lines.iter_mut().find(|(known, _)| known == group) {
                        Some((_, cells)) => *cells = format!("{cells}   {cell}"),
                        None => lines.push((group.to_owned(), cell)),
                    }
                }
            }
        }
        lines
    }

    /// As a JSON object, a group as an object in it.
    pub(super) fn to_json(&self) -> Value {
        let mut object = Map::new();
        for (name, value) in &self.0 {
            let rounded = json!(rounded(*value));
            match split(name) {
                (name, None) => drop(object.insert(name.to_owned(), rounded)),
                (group, Some(member)) => {
                    let group = object.entry(group).or_insert_with(|| json!({}));
                    group[member] = rounded;
                }
            }
        }
        Value::Object(object)
    }
}

fn group_member(group: &str, member: &str) -> String {
    format!("{group}.{member}")
}

/// A name's group and its member, if it has one. Only the first dot parts: `p99.9` is one member.
fn split(name: &str) -> (&str, Option<&str>) {
    name.split_once('.').map_or((name, None), |(group, member)| (group, Some(member)))
}

/// To four decimals: what is beyond was not measured.
fn rounded(value: f64) -> f64 {
    (value * 1e4).round() / 1e4
}

/// A number for people: whole from a hundred on, with three decimals below.
pub(super) fn shown(value: f64) -> String {
    if value.fract() == 0.0 || value.abs() >= 100.0 {
        return thousands(value.round() as i64);
    }
    format!("{value:.3}")
}

fn thousands(value: i64) -> String {
    let digits = value.unsigned_abs().to_string();
    let mut text = String::from(if value < 0 { "-" } else { "" });
    for (n, digit) in digits.chars().enumerate() {
        if n > 0 && (digits.len() - n).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// What went wrong, added up over all runs.
#[derive(Clone, Debug, Default, Serialize)]
pub(super) struct Faults {
    /// Accepted, and not arrived when the run ended.
    pub(super) lost: u64,
    /// Of the sample: without a valid signature of the endpoint's secret.
    pub(super) badly_signed: u64,
    /// Of the sample: other bytes than were sent.
    pub(super) altered: u64,
    /// Arrived again.
    pub(super) duplicates: u64,
    /// Calls that failed, by status or reason.
    pub(super) errors: BTreeMap<String, u64>,
}

impl Faults {
    /// Adds those of another run.
    pub(super) fn add(&mut self, other: &Self) {
        self.lost += other.lost;
        self.badly_signed += other.badly_signed;
        self.altered += other.altered;
        self.duplicates += other.duplicates;
        for (error, count) in &other.errors {
            *self.errors.entry(error.clone()).or_default() += count;
        }
    }

    /// Whether what was promised was broken: then the command fails.
    pub(super) fn break_promises(&self) -> bool {
        self.lost + self.badly_signed + self.altered > 0
    }

    /// In one line, for people.
    pub(super) fn line(&self) -> String {
        let Self { lost, badly_signed, altered, duplicates, errors } = self;
        let failed: u64 = errors.values().sum();
        let kinds = errors.iter().map(|(error, count)| format!("{count} x {error}")).collect::<Vec<_>>();
        let kinds = if kinds.is_empty() { String::new() } else { format!(" ({})", kinds.join(", ")) };
        format!(
            "{failed} errors{kinds}, {lost} lost, {duplicates} duplicates, {badly_signed} badly signed, {altered} altered"
        )
    }
}

/// One run of a scenario.
#[derive(Clone, Debug, Default)]
pub(super) struct Run {
    pub(super) figures: Figures,
    pub(super) faults: Faults,
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn figures(rate: f64, p50: u64) -> Figures {
        let mut figures = Figures::default();
        figures.put("per_s", rate);
        figures.put_latencies("call_ms", &Latencies::new(vec![Duration::from_millis(p50)]));
        figures
    }

    #[test]
    fn medians_go_figure_by_figure() {
        let runs = [figures(3.0, 10), figures(1.0, 30), figures(2.0, 20)];
        let medians = Figures::medians(&runs);
        assert_eq!(medians.get("per_s"), Some(2.0));
        assert_eq!(medians.get("call_ms.p50"), Some(20.0));
        assert_eq!(Figures::medians(&[]).lines().len(), 0);
    }

    #[test]
    fn a_group_is_one_object_and_one_line() {
        let told = figures(12_345.6, 2);
        let group = json!({"p50": 2.0, "p90": 2.0, "p99": 2.0, "p99.9": 2.0, "max": 2.0});
        assert_eq!(told.to_json(), json!({"per_s": 12_345.6, "call_ms": group}));
        let lines = told.lines();
        assert_eq!(lines[0], ("per_s".to_owned(), "12,346".to_owned()));
        assert_eq!(lines[1].1, "p50 2   p90 2   p99 2   p99.9 2   max 2");
    }

    #[test]
    fn numbers_are_shown_as_people_write_them() {
        let cases =
            [(0.0, "0"), (1.5, "1.500"), (999.4, "999"), (1_000.0, "1,000"), (-1_234_567.8, "-1,234,568")];
        assert_eq!(cases.map(|(value, _)| shown(value)), cases.map(|(_, text)| text.to_owned()));
    }

    #[test]
    fn errors_and_duplicates_break_no_promise_but_a_loss_does() {
        let mut faults =
            Faults { duplicates: 1, errors: [("503".to_owned(), 2)].into(), ..Faults::default() };
        assert!(!faults.break_promises());
        faults.add(&Faults { lost: 1, errors: [("503".to_owned(), 1)].into(), ..Faults::default() });
        assert!(faults.break_promises());
        assert_eq!(faults.line(), "3 errors (3 x 503), 1 lost, 1 duplicates, 0 badly signed, 0 altered");
    }
}
