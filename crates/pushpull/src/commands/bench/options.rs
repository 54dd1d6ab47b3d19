//! What is asked for, checked and bounded.

use std::{fs, net::SocketAddr, path::PathBuf, time::Duration};

use anyhow::{Context, Result, ensure};
use clap::Args;
use pushpull_domain::retry::parse_wait;
use serde::Serialize;

use super::{
    hostile,
    load::Pace,
    payload,
    scenario::Scenario,
    subject::{Origin, PostgresServer},
};
use crate::config;

/// Most messages of a run, and most pairs of message and endpoint: each is kept in memory.
const MESSAGES_MAX: u32 = 2_000_000;
const PAIRS_MAX: usize = 20_000_000;
/// Longest time that is sent by a timetable.
const DURATION_MAX: Duration = Duration::from_mins(10);

/// Largest payload of `list` and `pages`: a page of 250 such messages is an answer that is still taken.
const LIST_SIZE_MAX: usize = 8_192;
/// How long is sent by a timetable if nothing is said.
const SENT_FOR: Duration = Duration::from_secs(30);
/// How long an idle server is looked at if nothing is said.
const LOOKED_FOR: Duration = Duration::from_secs(10);
/// Messages a second of `hostile` if nothing is said: p99 is then of the server, not of its saturation.
const HOSTILE_RATE: f64 = 50.0;
/// Messages a second of `long-poll` if nothing is said.
const LONG_POLL_RATE: f64 = 200.0;
/// What would fail comes again soon enough to be seen within the run.
const RETRY_SCHEDULE: &str = "1s,5s,30s";
const KEY_FILE_VARIABLE: &str = "PUSHPULL_ADMIN_KEY_FILE";
const KEY_FILE_HELP: &str = "File with its admin key [default: what PUSHPULL_ADMIN_KEY_FILE names]";

const EXAMPLES: &str = "\
Examples:
  pushpull bench
  pushpull bench deliver --rate 500 --duration 30s
  pushpull bench fan-out --endpoints 50 --messages 5000 --repeat 5 --json
  pushpull bench all --dir /var/tmp
  pushpull bench deliver long-poll --store postgres://pushpull@localhost/pushpull
  pushpull bench ingest --server http://127.0.0.1:8071 --key-file ./pushpull-data/admin.key

Server, client and receiver share the cores of this machine. Figures compare only with those of the same \
machine, build and hour; the ratio to the bare ceiling and the CPU per 1,000 are the steadiest. The exit code is \
1 if anything was lost, badly signed or altered. What each figure means: docs/benchmarks.md";

/// Measure a server on this machine: rate, latency, CPU, memory and disk, beside the bare ceiling
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Options {
    /// What to measure, in this order [default: ingest deliver fan-out]
    scenarios: Vec<Scenario>,
    /// Messages of a run [default: by scenario, 50000 for deliver]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=i64::from(MESSAGES_MAX)))]
    messages: Option<u32>,
    /// Bytes of each payload
    #[arg(long, value_name = "BYTES", default_value_t = 1_024, value_parser = clap::value_parser!(u32).range(payload::SIZE_MIN as i64..=1 << 20))]
    size: u32,
    /// Callers, each with a connection of its own and one request at a time
    #[arg(long, value_name = "N", default_value_t = 64, value_parser = clap::value_parser!(u16).range(1..=2_048))]
    concurrency: u16,
    /// Open loop: messages a second by a timetable; latency counts from the planned time, so slow answers count
    #[arg(long, value_name = "R", value_parser = rate)]
    rate: Option<f64>,
    /// How long is sent with --rate, and how long `idle` looks [default: 30s, idle 10s]
    #[arg(long, value_name = "TIME", value_parser = duration, conflicts_with = "messages")]
    duration: Option<Duration>,
    /// Endpoints that each message goes to (deliver, fan-out, hostile) or that each application has (apps)
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1_000))]
    endpoints: Option<u16>,
    /// Deliveries that are owed (backlog)
    #[arg(long, value_name = "N", default_value_t = 1_000_000, value_parser = clap::value_parser!(u32).range(1..=5_000_000))]
    owed: u32,
    /// Applications (apps)
    #[arg(long, value_name = "N", default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    apps: u32,
    /// Runs of each scenario; medians are told
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=100))]
    repeat: u16,
    /// Print one JSON document
    #[arg(long)]
    pub(super) json: bool,
    /// Where the temporary store is made [default: the system's directory for temporary files]
    #[arg(long, value_name = "DIRECTORY")]
    dir: Option<PathBuf>,
    /// Give our servers their stores on this PostgreSQL server: a new database for each run, which is dropped after it
    #[arg(long, value_name = "URL", value_parser = postgres)]
    store: Option<String>,
    /// Its first process: what it and its children use counts as the server's
    #[arg(long, value_name = "PID", requires = "store")]
    store_pid: Option<u32>,
    /// Measure this server, on this machine and over plain HTTP, instead of one of our own
    #[arg(long, value_name = "URL", value_parser = address, conflicts_with_all = ["dir", "store"])]
    server: Option<SocketAddr>,
    #[arg(long, value_name = "FILE", requires = "server", help = KEY_FILE_HELP)]
    key_file: Option<PathBuf>,
    /// Its process, whose CPU and memory are to be told
    #[arg(long, value_name = "PID", requires = "server")]
    server_pid: Option<u32>,
}

