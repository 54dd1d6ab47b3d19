//! What is done at one node and seen at another.

use std::{sync::Arc, time::Duration};

use serde_json::json;
use tokio::{task::JoinSet, time::Instant};

use crate::support::{Client, Sink, percentile, say};

use super::{
    nodes::{Cluster, NODES},
    proxy::Way,
    trial::Trial,
};

/// Endpoints that are made at one node and written to by another.
const ENDPOINTS: usize = 200;
/// Applications that they belong to.
const APPS: usize = 8;
/// Messages whose way is measured, with hints and without.
const HINTED: usize = 60;
const UNHINTED: usize = 24;
/// With hints, a message that another node took in goes out within milliseconds; this is for a busy machine.
const HINTED_MAX: Duration = Duration::from_millis(250);
/// Without, each node looks twice a second for what others took in.
const UNHINTED_MAX: Duration = Duration::from_secs(3);
const UNHINTED_MEDIAN_MAX: Duration = Duration::from_secs(1);

#[tokio::test(flavor = "multi_thread")]
async fn a_message_goes_out_soon_whichever_node_took_it_in_with_hints_and_without() {
    let mut cluster = Cluster::start().await;
    let sink = Sink::start(|_, _, _| 200).await;
    make_apps(&mut cluster.client(0), &sink).await;
    let owners = owners(&mut cluster).await;
    let mut hinted = measure(&cluster, &sink, &owners, HINTED).await;
    (0..NODES).for_each(|node| cluster.lead(node, Way::WithoutHints));
    let mut unhinted = measure(&cluster, &sink, &owners, UNHINTED).await;
    let told = |times: &mut [Duration]| (percentile(times, 0.5), percentile(times, 1.0));
    let (hinted, unhinted) = (told(&mut hinted), told(&mut unhinted));
    say(format!(
        "taken in by another node, delivered after (median, longest): {hinted:?}; without hints {unhinted:?}"
    ));
    assert!(hinted.0 < HINTED_MAX, "{hinted:?}");
    assert!(unhinted.0 < UNHINTED_MEDIAN_MAX && unhinted.1 < UNHINTED_MAX, "{unhinted:?}");
    assert!(hinted.0 * 2 < unhinted.0, "hints do nothing, or were not lost: {hinted:?} and {unhinted:?}");
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_endpoint_gets_what_any_node_takes_in_once_its_creation_was_answered() {
    let cluster = Cluster::start().await;
    let sink = Arc::new(Sink::start(|_, _, _| 200).await);
    for app in 0..APPS {
        cluster.client(0).app(&format!("crossing-{app}")).await;
    }
    let trial = Trial::start("cluster crossing", cluster).await;
    let mut hands = JoinSet::new();
    for app in 0..APPS {
        let (sink, clients) =
            (Arc::clone(&sink), (0..NODES).map(|node| trial.cluster.client(node)).collect());
        hands.spawn(cross(app, clients, sink));
    }
    hands.join_all().await;
    say(format!("{ENDPOINTS} endpoints got what came right after they were made"));
    trial.finish().await;
}

/// Makes endpoints of an application, each at another node, and has another one take in a message for it at once.
async fn cross(app: usize, mut clients: Vec<Client>, sink: Arc<Sink>) {
    let path = format!("/api/v1/app/crossing-{app}");
    let mut wanted = Vec::new();
    for n in 0..ENDPOINTS / APPS {
        let (place, event_type) = (format!("/{app}/{n}"), format!("made.n{n}"));
        let endpoint = json!({ "url": sink.url(&place), "eventTypes": [event_type] });
        clients[n % NODES].post(&format!("{path}/endpoint"), &endpoint).await.expect(201);
        let message = json!({ "eventType": event_type, "payload": {} });
        let other = &mut clients[(n + 1 + n / NODES % (NODES - 1)) % NODES];
        wanted.push((place, other.post(&format!("{path}/msg"), &message).await.expect(202).text("id")));
    }
    for (place, id) in wanted {
        sink.first(&place, &id).await;
    }
}

async fn make_apps(client: &mut Client, sink: &Sink) {
    for app in 0..APPS {
        client.app(&format!("crossing-{app}")).await;
        let endpoint = json!({ "url": sink.url("/") });
        client.post(&format!("/api/v1/app/crossing-{app}/endpoint"), &endpoint).await.expect(201);
    }
}

/// The node that brings each application what it is owed. They started one after the other.
async fn owners(cluster: &mut Cluster) -> Vec<usize> {
    let sql =
        "SELECT (SELECT count(*) FROM node n WHERE n.no < s.node) FROM app a JOIN shard s ON s.no = a.no % 64
               WHERE a.uid LIKE 'crossing-%' ORDER BY a.uid";
    let owners = cluster.primary().sql(sql).await;
    owners.lines().map(|node| node.parse().unwrap()).collect()
}

/// How long messages take from their answer to their arrival, each taken in by a node that does not bring it.
async fn measure(cluster: &Cluster, sink: &Sink, owners: &[usize], messages: usize) -> Vec<Duration> {
    let mut times = Vec::new();
    for n in 0..messages {
        let app = n % owners.len();
        let node = (owners[app] + 1 + n / owners.len() % (NODES - 1)) % NODES;
        let message = json!({ "eventType": "crossing", "payload": {} });
        let path = format!("/api/v1/app/crossing-{app}/msg");
        let posted = cluster.client(node).post(&path, &message).await.expect(202);
        let answered = Instant::now();
        times.push(sink.first("/", &posted.text("id")).await.saturating_duration_since(answered));
    }
    times
}
