//! A way between a node and its database that can be cut: silently, or so that both sides hear of it.

use std::net::{Ipv4Addr, SocketAddr};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{
        TcpListener, TcpSocket, TcpStream,
        tcp::{ReadHalf, WriteHalf},
    },
    sync::watch,
    task::{JoinHandle, JoinSet},
};

/// What becomes of what is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    /// It gets there.
    Open,
    /// It gets there, but for hints of one node to others.
    WithoutHints,
    /// It does not, and nobody is told, as if the other side hung. What was under way gets there when the way is open
    /// again.
    Silent,
    /// Connections are reset, and new ones too.
    Reset,
}

/// How a hint is sent; and as many bytes that send none.
const HINT: &[u8] = b"NOTIFY pushpull";
const NO_HINT: &[u8] = b"SELECT 1       ";

/// An address that leads to a port of this machine. Closed when it is dropped.
pub(crate) struct Proxy {
    pub(crate) address: SocketAddr,
    way: watch::Sender<Way>,
    task: JoinHandle<()>,
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Proxy {
    #[expect(clippy::disallowed_methods, reason = "aborted when this is dropped")]
    pub(crate) fn to(port: u16, listener: TcpListener) -> Self {
        let (address, way) = (listener.local_addr().unwrap(), watch::Sender::new(Way::Open));
        let led = way.subscribe();
        let task = tokio::spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                while connections.try_join_next().is_some() {}
                connections.spawn(lead(stream, port, led.clone()));
            }
        });
        Self { address, way, task }
    }

    /// From now on, this becomes of what is sent.
    pub(crate) fn set(&self, way: Way) {
        self.way.send_replace(way);
    }
}

async fn lead(mut from: TcpStream, port: u16, mut way: watch::Receiver<Way>) {
    // Whoever is not heard of cannot tell that nobody answers.
    let opened = way.wait_for(|way| *way != Way::Silent).await.map(|way| *way);
    let to = TcpSocket::new_v4().unwrap().connect(SocketAddr::from((Ipv4Addr::LOCALHOST, port)));
    let (Ok(Way::Open | Way::WithoutHints), Ok(mut to)) = (opened, to.await) else { return reset(&from) };
    let (_, _) = (from.set_nodelay(true), to.set_nodelay(true));
    let is_cut = {
        let (from_reads, from_writes) = from.split();
        let (to_reads, to_writes) = to.split();
        let there = pass(from_reads, to_writes, way.clone(), true);
        let back = pass(to_reads, from_writes, way.clone(), false);
        tokio::select! {
            _ = async { tokio::join!(there, back) } => false,
            cut = way.wait_for(|way| *way == Way::Reset) => cut.is_ok(),
        }
    };
    if is_cut {
        reset(&from);
        reset(&to);
    }
}

/// Passes on what comes in, as long as the way is open.
async fn pass(mut from: ReadHalf<'_>, mut to: WriteHalf<'_>, mut way: watch::Receiver<Way>, may_hint: bool) {
    let mut buffer = vec![0; 64 * 1024];
    while let Ok(read @ 1..) = from.read(&mut buffer).await {
        let Ok(way) = way.wait_for(|way| *way != Way::Silent).await.map(|way| *way) else { return };
        let bytes = &mut buffer[..read];
        if may_hint && way == Way::WithoutHints {
            silence(bytes);
        }
        if to.write_all(bytes).await.is_err() {
            return;
        }
    }
    let _ = to.shutdown().await;
}

/// Puts something else in the place of hints.
fn silence(bytes: &mut [u8]) {
    let at: Vec<usize> =
        bytes.windows(HINT.len()).enumerate().filter(|(_, w)| *w == HINT).map(|(at, _)| at).collect();
    for at in at {
        bytes[at..at + HINT.len()].copy_from_slice(NO_HINT);
    }
}

/// Makes that it closes so that the other side hears of an error.
fn reset(stream: &TcpStream) {
    let _ = stream.set_zero_linger();
}
