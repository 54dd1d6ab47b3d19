//! Three nodes on one store: a primary, a standby that is waited for, and a way to each that can be cut.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use rustix::process::{Pid, Signal, kill_process};

use crate::support::{Client, Home, Lives, Server, faulty, let_pass};

use super::{
    network,
    postgres::Postgres,
    proxy::{Proxy, Way},
};

/// Nodes.
pub(crate) const NODES: usize = 3;
/// The fault of a primary whose commits wait for nobody.
const ASYNCHRONOUS_STANDBY: &str = "asynchronous-standby";
/// How long a node's lease lasts that is not renewed.
pub(crate) const LEASE: Duration = Duration::from_secs(4);

/// All of it. Ended when it is dropped.
pub(crate) struct Cluster {
    pub(crate) lives: Arc<Lives>,
    servers: Vec<Option<Server>>,
    homes: Vec<Home>,
    /// Of each node, the ways to the two places for servers.
    ways: Vec<[Proxy; 2]>,
    /// The servers of the store, each in its place.
    databases: [Option<Postgres>; 2],
    ports: [u16; 2],
    /// The place of the one that is written to.
    primary: usize,
    waits_for_standby: bool,
}

impl Cluster {
    /// Starts everything; with the fault that is wanted, if one is.
    pub(crate) async fn start() -> Self {
        let fault = faulty::wanted();
        let waits_for_standby = fault.as_deref() != Some(ASYNCHRONOUS_STANDBY);
        let faulty = match fault {
            Some(fault) if waits_for_standby => Some((faulty::build().await, fault)),
            Some(_) | None => None,
        };
        let ports = free_ports();
        let primary = Postgres::new(ports[0]).await;
        let standby = primary.standby(ports[1]).await;
        primary.wait_for_standby(waits_for_standby).await;
        let mut ways = Vec::new();
        let mut homes = Vec::new();
        for node in 0..NODES {
            let pair = ports.map(|port| Proxy::to(port, network::listen(node)));
            let [one, other] = pair.each_ref().map(|way| way.address);
            let store = format!("postgres://pushpull@{one},{other}/postgres");
            // Each request that meets a store that is away would be told of.
            let home = Home::new().with("PUSHPULL_STORE", store).with("PUSHPULL_LOG", "off");
            let home = home.with("PUSHPULL_RETRY_SCHEDULE", "100ms,200ms,500ms,1s,1s,1s,1s,1s");
            homes.push(match &faulty {
                Some((program, fault)) => home.program(program.clone()).with(faulty::VARIABLE, fault),
                None => home,
            });
            ways.push(pair);
        }
        let lives = Arc::new(Lives::of(NODES));
        let databases = [Some(primary), Some(standby)];
        let servers = (0..NODES).map(|_| None).collect();
        let mut cluster =
            Self { lives, servers, homes, ways, databases, ports, primary: 0, waits_for_standby };
        for node in 0..NODES {
            // The first makes the key that all others are given.
            if node > 0 {
                let [from, to] = [0, node].map(|node| cluster.homes[node].data().join("master.key"));
                std::fs::copy(from, to).unwrap();
            }
            cluster.restart(node).await;
        }
        cluster
    }

    /// A client of one node, as long as that lives.
    pub(crate) fn client(&self, node: usize) -> Client {
        self.server(node).client()
    }

    /// Where a node is.
    pub(crate) fn address(&self, node: usize) -> SocketAddr {
        self.server(node).address
    }

    fn server(&self, node: usize) -> &Server {
        self.servers[node].as_ref().expect("it runs")
    }

    /// Starts a node that does not run.
    pub(crate) async fn restart(&mut self, node: usize) {
        let server = self.homes[node].start().await;
        self.lives.set(node, Some(server.address));
        self.servers[node] = Some(server);
    }

    /// Kills a node.
    pub(crate) async fn kill(&mut self, node: usize) {
        let server = self.servers[node].take().expect("it runs");
        server.kill().await;
        self.lives.set(node, None);
    }

    /// Starts a node that is killed before it is ready, or soon after.
    pub(crate) async fn kill_starting(&self, node: usize, after: Duration) {
        let starting = self.homes[node].spawn();
        let_pass(after).await;
        starting.kill().await;
    }

    /// Asks a node to stop.
    pub(crate) fn terminate(&self, node: usize) {
        self.server(node).terminate();
    }

    /// Stops a node in whatever it is doing, or lets it go on.
    pub(crate) fn pause(&self, node: usize, paused: bool) {
        kill_process(self.server(node).pid(), if paused { Signal::STOP } else { Signal::CONT }).unwrap();
    }

    /// What becomes of what a node and the store send each other.
    pub(crate) fn lead(&self, node: usize, way: Way) {
        self.ways[node].iter().for_each(|proxy| proxy.set(way));
    }

    /// Whether commits wait for the standby. Without, what was acknowledged may be lost.
    pub(crate) fn waits_for_standby(&self) -> bool {
        self.waits_for_standby
    }

    /// The server that is written to.
    pub(crate) fn primary(&mut self) -> &mut Postgres {
        self.databases[self.primary].as_mut().expect("there is always one")
    }

    /// The one that has all that was acknowledged.
    pub(crate) fn standby(&mut self) -> &mut Postgres {
        self.databases[1 - self.primary].as_mut().expect("there is one")
    }

    /// Kills the primary, and promotes the standby, whose commits wait for nobody.
    pub(crate) async fn fail_over(&mut self) {
        self.primary().kill();
        self.databases[self.primary] = None;
        self.primary = 1 - self.primary;
        self.primary().promote().await;
    }

    /// Kills the primary while the standby has stopped taking anything in, and makes that the primary, with what was on
    /// its disk by then.
    pub(crate) async fn lose_primary_and(&mut self, receiver: Pid) {
        self.primary().kill();
        self.standby().kill();
        kill_process(receiver, Signal::KILL).unwrap();
        self.standby().run().await;
        self.databases[self.primary] = None;
        self.primary = 1 - self.primary;
        self.primary().promote().await;
    }

    /// Makes a standby in the place of the one that was killed or promoted.
    pub(crate) async fn replace_standby(&mut self) {
        let place = 1 - self.primary;
        let port = self.ports[place];
        self.databases[place] = Some(self.primary().standby(port).await);
    }

    /// Stops all nodes as a supervisor does.
    pub(crate) async fn stop(mut self) {
        for server in self.servers.iter_mut().filter_map(Option::take) {
            server.stop().await;
        }
    }
}

/// Two ports of this machine that nobody listens on.
fn free_ports() -> [u16; 2] {
    let held = [(); 2].map(|()| std::net::TcpListener::bind("127.0.0.1:0").unwrap());
    held.map(|listener| listener.local_addr().unwrap().port())
}
