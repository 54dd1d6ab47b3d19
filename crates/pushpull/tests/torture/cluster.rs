//! Many nodes on one store, of which anything breaks: nodes, the primary, the way between them.
//!
//! What is promised: nothing acknowledged is lost, and no reader misses anything, whichever node it asks; positions are
//! dense and in commit order; an endpoint that keeps order sees each message first after the ones before it; what is
//! delivered twice was in flight when something broke; and all of it goes on without anybody's help.

mod commits;
mod crossing;
mod fencing;
mod network;
mod nodes;
mod postgres;
mod probe;
mod proxy;
mod trial;

use std::time::Duration;

use tokio::time::Instant;

use crate::support::{
    let_pass,
    network::{is_inside, run_inside},
    say, variable,
};

use nodes::{Cluster, LEASE, NODES};
use probe::Probe;
use proxy::Way;
use trial::{Trial, UNTIL_ARRIVED, UNTIL_SHARED_OUT};

/// Kills of nodes in a run that nobody asked to be longer.
const KILLS: usize = 30;
/// After so many kills one node stays dead until the others have what was its.
const STAYS_DEAD_EVERY: usize = 10;
/// Kills of the primary's postmaster.
const POSTMASTER_KILLS: usize = 3;
/// Failovers.
const FAILOVERS: usize = 2;
/// How long a node is cut off: it says so to some who ask it, which takes 15 s.
const CUT_OFF: Duration = Duration::from_secs(22);
/// How long a node is paused beyond its lease.
const OVERSLEPT: Duration = Duration::from_secs(2);

#[tokio::test(flavor = "multi_thread")]
async fn nodes_that_are_killed_lose_nothing_and_hold_up_nobody() {
    let kills = variable("PUSHPULL_TORTURE_KILLS")
        .map_or(KILLS, |text| text.parse().expect("PUSHPULL_TORTURE_KILLS is a number"));
    let cluster = Cluster::start().await;
    let probe = Probe::new(&mut cluster.client(0)).await;
    let mut trial = Trial::start("cluster kills", cluster).await;
    for nth in 1..=kills {
        let_pass(trial.dice.millis(100, 800)).await;
        let node = trial.dice.below(NODES as u64) as usize;
        trial
            .breaks(UNTIL_ARRIVED, async |cluster, dice| {
                if dice.once_in(6) {
                    cluster.terminate(node);
                    let_pass(dice.millis(0, 60)).await;
                }
                cluster.kill(node).await;
            })
            .await;
        if nth % STAYS_DEAD_EVERY == 0 {
            probe.measure("one of three nodes was killed", &trial.cluster.lives).await;
        }
        if trial.dice.once_in(5) {
            // It may have begun to work.
            trial
                .breaks(UNTIL_ARRIVED, async |cluster, dice| {
                    cluster.kill_starting(node, dice.millis(0, 300)).await;
                })
                .await;
        }
        let_pass(trial.dice.millis(0, 300)).await;
        trial.cluster.restart(node).await;
    }
    trial.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_primary_that_is_killed_and_comes_back_or_is_replaced_loses_nothing() {
    let cluster = Cluster::start().await;
    let probe = Probe::new(&mut cluster.client(0)).await;
    let mut trial = Trial::start("cluster database", cluster).await;
    for _ in 0..POSTMASTER_KILLS {
        let_pass(trial.dice.millis(1_000, 2_000)).await;
        trial
            .breaks(UNTIL_SHARED_OUT, async |cluster, dice| {
                cluster.primary().kill();
                let_pass(dice.millis(0, 2_000)).await;
                cluster.primary().run().await;
                probe.measure("the primary was killed, and is back", &cluster.lives).await;
            })
            .await;
    }
    for _ in 0..FAILOVERS {
        let_pass(trial.dice.millis(1_000, 2_000)).await;
        trial
            .breaks(UNTIL_SHARED_OUT, async |cluster, _| {
                cluster.fail_over().await;
                probe.measure("the standby was promoted", &cluster.lives).await;
            })
            .await;
        trial.cluster.replace_standby().await;
    }
    trial.check_answers();
    trial.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_is_paused_for_longer_than_its_lease_changes_nothing_when_it_wakes() {
    let cluster = Cluster::start().await;
    let probe = Probe::new(&mut cluster.client(0)).await;
    let mut trial = Trial::start("cluster pauses", cluster).await;
    for node in 0..NODES {
        let_pass(trial.dice.millis(1_000, 3_000)).await;
        trial
            .breaks(UNTIL_ARRIVED, async |cluster, _| {
                cluster.pause(node, true);
                let address = cluster.lives.hide(node);
                let paused = Instant::now();
                probe.measure("one of three nodes is paused", &cluster.lives).await;
                let_pass((LEASE + OVERSLEPT).saturating_sub(paused.elapsed())).await;
                cluster.pause(node, false);
                cluster.lives.set(node, address);
            })
            .await;
    }
    trial.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_is_cut_off_from_the_store_holds_up_nobody_and_comes_back() {
    let cluster = Cluster::start().await;
    let probe = Probe::new(&mut cluster.client(0)).await;
    let mut trial = Trial::start("cluster cuts", cluster).await;
    for (node, way, long) in [(0, Way::Silent, CUT_OFF), (1, Way::Reset, LEASE + OVERSLEPT)] {
        let_pass(trial.dice.millis(1_000, 2_000)).await;
        trial
            .breaks(UNTIL_SHARED_OUT, async |cluster, _| {
                cluster.lead(node, way);
                let cut = Instant::now();
                // Those who have asked it already wait for its answer.
                let address = cluster.lives.hide(node);
                probe.measure(&format!("{way:?}: one of three nodes is cut off"), &cluster.lives).await;
                cluster.lives.set(node, address);
                let_pass(long.saturating_sub(cut.elapsed())).await;
                cluster.lead(node, Way::Open);
            })
            .await;
    }
    trial.check_answers();
    trial.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_whose_link_to_the_store_is_down_holds_up_nobody_and_comes_back() {
    if !rustix::process::geteuid().is_root() {
        return say(
            "a link of its own takes root: the way is cut by the proxy alone, in the test beside this one",
        );
    }
    if !is_inside() {
        let name = "cluster::a_node_whose_link_to_the_store_is_down_holds_up_nobody_and_comes_back";
        return run_inside(name, network::LINKS, "links").await;
    }
    let cluster = Cluster::start().await;
    let probe = Probe::new(&mut cluster.client(0)).await;
    let mut trial = Trial::start("cluster links", cluster).await;
    for (node, long) in [(0, CUT_OFF), (1, LEASE / 2)] {
        let_pass(trial.dice.millis(1_000, 2_000)).await;
        trial
            .breaks(UNTIL_SHARED_OUT, async |cluster, _| {
                network::set_link(node, false).await;
                let cut = Instant::now();
                let address = cluster.lives.hide(node);
                probe
                    .measure(&format!("the link of one of three nodes is down for {long:?}"), &cluster.lives)
                    .await;
                cluster.lives.set(node, address);
                let_pass(long.saturating_sub(cut.elapsed())).await;
                network::set_link(node, true).await;
            })
            .await;
    }
    trial.check_answers();
    trial.finish().await;
}
