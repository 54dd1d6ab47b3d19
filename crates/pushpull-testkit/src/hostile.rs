//! Receivers that do not play by the rules: what they send is written byte by byte.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

/// What a hostile receiver does to each connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trick {
    /// Accepts, reads, never answers.
    Hang,
    /// Closes before it reads.
    CloseAtOnce,
    /// Reads the request and closes.
    CloseUnanswered,
    /// Resets in the middle of the body.
    ResetMidBody,
    /// One byte of the head each 50 ms.
    DripHead,
    /// 200 at once, then one byte of the body each 50 ms, for ever.
    DripBody,
    /// Promises more bytes than it sends, then closes.
    ShortBody,
    /// A body without end, as fast as it is read.
    EndlessBody,
    /// A chunk size that is none.
    BadChunk,
    /// 100 Continue, again and again.
    Endless100,
    /// A head without end.
    EndlessHead,
    /// Answers that are not HTTP.
    NotHttp,
    /// An answer of HTTP/0.9: no head.
    Http09,
    /// A zero byte in a header.
    NulInHeader,
    /// 307 to another place.
    Redirect,
}

impl Trick {
    /// All of them.
    pub const ALL: [Self; 15] = [
        Self::Hang,
        Self::CloseAtOnce,
        Self::CloseUnanswered,
        Self::ResetMidBody,
        Self::DripHead,
        Self::DripBody,
        Self::ShortBody,
        Self::EndlessBody,
        Self::BadChunk,
        Self::Endless100,
        Self::EndlessHead,
        Self::NotHttp,
        Self::Http09,
        Self::NulInHeader,
        Self::Redirect,
    ];
}

/// How long a dripping receiver waits between two bytes.
const DRIP: Duration = Duration::from_millis(50);

/// A receiver that plays a trick on everyone. Ends when it is dropped.
pub struct Hostile {
    /// Where it listens.
    pub addr: SocketAddr,
    connections: Arc<AtomicUsize>,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Hostile {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Hostile {
    /// Starts on loopback.
    #[expect(clippy::disallowed_methods, reason = "aborted when this is dropped")]
    pub async fn start(trick: Trick) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let addr = listener.local_addr().expect("bound");
        let connections = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&connections);
        let task = tokio::spawn(async move {
            let mut tricks = tokio::task::JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                count.fetch_add(1, Ordering::SeqCst);
                // The client goes away in the middle of most tricks: that is the point.
                tricks.spawn(async move {
                    let _ = play(trick, stream).await;
                });
            }
        });
        Self { addr, connections, task }
    }

    /// A URL that leads here.
    pub fn url(&self) -> String {
        format!("http://{}/hook", self.addr)
    }

    /// How many connections there were.
    pub fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }
}

async fn play(trick: Trick, mut stream: TcpStream) -> std::io::Result<()> {
    if trick == Trick::CloseAtOnce {
        return Ok(());
    }
    let mut request = vec![0; 65_536];
    let _ = stream.read(&mut request).await?;
    match trick {
        Trick::Hang => std::future::pending().await,
        Trick::CloseAtOnce | Trick::CloseUnanswered => Ok(()),
        Trick::ResetMidBody => {
            stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nhalf").await?;
            // Closing with no time to linger sends a reset.
            stream.set_zero_linger()
        }
        Trick::DripHead => drip(&mut stream, b"HTTP/1.1 200 OK\r\nx-slow: ", b'a').await,
        Trick::DripBody => {
            stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 100000\r\n\r\n").await?;
            drip(&mut stream, b"", b'a').await
        }
        Trick::ShortBody => stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nshort").await,
        Trick::EndlessBody => {
            stream.write_all(b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n").await?;
            repeat(&mut stream, &[b'a'; 16_384]).await
        }
        Trick::BadChunk => {
            stream.write_all(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nzz\r\nabc\r\n").await?;
            std::future::pending().await
        }
        Trick::Endless100 => repeat(&mut stream, b"HTTP/1.1 100 Continue\r\n\r\n").await,
        Trick::EndlessHead => {
            stream.write_all(b"HTTP/1.1 200 OK\r\n").await?;
            repeat(&mut stream, b"x-more: aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\r\n")
                .await
        }
        Trick::NotHttp => stream.write_all(b"SSH-2.0-OpenSSH_9.2p1 Debian-2\r\n").await,
        Trick::Http09 => stream.write_all(b"<html>hello</html>").await,
        Trick::NulInHeader => {
            stream.write_all(b"HTTP/1.1 200 OK\r\nx-bad: a\0b\r\ncontent-length: 0\r\n\r\n").await?;
            std::future::pending().await
        }
        Trick::Redirect => {
            stream
                .write_all(b"HTTP/1.1 307 Temporary Redirect\r\nlocation: http://127.0.0.1:1/\r\ncontent-length: 0\r\n\r\n")
                .await?;
            std::future::pending().await
        }
    }
}

async fn drip(stream: &mut TcpStream, first: &[u8], byte: u8) -> std::io::Result<()> {
    stream.write_all(first).await?;
    let mut tick = tokio::time::interval(DRIP);
    loop {
        tick.tick().await;
        stream.write_all(&[byte]).await?;
    }
}

async fn repeat(stream: &mut TcpStream, bytes: &[u8]) -> std::io::Result<()> {
    loop {
        stream.write_all(bytes).await?;
    }
}
