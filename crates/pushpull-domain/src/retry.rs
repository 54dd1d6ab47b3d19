//! When a failed delivery is tried again.

use std::{fmt, str::FromStr, time::Duration};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// Most retries of a schedule.
pub const RETRIES_MAX: usize = 100;
/// Longest wait between two attempts: 30 days.
pub const WAIT_MAX: Duration = Duration::from_hours(720);
/// Longest wait that a receiver may ask for with `Retry-After`: 24 h.
pub const RETRY_AFTER_MAX: Duration = Duration::from_hours(24);
/// A wait is lengthened by up to this share, so that what failed together does not come back together.
/// Never shortened: nothing is sent before it is due.
const JITTER: f64 = 0.2;

/// The waits after the first attempt, the second, and so on. Empty: one attempt, no retries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RetrySchedule(Vec<Duration>);

/// Why a text or a list is no schedule.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidSchedule {
    /// More waits than [`RETRIES_MAX`].
    #[error("a schedule has at most {RETRIES_MAX} waits")]
    TooMany,
    /// A wait over [`WAIT_MAX`].
    #[error("a wait is at most 30 days")]
    TooLong,
    /// Not a wait.
    #[error("`{0}` is no wait: write `5s`, `30m`, `2h` or `1d`")]
    Syntax(String),
}

impl RetrySchedule {
    /// Checks a list of waits.
    pub fn new(waits: Vec<Duration>) -> Result<Self, InvalidSchedule> {
        if waits.len() > RETRIES_MAX {
            return Err(InvalidSchedule::TooMany);
        }
        if waits.iter().any(|w| *w > WAIT_MAX) {
            return Err(InvalidSchedule::TooLong);
        }
        Ok(Self(waits))
    }

    /// The waits.
    pub fn waits(&self) -> &[Duration] {
        &self.0
    }

    /// How long to wait after `attempts` attempts, all failed; `None`: no more attempts.
    ///
    /// `chance` in 0..1 spreads the wait by up to a fifth, upwards. `retry_after` is what the receiver
    /// asked for: honoured up to [`RETRY_AFTER_MAX`], never shortening the schedule.
    pub fn wait_after(&self, attempts: u32, retry_after: Option<Duration>, chance: f64) -> Option<Duration> {
        let wait = self.0.get(usize::try_from(attempts).ok()?.checked_sub(1)?)?;
        let spread = wait.mul_f64(1.0 + JITTER * chance.clamp(0.0, 1.0));
        Some(spread.max(retry_after.unwrap_or_default().min(RETRY_AFTER_MAX)))
    }
}

/// The Svix schedule: eight attempts in 27.6 hours.
impl Default for RetrySchedule {
    fn default() -> Self {
        const MINUTE: u64 = 60;
        const HOUR: u64 = 3_600;
        Self(
            [5, 5 * MINUTE, 30 * MINUTE, 2 * HOUR, 5 * HOUR, 10 * HOUR, 10 * HOUR]
                .map(Duration::from_secs)
                .to_vec(),
        )
    }
}

/// One wait as users write it: a whole number and `ms`, `s`, `m`, `h` or `d`.
pub fn parse_wait(text: &str) -> Option<Duration> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let number: u64 = text[..digits].parse().ok()?;
    let millis = match &text[digits..] {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => return None,
    };
    Some(Duration::from_millis(number.checked_mul(millis)?))
}

fn write_wait(f: &mut fmt::Formatter<'_>, wait: Duration) -> fmt::Result {
    let millis = wait.as_millis();
    let (number, unit) = [(86_400_000, "d"), (3_600_000, "h"), (60_000, "m"), (1_000, "s")]
        .into_iter()
        .find(|(size, _)| millis >= *size && millis.is_multiple_of(*size))
        .map_or((millis, "ms"), |(size, unit)| (millis / size, unit));
    write!(f, "{number}{unit}")
}

/// `5s,5m,30m`; empty: no retries.
impl FromStr for RetrySchedule {
    type Err = InvalidSchedule;

    fn from_str(text: &str) -> Result<Self, InvalidSchedule> {
        let waits = text
            .split(',')
            .map(str::trim)
            .filter(|part| !(part.is_empty() && text.trim().is_empty()))
            .map(|part| parse_wait(part).ok_or_else(|| InvalidSchedule::Syntax(part.to_owned())))
            .collect::<Result<_, _>>()?;
        Self::new(waits)
    }
}

impl fmt::Display for RetrySchedule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, wait) in self.0.iter().enumerate() {
            if i > 0 {
                f.write_str(",")?;
            }
            write_wait(f, *wait)?;
        }
        Ok(())
    }
}

/// In JSON: a list of waits in seconds, `[5, 300, 1800]`.
impl Serialize for RetrySchedule {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.0.iter().map(|wait| {
            let millis = wait.as_millis() as f64;
            serde_json::Number::from_f64(millis / 1000.0)
                .filter(|_| wait.subsec_millis() != 0)
                .unwrap_or_else(|| wait.as_secs().into())
        }))
    }
}

impl<'de> Deserialize<'de> for RetrySchedule {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let waits = Vec::<f64>::deserialize(deserializer)?
            .into_iter()
            .map(|secs| {
                Duration::try_from_secs_f64(secs)
                    .map_err(|_| de::Error::custom("a wait is 0 seconds to 30 days"))
            })
            .collect::<Result<_, _>>()?;
        Self::new(waits).map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_default_ends_after_eight_attempts_and_27_6_hours() {
        let schedule = RetrySchedule::default();
        let total: Duration = (1..8).map(|n| schedule.wait_after(n, None, 0.0).unwrap()).sum();
        assert_eq!(total, Duration::from_secs(27 * 3600 + 35 * 60 + 5));
        assert_eq!(schedule.wait_after(8, None, 0.0), None);
    }

    #[test]
    fn a_schedule_is_written_as_people_write_it() {
        let schedule: RetrySchedule = "5s, 5m,30m,2h,90s,250ms".parse().unwrap();
        assert_eq!(schedule.to_string(), "5s,5m,30m,2h,90s,250ms");
        assert_eq!("".parse::<RetrySchedule>().unwrap().waits(), []);
        assert_eq!("5s,,5m".parse::<RetrySchedule>(), Err(InvalidSchedule::Syntax(String::new())));
        assert_eq!("5 s".parse::<RetrySchedule>(), Err(InvalidSchedule::Syntax("5 s".into())));
        assert_eq!("31d".parse::<RetrySchedule>(), Err(InvalidSchedule::TooLong));
        assert_eq!(serde_json::to_string(&schedule).unwrap(), "[5,300,1800,7200,90,0.25]");
    }

    proptest! {
        #[test]
        fn a_wait_is_never_early_and_at_most_a_fifth_late(n in 1_u32..8, chance in 0.0..1.0_f64) {
            let schedule = RetrySchedule::default();
            let planned = schedule.waits()[n as usize - 1];
            let wait = schedule.wait_after(n, None, chance).unwrap();
            prop_assert!(wait >= planned && wait <= planned.mul_f64(1.2001));
        }

        #[test]
        fn retry_after_is_honoured_up_to_a_day(asked in 0_u64..200_000) {
            let wait = RetrySchedule::default().wait_after(1, Some(Duration::from_secs(asked)), 0.0).unwrap();
            prop_assert_eq!(wait, Duration::from_secs(asked.clamp(5, 86_400)));
        }
    }
}
