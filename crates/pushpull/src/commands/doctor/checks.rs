//! The checks themselves.

use std::{fs, io::Write, os::unix::fs::PermissionsExt, path::Path, time::Duration};

use pushpull_domain::{Clock, Timestamp};
use pushpull_store::Ledger;
use tokio::time::Instant;

use super::Finding;
use crate::{
    clock::SystemClock,
    commands::{call::Api, serve::is_in_the_open},
    config::{Backend, Config},
    datadir::{self, Held, Lock},
    listen::Front,
    store, tls,
};

/// An fsync that takes longer slows every acknowledgement down.
const FSYNC_SLOW: Duration = Duration::from_millis(50);
/// Free space under which writes will soon be refused.
const FREE_MIN: u64 = 100 << 20;
/// Free space under which it is time to act.
const FREE_LOW: u64 = 1 << 30;
/// Shorter secrets can be guessed from one token (RFC 7518 s. 3.2 asks for 256 bits).
const JWT_SECRET_MIN: usize = 32;
/// 2026-01-01: before that nobody had this program.
const EARLIEST: Timestamp = Timestamp::from_millis(1_767_225_600_000);

/// All checks, in the order in which trouble in one explains trouble in the next.
pub(super) async fn all(config: &Config) -> Vec<Finding> {
    let mut findings = vec![Finding::ok("config", "every setting is valid"), clock(config)];
    findings.extend(data_directory(&config.place.data));
    findings.push(free_space(&config.place.data));
    findings.push(key_file("master key", &config.place.master_key_file));
    findings.push(key_file("admin key", &config.admin_key_file));
    findings.push(store(config).await);
    findings.push(listen_address(config).await);
    findings.extend(tls_files(config));
    findings.extend(in_the_open(config));
    findings.extend(jwt_secret(config));
    findings
}

fn clock(config: &Config) -> Finding {
    let now = SystemClock.now();
    let fix = "set the machine's time, and keep it: timedatectl set-ntp true";
    if now < EARLIEST {
        return Finding::fail("clock", format!("the machine says it is {now}"), fix);
    }
    let written = fs::metadata(datadir::store_file(&config.place)).and_then(|data| data.modified()).ok();
    if written.is_some_and(|at| at.elapsed().is_err()) {
        return Finding::warn(
            "clock",
            format!("it is {now}, yet the store was written later than that"),
            fix,
        );
    }
    Finding::ok("clock", format!("it is {now}"))
}

fn data_directory(dir: &Path) -> Vec<Finding> {
    const CHECK: &str = "data directory";
    if !dir.exists() {
        let nearest = nearest_existing(dir);
        return vec![Finding::ok(CHECK, format!("{} will be made in {}", dir.display(), nearest.display()))];
    }
    let mut findings = Vec::new();
    match fsync_time(dir) {
        Ok(took) if took > FSYNC_SLOW => findings.push(Finding::warn(
            CHECK,
            format!("{} is writable, but an fsync takes {} ms", dir.display(), took.as_millis()),
            "move it to a faster disk, with --data",
        )),
        Ok(took) => findings.push(Finding::ok(
            CHECK,
            format!("{} is writable, an fsync takes {:.1} ms", dir.display(), took.as_secs_f64() * 1e3),
        )),
        Err(error) => findings.push(Finding::fail(
            CHECK,
            format!("{} cannot be written: {error}", dir.display()),
            format!("chown -R $(id -un) {}", dir.display()),
        )),
    }
    if mode_of(dir).is_some_and(|mode| mode & 0o077 != 0) {
        findings.push(Finding::warn(
            CHECK,
            format!("{} can be looked into by others", dir.display()),
            format!("chmod 700 {}", dir.display()),
        ));
    }
    findings
}

fn nearest_existing(dir: &Path) -> &Path {
    dir.ancestors().find(|dir| dir.exists()).unwrap_or(Path::new("."))
}

/// How long it takes to write a page and have it on stable storage; the median of five.
fn fsync_time(dir: &Path) -> std::io::Result<Duration> {
    let mut file = tempfile::tempfile_in(dir)?;
    let mut times = Vec::with_capacity(5);
    for _ in 0..5 {
        let start = Instant::now();
        file.write_all(&[0; 8_192])?;
        file.sync_data()?;
        times.push(start.elapsed());
    }
    times.sort_unstable();
    Ok(times[2])
}

fn free_space(dir: &Path) -> Finding {
    const CHECK: &str = "free space";
    let fix = format!(
        "make room on its disk, or keep less: --retention-messages 30d; now: df -h {}",
        dir.display()
    );
    match rustix::fs::statvfs(nearest_existing(dir)) {
        Err(error) => Finding::warn(CHECK, format!("unknown: {error}"), fix),
        Ok(disk) => {
            let free = disk.f_bavail.saturating_mul(disk.f_frsize);
            let what = format!("{} MiB", free >> 20);
            match free {
                _ if free < FREE_MIN => Finding::fail(CHECK, what, fix),
                _ if free < FREE_LOW => Finding::warn(CHECK, what, fix),
                _ => Finding::ok(CHECK, what),
            }
        }
    }
}

