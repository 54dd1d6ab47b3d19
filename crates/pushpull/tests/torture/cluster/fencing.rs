//! A node that sleeps in the middle of much to do, and wakes when somebody else is doing it.

use std::{collections::BTreeMap, time::Duration};

use serde_json::json;
use tokio::{task::JoinSet, time::Instant};

use crate::support::{Client, Ledger, Sink, let_pass, say};

use super::nodes::{Cluster, LEASE, NODES};

/// Applications, each with an endpoint that keeps order.
const APPS: usize = 24;
/// So many messages a second each of them gets.
const RATE: u64 = 10;
const SECOND: Duration = Duration::from_secs(1);
/// What a limit that is begun anew, by the next node and by the one that woke, may add.
const BEGUN_ANEW: Duration = Duration::from_secs(2);
/// Messages of each: more than go out while this is looked at.
const MESSAGES: usize = 250;
/// Since when another node must have what was the sleeper's.
const TAKEN_OVER: Duration = Duration::from_secs(7);
/// Deliveries that the sleeper may make again: those that it was just about to send when it fell asleep.
const AGAIN_MAX: usize = 1;

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_wakes_does_not_go_on_with_what_others_do_by_now() {
    let cluster = Cluster::start().await;
    let sink = Sink::start(|_, _, _| 200).await;
    let mut filling = JoinSet::new();
    for app in 0..APPS {
        filling.spawn(fill(cluster.client(app % NODES), app, sink.url(&format!("/{app}"))));
    }
    filling.join_all().await;
    cluster.pause(0, true);
    let paused = Instant::now();
    let_pass(TAKEN_OVER).await;
    assert!(TAKEN_OVER > LEASE);
    cluster.pause(0, false);
    let woken = Instant::now();
    let_pass(Duration::from_secs(2)).await;
    let ledger = sink.take_ledger();
    cluster.stop().await;

    let (before, after) = again(&ledger, paused);
    let late = ledger.values().flatten().filter(|arrival| arrival.at > woken).count();
    say(format!(
        "{} delivered, {late} of them after the node woke; again {before} of before it fell asleep, {after} of after",
        ledger.len()
    ));
    assert!(late > 0, "all was delivered before");
    assert!(after <= AGAIN_MAX, "{after} were delivered by the others, and by the sleeper once more");
    check_order(&ledger);
    check_rate(&ledger);
}

/// Makes an application whose endpoint is slow, and gives it much to do.
async fn fill(mut client: Client, app: usize, url: String) {
    let path = format!("/api/v1/app/sleepy-{app}");
    client.app(&format!("sleepy-{app}")).await;
    let endpoint = json!({ "url": url, "rateLimit": RATE, "fifo": true });
    client.post(&format!("{path}/endpoint"), &endpoint).await.expect(201);
    for n in 0..MESSAGES {
        client
            .post(&format!("{path}/msg"), &json!({ "eventType": "a", "payload": { "n": n } }))
            .await
            .expect(202);
    }
}

/// How many were delivered again: of those that first arrived before a moment, and of those after it. A while in
/// between: what had arrived when the node fell asleep.
fn again(ledger: &Ledger, moment: Instant) -> (usize, usize) {
    let repeated = ledger.values().filter(|arrivals| arrivals.len() > 1);
    let (before, after): (Vec<_>, Vec<_>) =
        repeated.partition(|arrivals| arrivals[0].at < moment + Duration::from_secs(1));
    (before.len(), after.len())
}

/// No endpoint gets more than its limit allows, whoever brings it: the next node may begin anew, but not beside the one
/// before.
fn check_rate(ledger: &Ledger) {
    let mut arrivals = BTreeMap::<&str, Vec<Instant>>::new();
    for ((path, _), of_message) in ledger {
        arrivals.entry(path).or_default().extend(of_message.iter().map(|arrival| arrival.at));
    }
    assert_eq!(arrivals.len(), APPS);
    let mut most = 0;
    for (path, mut times) in arrivals {
        times.sort_unstable();
        let within = |since: Instant| times.iter().filter(|at| (since..since + SECOND).contains(at)).count();
        most = times.iter().map(|at| within(*at)).max().unwrap_or(0).max(most);
        let lasted = times[times.len() - 1] - times[0];
        let allowed = RATE as f64 * (lasted + BEGUN_ANEW).as_secs_f64();
        assert!(times.len() as f64 <= allowed, "{path}: {} in {lasted:?}", times.len());
    }
    say(format!("at most {most} in a second, of {RATE}"));
    assert!(most <= 2 * RATE as usize, "{most} in a second");
}

/// Each message arrived first after the ones before it.
fn check_order(ledger: &Ledger) {
    let mut firsts: Vec<_> = ledger
        .iter()
        .map(|((path, id), arrivals)| (path, crate::kill::books::position(id), arrivals[0].at))
        .collect();
    firsts.sort_unstable_by_key(|(path, position, _)| (*path, *position));
    for pair in firsts.windows(2) {
        let ((path, before, at), (next_path, next, next_at)) = (pair[0], pair[1]);
        assert!(path != next_path || at <= next_at, "{path}: {next} arrived before {before}");
    }
}
