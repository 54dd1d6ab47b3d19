//! Commits that stop in the middle: of a node that stops, and of a primary whose standby is not heard of.

use std::{collections::HashSet, time::Duration};

use serde_json::json;
use tokio::{task::JoinSet, time::Instant};

use crate::support::{Burst, Client, Posted, eventually, let_pass, post, say};

use super::nodes::Cluster;

/// Payloads that take a while to be sent to the store: each of a batch is as long as this.
const LARGE: Burst = Burst { name: "large", clients: 8, each: 40, size: 300_000 };
/// How often a node is stopped, to find it in the middle of a transaction.
const STOPS_MAX: usize = 400;
/// PostgreSQL ends such a transaction after 4 s. The rest is for a busy machine.
const HELD_UP_MAX: Duration = Duration::from_secs(10);
/// Transactions that wait for a node which says nothing.
const OPEN: &str = "SELECT count(*) FROM pg_stat_activity
    WHERE state = 'idle in transaction' AND clock_timestamp() - state_change > interval '30 ms'";
/// Messages whose commit waits for a standby.
const WAITING: Burst = Burst { name: "waiting", clients: 8, each: 1, size: 100 };
const CUTS: [&str; 4] =
    ["pg_cancel_backend", "pg_cancel_backend", "pg_cancel_backend", "pg_terminate_backend"];
const WAITERS: &str = "FROM pg_stat_activity WHERE wait_event = 'SyncRep'";

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_stops_in_the_middle_of_taking_messages_in_holds_up_the_others_for_seconds_only() {
    let mut cluster = Cluster::start().await;
    let mut client = cluster.client(1);
    client.app("app").await;
    let mut large = JoinSet::new();
    large.spawn(post(cluster.address(0), LARGE));
    let mut stops = 0;
    loop {
        stops += 1;
        assert!(
            stops <= STOPS_MAX && large.try_join_next().is_none(),
            "never in the middle of a transaction"
        );
        let_pass(Duration::from_millis(stops as u64 % 7)).await;
        cluster.pause(0, true);
        let_pass(Duration::from_millis(50)).await;
        if cluster.primary().sql(OPEN).await != "0" {
            break;
        }
        cluster.pause(0, false);
    }
    let stopped = Instant::now();
    let message = json!({ "eventType": "a", "payload": {} });
    let meanwhile = client.post("/api/v1/app/app/msg", &message).await.expect(202).text("id");
    let held_up = stopped.elapsed();
    cluster.pause(0, false);
    say(format!("found in a transaction at the {stops}th stop; another node was held up for {held_up:?}"));
    assert!(held_up < HELD_UP_MAX, "{held_up:?}");
    let posted = large.join_all().await.remove(0);
    check(&mut client, &posted, 1).await;
    assert!(ids(&mut client).await.contains(&meanwhile));
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_commit_whose_wait_for_the_standby_was_cut_off_is_not_acknowledged() {
    let mut cluster = Cluster::start().await;
    let mut client = cluster.client(0);
    client.app("app").await;
    post(cluster.address(0), Burst { name: "before", each: 20, ..WAITING }).await;
    let before = ids(&mut client).await;
    let receiver = cluster.standby().freeze().await;
    let mut waiting = JoinSet::new();
    for node in 0..3 {
        waiting.spawn(post(cluster.address(node), Burst { name: ["one", "two", "three"][node], ..WAITING }));
    }
    // First the wait alone is given up, then the connection with it. Without a wait (the control) there is none.
    let cuts = if cluster.waits_for_standby() { CUTS.len() } else { 0 };
    let primary = cluster.primary();
    for how in CUTS.iter().take(cuts) {
        let waiters = format!("SELECT count(*) {WAITERS}");
        eventually("commits that wait", async || (primary.sql(&waiters).await != "0").then_some(())).await;
        let now = primary.sql("SELECT clock_timestamp()").await;
        let cut = format!("SELECT count({how}(pid)) {WAITERS} AND query_start < '{now}'");
        eventually("these wait no more", async || (primary.sql(&cut).await == "0").then_some(())).await;
    }
    let mut posted = eventually("messages that are answered", async || {
        if cuts > 0 {
            primary.sql(&format!("SELECT pg_cancel_backend(pid) {WAITERS}")).await;
        }
        waiting.try_join_next()
    })
    .await
    .unwrap();
    cluster.lose_primary_and(receiver).await;
    posted.extend(waiting.join_all().await.into_iter().flatten());
    let accepted: Vec<_> = posted.iter().filter(|posted| posted.is_accepted()).collect();
    let kept = eventually("the log", async || Some(ids(&mut client).await)).await;
    let lost = accepted.iter().filter(|posted| !kept.contains(&posted.word)).count();
    let refused = posted.iter().filter(|posted| posted.status == 503).count();
    say(format!("{} waited: {} acknowledged, {refused} told 503; {lost} lost", posted.len(), accepted.len()));
    assert_eq!(lost, 0, "acknowledged and lost");
    assert!(before.iter().all(|id| kept.contains(id)), "what was acknowledged before is there");
    assert!(refused > 0, "no commit was cut off");
    cluster.stop().await;
}

/// The ids in the log.
async fn ids(client: &mut Client) -> HashSet<String> {
    let items = client.list("/api/v1/app/app/msg?with_content=false").await;
    items.iter().map(|item| item["id"].as_str().unwrap().to_owned()).collect()
}

/// Everything acknowledged is there once, and nothing that was refused; and so many others.
async fn check(client: &mut Client, posted: &[Posted], others: usize) {
    let kept = ids(client).await;
    let accepted = posted.iter().filter(|posted| posted.is_accepted()).count();
    let unknown = posted.iter().filter(|posted| matches!(posted.status, 0 | 503)).count();
    assert_eq!(accepted + unknown, posted.len(), "a refusal: {:?}", posted.iter().map(|p| p.status).max());
    let lost = posted.iter().filter(|posted| posted.is_accepted() && !kept.contains(&posted.word)).count();
    assert_eq!(lost, 0, "acknowledged and lost");
    let (least, most) = (accepted + others, accepted + others + unknown);
    assert!((least..=most).contains(&kept.len()), "{} kept of {least} to {most}", kept.len());
}
