//! A port of our own on this machine.

use std::net::{Ipv4Addr, SocketAddr};

use anyhow::{Context, Result};
use tokio::net::TcpSocket;

/// A socket with a free port on loopback. Whoever connects is refused until it listens, and nobody else gets the
/// port while it is held.
pub(super) fn free() -> Result<(TcpSocket, SocketAddr)> {
    let bind = || -> std::io::Result<(TcpSocket, SocketAddr)> {
        let socket = TcpSocket::new_v4()?;
        socket.bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)))?;
        let address = socket.local_addr()?;
        Ok((socket, address))
    };
    bind().context("find a free port")
}
