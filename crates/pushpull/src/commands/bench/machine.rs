//! What the figures were measured on, as far as it can be read here: no figure means anything without.

use std::{fs, path::Path};

use serde::Serialize;

use super::process;

/// What is said of a build that is not optimised.
const DEBUG: &str = ": slow, its figures say nothing about a release";

/// The machine and this build.
#[derive(Debug, Serialize)]
pub(super) struct Machine {
    version: &'static str,
    build: &'static str,
    cores: usize,
    cpu: String,
    memory_mib: u64,
    kernel: String,
    /// Processes that ran or waited for a core, mean of the last minute, when this was read.
    load_before: f64,
}

impl Machine {
    /// This one.
    pub(super) fn read() -> Self {
        let file = |path| fs::read_to_string(path).unwrap_or_default();
        let memory_kib = process::field(&file("/proc/meminfo"), "MemTotal:").unwrap_or_default();
        Self {
            version: env!("CARGO_PKG_VERSION"),
            build: if cfg!(debug_assertions) { "debug" } else { "release" },
            cores: std::thread::available_parallelism().map_or(0, usize::from),
            cpu: cpu_model(&file("/proc/cpuinfo")).to_owned(),
            memory_mib: memory_kib / 1_024,
            kernel: file("/proc/sys/kernel/osrelease").trim().to_owned(),
            load_before: file("/proc/loadavg")
                .split(' ')
                .next()
                .and_then(|load| load.parse().ok())
                .unwrap_or(0.0),
        }
    }

    /// For people.
    pub(super) fn lines(&self) -> [(&'static str, String); 2] {
        let Self { version, build, cores, cpu, memory_mib, kernel, load_before } = self;
        [
            (
                "program",
                format!("pushpull {version}, {build} build{}", if *build == "debug" { DEBUG } else { "" }),
            ),
            (
                "machine",
                format!("{cores} cores ({cpu}), {memory_mib} MiB, Linux {kernel}; load {load_before} before"),
            ),
        ]
    }
}

fn cpu_model(cpuinfo: &str) -> &str {
    let model = cpuinfo.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
    model.map_or("unknown", |(_, model)| model)
}

/// The kind of file system that a directory is on: on some, fsync costs nothing.
pub(super) fn file_system(directory: &Path) -> String {
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let directory = directory.canonicalize().unwrap_or_else(|_| directory.to_owned());
    mounted(&mounts, &directory).unwrap_or("unknown").to_owned()
}

/// In `/proc/self/mountinfo` (`proc_pid_mountinfo(5)`): of the longest mount point that leads there.
fn mounted<'a>(mounts: &'a str, directory: &Path) -> Option<&'a str> {
    let mounts = mounts.lines().filter_map(|line| {
        let point = line.split(' ').nth(4)?;
        let (_, kind) = line.split_once(" - ")?;
        directory.starts_with(point).then_some((point.len(), kind.split(' ').next()?))
    });
    // Of two on the same point the later covers the earlier.
    mounts.max_by_key(|(length, _)| *length).map(|(_, kind)| kind)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_is_on_the_mount_with_the_longest_way_to_it() {
        let mounts = "27 1 254:0 / / rw,relatime - ext4 /dev/vda rw\n\
                      25 24 0:23 / /dev/shm rw shared:1 - tmpfs tmpfs rw\n";
        assert_eq!(mounted(mounts, Path::new("/tmp/x")), Some("ext4"));
        assert_eq!(mounted(mounts, Path::new("/dev/shm/x")), Some("tmpfs"));
        assert_eq!(mounted(mounts, Path::new("/dev/shmem")), Some("ext4"));
        assert_eq!(mounted("", Path::new("/")), None);
    }

    #[test]
    fn the_model_of_the_first_core_stands_for_all() {
        assert_eq!(cpu_model("processor\t: 0\nmodel name\t: AMD EPYC\nmodel name\t: other\n"), "AMD EPYC");
        assert_eq!(cpu_model(""), "unknown");
    }
}
