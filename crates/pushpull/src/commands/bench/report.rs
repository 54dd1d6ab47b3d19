//! What is told at the end: for people line by line, for programs as one document.

use std::{fmt, path::Path};

use serde::Serialize;
use serde_json::{Value, json};

use super::{
    figures::{Faults, Figures, Run, shown},
    machine::{Machine, file_system},
    options::Plan,
    subject::{Origin, PostgresServer},
};

/// What is true of every run.
const SHARED: &str = "server, client and receiver share these cores";
/// What an acknowledged message of our own server has behind it.
const FSYNC: &str = "every acknowledged message is fsynced (SQLite, WAL, synchronous=FULL)";
const FSYNC_POSTGRES: &str = "every acknowledged message is on its stable storage (synchronous_commit=on)";

/// Everything that stays the same while it is measured.
#[derive(Debug, Serialize)]
pub(super) struct Settings {
    #[serde(flatten)]
    machine: Machine,
    cores_shared_by: &'static str,
    server: String,
    store: String,
    fsync: &'static str,
}

impl Settings {
    /// As they are now.
    pub(super) fn read(origin: &Origin) -> Self {
        let (server, store, fsync) = match origin {
            Origin::Own { postgres: Some(PostgresServer { pid, .. }), .. } => (
                "its own process, new for each run".to_owned(),
                match pid {
                    Some(_) => "a new PostgreSQL database, whose server's CPU is counted".to_owned(),
                    None => "a new PostgreSQL database, whose server's CPU is not counted".to_owned(),
                },
                FSYNC_POSTGRES,
            ),
            Origin::Own { dir, .. } => {
                let system = tempfile::env::temp_dir();
                let dir: &Path = dir.as_deref().unwrap_or(&system);
                let kind = file_system(dir);
                let note = if kind == "tmpfs" { ": in memory, an fsync costs nothing there" } else { "" };
                (
                    "its own process, new for each run".to_owned(),
                    format!("{} on {kind}{note}", dir.display()),
                    FSYNC,
                )
            }
            Origin::Given { address, .. } => (
                format!("given, http://{address}"),
                "unknown".to_owned(),
                "unknown: as the given server is set up",
            ),
        };
        Self { machine: Machine::read(), cores_shared_by: SHARED, server, store, fsync }
    }
}

impl fmt::Display for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (name, text) in self.machine.lines() {
            writeln!(f, "{name:<9}{text}")?;
        }
        writeln!(f, "{:<9}{}", "", self.cores_shared_by)?;
        writeln!(f, "{:<9}{}", "server", self.server)?;
        writeln!(f, "{:<9}{}; {}", "store", self.store, self.fsync)
    }
}

/// One scenario, measured.
#[derive(Debug)]
pub(super) struct Measured {
    plan: Plan,
    figures: Figures,
    faults: Faults,
    runs: Vec<Run>,
    ceilings: Vec<Run>,
}

impl Measured {
    /// Runs, and the ceilings between them: one more than runs, or none.
    pub(super) fn new(plan: Plan, mut runs: Vec<Run>, ceilings: Vec<Run>) -> Self {
        for (run, around) in runs.iter_mut().zip(ceilings.windows(2)) {
            compare(&mut run.figures, around);
        }
        let mut faults = Faults::default();
        for run in runs.iter().chain(&ceilings) {
            faults.add(&run.faults);
        }
        let all: Vec<Figures> = runs.iter().map(|run| run.figures.clone()).collect();
        Self { figures: Figures::medians(&all), plan, faults, runs, ceilings }
    }

    /// Whether what was promised was broken.
    pub(super) fn breaks_promises(&self) -> bool {
        self.faults.break_promises()
    }

    /// As a part of the document.
    pub(super) fn to_json(&self) -> Value {
        let each = |runs: &[Run]| -> Vec<Value> { runs.iter().map(|run| run.figures.to_json()).collect() };
        json!({
            "plan": self.plan,
            "figures": self.figures.to_json(),
            "faults": self.faults,
            "runs": each(&self.runs),
            "ceilings": each(&self.ceilings),
        })
    }
}

/// Adds the ceiling of the same minute, the mean of the one before and the one after, and the ratios to it.
fn compare(figures: &mut Figures, around: &[Run]) {
    let mean = |name| {
        let all: Vec<f64> = around.iter().filter_map(|run| run.figures.get(name)).collect();
        (!all.is_empty()).then(|| all.iter().sum::<f64>() / all.len() as f64)
    };
    let ratio = |own: Option<f64>, ceiling: Option<f64>| own.zip(ceiling).map(|(own, ceiling)| own / ceiling);
    let (rate, cpu) = (mean("delivered_per_s"), mean("cpu_s_per_1k.client"));
    let own_rate = figures.get("delivered_per_s").or(figures.get("accepted_per_s"));
    let own_cpu = figures.get("cpu_s_per_1k.server");
    figures.put_some("ceiling.per_s", rate);
    figures.put_some("ceiling.cpu_s_per_1k", cpu);
    figures.put_some("of_ceiling.rate", ratio(own_rate, rate));
    figures.put_some("of_ceiling.cpu", ratio(own_cpu, cpu));
}

impl fmt::Display for Measured {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Plan { scenario, messages, size, endpoints, pace, repeat, owed, apps, .. } = &self.plan;
        write!(f, "{scenario:<9}")?;
        let endpoints = counted(*endpoints, "endpoint");
        if let Some(apps) = apps {
            write!(f, "{}, {endpoints} each", counted(*apps, "application"))?;
        } else if *messages > 0 {
            write!(f, "{} of {size} bytes, {endpoints}, ", counted(*messages, "message"))?;
            match pace.rate {
                None => write!(f, "closed loop of {}", counted(pace.callers, "caller"))?,
                Some(rate) => {
                    write!(f, "{} a second by timetable, at most {} at once", shown(rate), pace.callers)?;
                }
            }
        } else {
            write!(f, "nobody calls")?;
        }
        if let Some(owed) = owed {
            write!(f, ", {} owed", counted(*owed, "delivery"))?;
        }
        if *repeat > 1 {
            write!(f, "; medians of {repeat} runs")?;
        }
        writeln!(f)?;
        for (name, cells) in self.figures.lines() {
            writeln!(f, "  {name:<26}{cells}")?;
        }
        write!(f, "  {:<26}{}", "faults", self.faults.line())
    }
}

fn counted(count: usize, what: &str) -> String {
    let many = match what.strip_suffix('y') {
        Some(stem) => format!("{stem}ies"),
        None => format!("{what}s"),
    };
    format!("{} {}", shown(count as f64), if count == 1 { what } else { &many })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(name: &str, value: f64) -> Run {
        let mut run = Run::default();
        run.figures.put(name, value);
        run
    }

    #[test]
    fn a_run_is_compared_with_the_mean_of_the_ceilings_around_it() {
        let mut own = run("delivered_per_s", 30.0).figures;
        compare(&mut own, &[run("delivered_per_s", 80.0), run("delivered_per_s", 120.0)]);
        assert_eq!((own.get("ceiling.per_s"), own.get("of_ceiling.rate")), (Some(100.0), Some(0.3)));
        assert_eq!(own.get("of_ceiling.cpu"), None, "nothing is known of a server whose process is not");
    }

    #[test]
    fn one_is_one_and_more_are_many() {
        assert_eq!(counted(1, "endpoint"), "1 endpoint");
        assert_eq!(counted(1_000, "delivery"), "1,000 deliveries");
    }
}
