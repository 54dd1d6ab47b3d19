//! What a process uses, as `/proc` tells it.

use std::{fs, time::Duration};

use anyhow::{Context, Result};

/// Ticks of `/proc/PID/stat` a second: `USER_HZ`, 100 on every machine this runs on.
const TICKS: f64 = 100.0;

/// What a process has used since it started.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Usage {
    /// User and system time of all its threads.
    pub(super) cpu: Duration,
    /// Bytes that it caused to be written to disk; `None`: this may not be seen.
    pub(super) written: Option<u64>,
}

impl Usage {
    /// That of a process as of now.
    pub(super) fn of(pid: u32) -> Result<Self> {
        let cpu = cpu(&read(pid, "stat")?).context("read the CPU time")?;
        let written = read(pid, "io").ok().and_then(|io| field(&io, "write_bytes:"));
        Ok(Self { cpu, written })
    }

    /// That of a process, and of all that it started and that live or that it has waited for.
    pub(super) fn of_tree(pid: u32) -> Result<Self> {
        let processes = fs::read_dir("/proc").context("read /proc")?;
        let pids = processes.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<u32>().ok());
        // Some of them have ended by now.
        let stats = pids.filter_map(|pid| Some((pid, read(pid, "stat").ok()?)));
        let cpu = stats.filter_map(|(other, stat)| {
            if other == pid {
                times(&stat, 4)
            } else {
                times(&stat, 2).filter(|_| parent(&stat) == Some(pid))
            }
        });
        Ok(Self { cpu: cpu.sum(), written: None })
    }

    /// What was used since.
    pub(super) fn since(self, before: Self) -> Self {
        let written = self.written.zip(before.written).map(|(now, before)| now - before);
        Self { cpu: self.cpu.saturating_sub(before.cpu), written }
    }
}

/// The memory of a process, in MiB: resident now, and at most since it started.
pub(super) fn resident_mib(pid: u32) -> Result<(f64, f64)> {
    let status = read(pid, "status")?;
    let mib = |name| field(&status, name).map(|kib| kib as f64 / 1_024.0);
    mib("VmRSS:").zip(mib("VmHWM:")).context("read the resident memory")
}

/// User and system time of all processes of this machine.
pub(super) fn machine_cpu() -> Result<Duration> {
    let stat = fs::read_to_string("/proc/stat").context("read /proc/stat")?;
    busy(&stat).context("read the machine's CPU time")
}

fn read(pid: u32, file: &str) -> Result<String> {
    let path = format!("/proc/{pid}/{file}");
    fs::read_to_string(&path).with_context(|| format!("read {path}"))
}

/// The first number after a name at the start of a line.
pub(super) fn field(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    line.split_ascii_whitespace().next()?.parse().ok()
}

/// User and system time: fields 14 and 15 of `/proc/PID/stat` (`proc_pid_stat(5)`).
fn cpu(stat: &str) -> Option<Duration> {
    times(stat, 2)
}

/// So many fields from the 14th on: two for a process alone, four with those of its children that have ended.
fn times(stat: &str, count: usize) -> Option<Duration> {
    let times = fields(stat)?.skip(11).take(count).map(str::parse::<u64>);
    let ticks = times.sum::<Result<u64, _>>().ok()?;
    Some(Duration::from_secs_f64(ticks as f64 / TICKS))
}

/// Who started it: field 4.
fn parent(stat: &str) -> Option<u32> {
    fields(stat)?.nth(1)?.parse().ok()
}

/// From the third on. The second, the name, may hold blanks and brackets.
fn fields(stat: &str) -> Option<impl Iterator<Item = &str>> {
    stat.rsplit_once(") ").map(|(_, rest)| rest.split(' '))
}

/// Of the first line of `/proc/stat`: user, nice, system and interrupts, not idle, waiting or stolen.
fn busy(stat: &str) -> Option<Duration> {
    let line = stat.lines().next()?.strip_prefix("cpu ")?;
    let times: Vec<u64> = line.split_ascii_whitespace().map_while(|time| time.parse().ok()).collect();
    let ticks = times.get(..3)?.iter().chain(times.get(5..7)?).sum::<u64>();
    Some(Duration::from_secs_f64(ticks as f64 / TICKS))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cpu_time_is_found_behind_any_name() {
        let stat = "42 (a) (b c) S 7 42 42 0 -1 4194560 100 0 0 0 250 50 9 9 20 0 9 0 777 1000000 321 0";
        assert_eq!(cpu(stat), Some(Duration::from_secs(3)));
        assert_eq!((times(stat, 4), parent(stat)), (Some(Duration::from_millis(3_180)), Some(7)));
        assert_eq!(cpu("42 (a"), None);
    }

    #[test]
    fn idle_and_stolen_time_is_not_busy() {
        let stat = "cpu  100 20 30 4000 500 6 44 700 0 0\ncpu0 1 1 1 1\n";
        assert_eq!(busy(stat), Some(Duration::from_secs(2)));
        assert_eq!(busy("cpu  1 2"), None);
    }

    #[test]
    fn a_field_is_the_number_after_its_name() {
        let status = "Name:\tx\nVmHWM:\t    1708 kB\nVmRSS:\t 900 kB\n";
        assert_eq!(field(status, "VmRSS:"), Some(900));
        assert_eq!(field(status, "VmSwap:"), None);
    }

    #[test]
    fn this_process_has_used_something() {
        let (resident, peak) = resident_mib(std::process::id()).unwrap();
        assert!(peak >= resident && resident > 0.0);
        let alone = Usage::of(std::process::id()).unwrap();
        assert!(Usage::of_tree(std::process::id()).unwrap().cpu >= alone.cpu);
    }
}