/// One scenario, ready to run.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Plan {
    pub(super) scenario: &'static str,
    #[serde(skip)]
    pub(super) kind: Scenario,
    pub(super) messages: usize,
    pub(super) size: usize,
    pub(super) endpoints: usize,
    #[serde(flatten)]
    pub(super) pace: Pace,
    pub(super) repeat: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) owed: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) apps: Option<usize>,
    #[serde(skip)]
    pub(super) idle: Duration,
}

impl Options {
    /// Each scenario that is asked for.
    pub(super) fn plans(&self) -> Result<Vec<Plan>> {
        let asked = if self.scenarios.is_empty() { &Scenario::MAIN[..] } else { &self.scenarios };
        let each = asked.iter().flat_map(|asked| match asked {
            // What cannot be done with a given server is left out of all, and refused alone.
            Scenario::All => {
                Scenario::EACH.iter().filter(|kind| self.server.is_none() || kind.takes_any()).collect()
            }
            one => vec![one],
        });
        each.map(|kind| self.plan(*kind)).collect()
    }

    fn plan(&self, kind: Scenario) -> Result<Plan> {
        let name = kind.name();
        ensure!(
            self.server.is_none() || kind.takes_any(),
            "{name} starts servers of its own: leave --server out"
        );
        let endpoints = match (kind, self.endpoints) {
            (Scenario::Deliver | Scenario::FanOut | Scenario::Hostile | Scenario::Apps, Some(given)) => {
                given.into()
            }
            _ => kind.endpoints(),
        };
        let rate = self.rate.or(match kind {
            Scenario::Hostile => Some(HOSTILE_RATE),
            Scenario::LongPoll => Some(LONG_POLL_RATE),
            _ => None,
        });
        let messages = match (self.messages, self.rate) {
            (Some(given), _) => given as usize,
            (None, Some(rate)) => (rate * self.duration.unwrap_or(SENT_FOR).as_secs_f64()) as usize,
            (None, None) => kind.messages(),
        };
        let size = self.size as usize;
        ensure!(messages <= MESSAGES_MAX as usize, "{name}: more than {MESSAGES_MAX} messages");
        ensure!(messages * endpoints.max(1) <= PAIRS_MAX, "{name}: more than {PAIRS_MAX} deliveries");
        ensure!(
            !matches!(kind, Scenario::List | Scenario::Pages) || size <= LIST_SIZE_MAX,
            "{name}: payloads of more than {LIST_SIZE_MAX} bytes"
        );
        ensure!(
            kind != Scenario::Hostile || endpoints > hostile::BAD,
            "hostile: needs more than its three bad endpoints"
        );
        Ok(Plan {
            scenario: name,
            kind,
            messages,
            size,
            endpoints,
            pace: Pace { callers: self.concurrency.into(), rate },
            repeat: self.repeat.into(),
            owed: (kind == Scenario::Backlog).then_some(self.owed as usize),
            apps: (kind == Scenario::Apps).then_some(self.apps as usize),
            idle: self.duration.unwrap_or(LOOKED_FOR),
        })
    }

    /// Which server is measured.
    pub(super) fn origin(&self) -> Result<Origin> {
        let Some(address) = self.server else {
            let postgres = self.store.clone().map(|url| PostgresServer { url, pid: self.store_pid });
            return Ok(Origin::Own { dir: self.dir.clone(), postgres, retry_schedule: RETRY_SCHEDULE });
        };
        let variable = config::environment().find(|(name, _)| name == KEY_FILE_VARIABLE);
        let file = self.key_file.clone().or(variable.map(|(_, file)| file.into()));
        let file = file.context("--server needs --key-file, a file with its admin key")?;
        let key = fs::read_to_string(&file).with_context(|| format!("read the key in {}", file.display()))?;
        Ok(Origin::Given { address, key: key.trim().to_owned(), pid: self.server_pid })
    }
}

