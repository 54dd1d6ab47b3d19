//! Percentiles and medians.

use std::time::Duration;

/// The percentiles that are told, and what they are called.
const TOLD: [(&str, f64); 5] = [("p50", 0.5), ("p90", 0.9), ("p99", 0.99), ("p99.9", 0.999), ("max", 1.0)];

/// Latencies, every one of them kept: percentiles are exact.
#[derive(Clone, Debug, Default)]
pub(super) struct Latencies(Vec<Duration>);

impl Latencies {
    /// Takes them in any order.
    pub(super) fn new(mut all: Vec<Duration>) -> Self {
        all.sort_unstable();
        Self(all)
    }

    /// The smallest that at least this share of all does not exceed, in ms (nearest rank); `None`: there are none.
    pub(super) fn ms(&self, share: f64) -> Option<f64> {
        let rank = (share * self.0.len() as f64).ceil() as usize;
        let at = self.0.get(rank.max(1) - 1)?;
        Some(at.as_secs_f64() * 1e3)
    }

    /// Each percentile that is told, in ms.
    pub(super) fn told(&self) -> impl Iterator<Item = (&'static str, f64)> {
        TOLD.iter().filter_map(|(name, share)| Some((*name, self.ms(*share)?)))
    }
}

/// The middle one; of an even number, the mean of the two in the middle.
pub(super) fn median(mut values: Vec<f64>) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    let upper = *values.get(values.len() / 2)?;
    let lower = values[(values.len() - 1) / 2];
    Some(f64::midpoint(lower, upper))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(all: impl IntoIterator<Item = u64>) -> Latencies {
        Latencies::new(all.into_iter().map(Duration::from_millis).collect())
    }

    #[test]
    fn a_percentile_is_one_of_the_samples_by_nearest_rank() {
        let hundred = ms((1..=100).rev());
        assert_eq!(
            [0.0, 0.5, 0.99, 0.999, 1.0].map(|q| hundred.ms(q)),
            [1.0, 50.0, 99.0, 100.0, 100.0].map(Some)
        );
        assert_eq!([0.5, 0.9].map(|q| ms([7]).ms(q)), [Some(7.0); 2]);
        assert_eq!(ms([3, 1, 2]).ms(0.5), Some(2.0));
    }

    #[test]
    fn of_nothing_there_is_no_percentile_and_no_median() {
        assert_eq!(ms([]).ms(0.5), None);
        assert_eq!(ms([]).told().count(), 0);
        assert_eq!(median(vec![]), None);
    }

    #[test]
    fn a_median_is_the_middle_or_between_the_two_in_the_middle() {
        assert_eq!(median(vec![9.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median(vec![4.0, 1.0, 2.0, 9.0]), Some(3.0));
        assert_eq!(median(vec![5.0]), Some(5.0));
    }
}