fn mode_of(path: &Path) -> Option<u32> {
    fs::metadata(path).ok().map(|data| data.permissions().mode() & 0o777)
}

fn key_file(check: &'static str, path: &Path) -> Finding {
    match mode_of(path) {
        None => Finding::ok(check, format!("{} will be made on first start", path.display())),
        Some(mode) if mode & 0o077 != 0 => Finding::warn(
            check,
            format!("{} has mode {mode:04o}: others can read it", path.display()),
            format!("chmod 600 {}", path.display()),
        ),
        Some(mode) => Finding::ok(check, format!("{} has mode {mode:04o}", path.display())),
    }
}

async fn store(config: &Config) -> Finding {
    const CHECK: &str = "store";
    let restore = match config.place.store {
        Backend::File => "restore the newest backup: pushpull restore FILE",
        Backend::Postgres(_) => "see what PostgreSQL's log says",
    };
    match store::is_new(&config.place).await {
        Ok(true) => return Finding::ok(CHECK, "will be made on first start"),
        Ok(false) => {}
        Err(error) => return Finding::fail(CHECK, format!("cannot be looked at: {error:#}"), restore),
    }
    let store = match store::open_existing(&config.place).await {
        Ok(store) => store,
        Err(error) => return Finding::fail(CHECK, format!("does not open: {error:#}"), restore),
    };
    let finding = match store.ledger().await {
        Ok(ledger @ Ledger { accepted, owed, exhausted, .. }) if ledger.balances() => Finding::ok(
            CHECK,
            format!(
                "opens and its books balance: {accepted} deliveries, {owed} owed, {exhausted} failed for good"
            ),
        ),
        Ok(ledger) => Finding::fail(CHECK, format!("its books do not balance: {ledger:?}"), restore),
        Err(error) => Finding::fail(CHECK, format!("cannot be read: {error}"), restore),
    };
    store.close().await;
    finding
}

async fn listen_address(config: &Config) -> Finding {
    const CHECK: &str = "listen address";
    let address = config.listen;
    let Err(taken) = Front::bind(address, None, &[]) else {
        return Finding::ok(CHECK, format!("{address} is free"));
    };
    let ours = config.place.data.exists().then(|| Lock::try_take(&config.place.data));
    let Some(Ok(Err(Held { pid }))) = ours else {
        let fix = "name another one with --listen, or find who has it: ss -ltnp";
        return Finding::fail(CHECK, format!("{taken:#}"), fix);
    };
    // Over TLS the certificate is for a name that is not known here: that the data is served must do.
    if config.tls.is_some() {
        return Finding::ok(
            CHECK,
            format!("{address} is taken, and process {pid} serves this data directory"),
        );
    }
    match Api::new(address, None).call("GET", "/api/v1/health", None).await {
        Ok((status, _)) if status.is_success() => {
            Finding::ok(CHECK, format!("{address} is served by pushpull, process {pid}, and it is healthy"))
        }
        Ok((status, _)) => Finding::fail(
            CHECK,
            format!("{address} answers {status} when asked for its health"),
            format!("look at the log of process {pid}"),
        ),
        Err(error) => Finding::fail(
            CHECK,
            format!("{address} does not answer: {error:#}"),
            format!("look at the log of process {pid}"),
        ),
    }
}

fn tls_files(config: &Config) -> Option<Finding> {
    let files = config.tls.as_ref()?;
    Some(match tls::acceptor(files) {
        Ok(_) => Finding::ok("tls", format!("{} and its key can be used", files.cert.display())),
        Err(error) => {
            Finding::fail("tls", format!("{error:#}"), "name the right files: --tls-cert FILE --tls-key FILE")
        }
    })
}

fn in_the_open(config: &Config) -> Option<Finding> {
    is_in_the_open(config).then(|| {
        Finding::warn(
            "encryption",
            format!(
                "{} is open to others without TLS: keys and payloads can be read on the way",
                config.listen
            ),
            "set --tls-cert and --tls-key, or name the proxy that speaks TLS: --trusted-proxies CIDR",
        )
    })
}

fn jwt_secret(config: &Config) -> Option<Finding> {
    let short = config.jwt_secret.as_ref().is_some_and(|secret| secret.0.len() < JWT_SECRET_MIN);
    short.then(|| {
        Finding::warn(
            "jwt secret",
            format!("has fewer than {JWT_SECRET_MIN} bytes: it can be guessed from a token"),
            "move to keys (pushpull key create), then unset it",
        )
    })
}
