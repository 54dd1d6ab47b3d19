//! A link between each node and the store that can be taken down, as if its cable were pulled: what is sent is lost, and
//! nobody says so.

use std::{os::fd::AsFd, thread};

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use tokio::{net::TcpListener, process::Command};

use crate::support::network::is_inside;

/// Makes the links, in a network that has nothing: the nodes' side here, the store's in a network beside it.
pub(crate) const LINKS: &str = r#"set -e
    ip link set lo up
    mount -t tmpfs none /run
    ip netns add store
    for node in 0 1 2; do
        ip link add node$node type veth peer name node$node netns store
        ip address add 10.77.$node.1/24 dev node$node
        ip link set node$node up
        ip -n store address add 10.77.$node.2/24 dev node$node
        ip -n store link set node$node up
    done
    exec "$@""#;
/// Where the network on the other side is.
const STORE: &str = "/run/netns/store";

/// A port that a node finds the store at: at the other end of its link, or on this machine where there is none.
pub(crate) fn listen(node: usize) -> TcpListener {
    let bind = move || {
        let host = if is_inside() {
            let store = std::fs::File::open(STORE).unwrap();
            move_into_link_name_space(store.as_fd(), Some(LinkNameSpaceType::Network)).unwrap();
            format!("10.77.{node}.2")
        } else {
            "127.0.0.1".to_owned()
        };
        std::net::TcpListener::bind((host.as_str(), 0)).unwrap()
    };
    // A thread is in one network for good.
    let listener = thread::spawn(bind).join().unwrap();
    listener.set_nonblocking(true).unwrap();
    TcpListener::from_std(listener).unwrap()
}

/// Takes a node's link down, at the store's end, or up again.
pub(crate) async fn set_link(node: usize, up: bool) {
    let link = format!("node{node}");
    let mut ip = Command::new("ip");
    ip.args(["-n", "store", "link", "set", &link, if up { "up" } else { "down" }]);
    assert!(ip.status().await.unwrap().success());
}