/// The address in `http://ADDRESS:PORT`. The receiver is on loopback: a server elsewhere could not reach it.
fn address(url: &str) -> Result<SocketAddr, String> {
    let text = url.strip_prefix("http://").map(|rest| rest.trim_end_matches('/'));
    let address = text.and_then(|text| text.replace("localhost:", "127.0.0.1:").parse::<SocketAddr>().ok());
    let ours = address.filter(|address| address.ip().is_loopback());
    ours.ok_or("must be a server on this machine, such as http://127.0.0.1:8071".into())
}

fn postgres(url: &str) -> Result<String, String> {
    pushpull_store_postgres::check_url(url).map(|()| url.to_owned())
}

fn rate(text: &str) -> Result<f64, String> {
    let rate = text.parse().ok().filter(|rate| (0.1..=1_000_000.0).contains(rate));
    rate.ok_or("must be messages a second, 0.1 to 1000000".into())
}

fn duration(text: &str) -> Result<Duration, String> {
    let time = parse_wait(text).filter(|time| !time.is_zero() && *time <= DURATION_MAX);
    time.ok_or("must be a time such as 30s or 2m, at most 10m".into())
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        options: Options,
    }

    fn plans(line: &str) -> Result<Vec<Plan>> {
        let words = std::iter::once("bench").chain(line.split(' '));
        Line::try_parse_from(words)?.options.plans()
    }

    #[track_caller]
    fn plan(line: &str) -> Plan {
        plans(line).unwrap().remove(0)
    }

    #[test]
    fn a_scenario_has_its_own_measure_unless_another_is_given() {
        let fan_out = plan("fan-out");
        assert_eq!((fan_out.messages, fan_out.endpoints, fan_out.pace.rate), (10_000, 10, None));
        let given = plan("fan-out --messages 20 --endpoints 3 --concurrency 2 --size 100 --repeat 4");
        assert_eq!((given.messages, given.endpoints, given.pace.callers), (20, 3, 2));
        assert_eq!((given.size, given.repeat), (100, 4));
        assert_eq!(plan("hostile").pace.rate, Some(HOSTILE_RATE));
    }

    #[test]
    fn a_rate_and_a_time_make_the_number_of_messages() {
        assert_eq!(plan("deliver --rate 500 --duration 2s").messages, 1_000);
        assert_eq!(plan("deliver --rate 500").messages, 15_000);
        assert_eq!(plan("deliver --rate 500 --messages 10").messages, 10);
    }

    #[test]
    fn without_a_scenario_it_is_the_main_job_and_several_go_in_their_order() {
        let names = |line| plans(line).unwrap().iter().map(|plan| plan.scenario).collect::<Vec<_>>();
        assert_eq!(names("--repeat 3"), ["ingest", "deliver", "fan-out"]);
        assert_eq!(names("list idle --repeat 3"), ["list", "idle"]);
    }

    #[test]
    fn all_is_each_of_them_once() {
        let names: Vec<_> = plans("all").unwrap().iter().map(|plan| plan.scenario).collect();
        assert_eq!(names.len(), Scenario::EACH.len());
        let given = plans("all --server http://127.0.0.1:1 --key-file k").unwrap();
        assert!(given.iter().all(|plan| plan.kind.takes_any()));
    }

    #[test]
    fn what_has_no_bound_is_refused() {
        for line in [
            "deliver --messages 0",
            "deliver --messages 2000001",
            "deliver --messages 2000000 --endpoints 11",
            "deliver --size 3",
            "deliver --size 1048577",
            "deliver --rate 0",
            "deliver --rate nan",
            "deliver --duration 11m",
            "deliver --duration 0s",
            "deliver --rate 1 --duration 2s --messages 3",
            "deliver --concurrency 0",
            "hostile --endpoints 3",
            "list --size 9000",
            "backlog --server http://127.0.0.1:1",
            "deliver --store mysql://localhost/x",
            "deliver --store-pid 7",
            "deliver --server http://127.0.0.1:1 --store postgres://localhost/x",
            "nothing",
        ] {
            assert!(plans(line).is_err(), "{line}");
        }
    }

    #[test]
    fn only_a_server_on_this_machine_is_driven() {
        for url in ["http://127.0.0.1:80", "http://localhost:8071/", "http://[::1]:9"] {
            assert!(address(url).is_ok(), "{url}");
        }
        for url in [
            "http://10.0.0.1:80",
            "https://127.0.0.1:1",
            "http://example.com",
            "127.0.0.1:1",
            "http://127.0.0.1",
        ] {
            assert!(address(url).is_err(), "{url}");
        }
    }
}
