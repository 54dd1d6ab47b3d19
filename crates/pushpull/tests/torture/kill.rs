//! SIGKILL under load, again and again, with a ledger on both sides.
//!
//! What is promised: nothing acknowledged is lost, nothing refused is stored, a request repeated with its key
//! is one message, and a kill repeats at most the deliveries whose outcome was not yet written.

pub(crate) mod books;
pub(crate) mod load;

use std::time::Duration;

use tokio::time::Instant;

use crate::support::{Dice, Home, Server, Sink, faulty, let_pass, percentile, say};

use books::{Books, Faults, Findings};
use load::Load;

/// Kills of a run that nobody asked to be longer.
const KILLS: usize = 50;
/// Kills of the control. Most of them lose something.
const CONTROL_KILLS: usize = 12;

/// What a run came to.
struct Run {
    findings: Findings,
    ready: Vec<Duration>,
    /// What `pushpull doctor` said at the end.
    doctor: String,
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_acknowledged_is_lost_however_often_the_process_is_killed() {
    let kills = crate::support::variable("PUSHPULL_TORTURE_KILLS")
        .map_or(KILLS, |text| text.parse().expect("PUSHPULL_TORTURE_KILLS is a number"));
    let mut run = run(home(), kills, Dice::new("kill")).await;
    say(format!(
        "{kills} kills; {}; ready after p50 {:?}, p99 {:?}",
        run.findings,
        percentile(&mut run.ready, 0.5),
        percentile(&mut run.ready, 0.99),
    ));
    assert_eq!(run.findings.wrong(), Vec::<String>::new());
    assert!(run.doctor.contains("its books balance"), "{}", run.doctor);
    assert!(run.findings.acknowledged > kills, "the server was hardly under load: {}", run.findings);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_acknowledges_before_it_commits_is_caught() {
    let home = home().program(faulty::build().await).with(faulty::VARIABLE, faulty::ACKNOWLEDGE_EARLY);
    let run = run(home, CONTROL_KILLS, Dice::new("control")).await;
    say(format!("{CONTROL_KILLS} kills; {}", run.findings));
    assert!(run.findings.lost > 0, "the loop cannot see a loss: {}", run.findings);
}

fn home() -> Home {
    Home::new().with("PUSHPULL_RETRY_SCHEDULE", "100ms,200ms,500ms,1s,1s,1s,1s,1s")
}

async fn run(home: Home, kills: usize, dice: Dice) -> Run {
    let sink = Sink::start(load::decide).await;
    let first = home.start().await;
    load::set_up(&mut first.client(), &sink).await;
    let load = Load::start(&dice);
    let (mut ready, mut killed, mut server) = (Vec::new(), Vec::new(), Some(first));
    while killed.len() < kills {
        killed.push(match server {
            Some(server) => kill_serving(server, &load, &dice).await,
            None => kill_starting(&home, &dice).await,
        });
        sink.next_life().await;
        server = if dice.once_in(5) { None } else { Some(start(&home, &mut ready).await) };
    }
    let last = match server {
        Some(server) => server,
        None => start(&home, &mut ready).await,
    };
    load.serve_at(last.address);
    let entries = load.finish().await;
    let standing = books::settled(&mut last.client()).await;
    last.stop().await;
    let doctor = home.doctor().await;
    let findings =
        Books { entries, arrivals: sink.take_ledger(), faults: Faults::Lives(killed), standing }.check();
    Run { findings, ready, doctor }
}

async fn start(home: &Home, ready: &mut Vec<Duration>) -> Server {
    let server = home.start().await;
    ready.push(server.ready_after);
    server
}

/// Lets a server live under load for a while, and kills it; when that was. Some are asked to stop just before.
async fn kill_serving(server: Server, load: &Load, dice: &Dice) -> Instant {
    load.serve_at(server.address);
    let_pass(dice.millis(50, 800)).await;
    if dice.once_in(6) {
        server.terminate();
        let_pass(dice.millis(0, 60)).await;
    }
    let at = Instant::now();
    server.kill().await;
    load.nobody_serves();
    at
}

/// Kills a server that may not be ready yet.
async fn kill_starting(home: &Home, dice: &Dice) -> Instant {
    let starting = home.spawn();
    let_pass(dice.millis(0, 150)).await;
    let at = Instant::now();
    starting.kill().await;
    at
}
