//! What a receiver can do over HTTP/1.1 besides the tricks of the test kit.

use std::{future::pending, net::SocketAddr};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    task::{JoinHandle, JoinSet},
    time::Duration,
};

use super::{Expected, ROUNDS};
use crate::support::let_pass;

/// Bytes behind the end of an answer: they must never be taken for the next one.
const LEFT_OVER: &str = "HTTP/1.1 500 Left Over\r\ncontent-length: 0\r\n\r\n";

macro_rules! tricks {
    ($($(#[$doc:meta])* $name:ident,)*) => {
        /// What a receiver does.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(super) enum More {
            $($(#[$doc])* $name,)*
        }

        impl More {
            /// All of them.
            pub(super) const ALL: &[Self] = &[$(Self::$name),*];
        }
    };
}

tricks! {
    /// Listens, and never accepts: the system takes the connection, nobody reads it.
    NeverAccepts,
    /// Accepts after three seconds, and is fine then.
    SlowAccept,
    /// Nobody listens.
    Refuses,
    /// One header of 8 MiB.
    LongHeader,
    /// 10,000 headers.
    ManyHeaders,
    /// A status line that never ends.
    EndlessStatusLine,
    /// 301 to a place inside.
    Redirect301,
    /// 302 to itself, for ever.
    Redirect302,
    /// 308 to another scheme.
    Redirect308,
    /// A body that says it is compressed, and would be huge.
    Compressed,
    /// More body than its length says.
    LongBody,
    /// 204 with a body.
    NoContentWithBody,
    /// 304, which has no body whatever its length says.
    NotModified,
    /// A length and an encoding that ends nowhere: the body goes on until the connection ends (RFC 9112 s. 6.3).
    LengthAndChunks,
    /// Two lengths that differ.
    TwoLengths,
    /// A chunk that says it is larger than any memory.
    HugeChunk,
    /// Trailers without end.
    EndlessTrailers,
    /// The answer comes after the deadline.
    AnswersLate,
    /// Answers the first request of a connection, and is silent from then on.
    SilentAfterOne,
    /// Answers as soon as the first byte is there, and reads no more.
    AnswersEarly,
    /// Another protocol than was asked for.
    Upgrades,
    /// A status that is no number.
    OddStatus,
    /// A status below 100.
    LowStatus,
    /// 999.
    HighStatus,
    /// A chunk each 100 ms, for ever.
    EndlessChunks,
    /// Closes its side at once, and reads on.
    HalfClose,
}

impl More {
    pub(super) fn expected(self) -> [Expected; ROUNDS] {
        let expected = match self {
            Self::NeverAccepts | Self::AnswersLate | Self::LengthAndChunks | Self::EndlessChunks => {
                (0, "timeout")
            }
            Self::SlowAccept | Self::Compressed | Self::LongBody | Self::AnswersEarly => (200, ""),
            Self::NoContentWithBody => (204, ""),
            Self::Refuses => (0, "connect_refused"),
            Self::HalfClose => (0, "connection_closed"),
            Self::LongHeader
            | Self::ManyHeaders
            | Self::EndlessStatusLine
            | Self::TwoLengths
            | Self::HugeChunk
            | Self::EndlessTrailers
            | Self::OddStatus
            | Self::LowStatus => (0, "protocol"),
            Self::Upgrades => (101, "status"),
            Self::Redirect301 => (301, "status"),
            Self::Redirect302 => (302, "status"),
            Self::Redirect308 => (308, "status"),
            Self::NotModified => (304, "status"),
            Self::HighStatus => (999, "status"),
            Self::SilentAfterOne => return [(200, ""), (0, "timeout")],
        };
        [expected; ROUNDS]
    }
}

/// A receiver that plays a trick on everyone. Ends when it is dropped.
pub(super) struct Trickster {
    addr: SocketAddr,
    task: JoinHandle<()>,
}

impl Drop for Trickster {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Trickster {
    #[expect(clippy::disallowed_methods, reason = "aborted when this is dropped")]
    pub(super) async fn start(trick: More) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let task = tokio::spawn(async move {
            match trick {
                More::Refuses => return drop(listener),
                More::NeverAccepts => {
                    let _kept = listener;
                    return pending().await;
                }
                _ => {}
            }
            let mut plays = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                // The server goes away in the middle of most tricks: that is the point.
                plays.spawn(async move {
                    let _ = play(trick, stream).await;
                });
            }
        });
        Self { addr, task }
    }

    pub(super) fn url(&self) -> String {
        format!("http://{}/hook", self.addr)
    }
}

async fn play(trick: More, mut stream: TcpStream) -> std::io::Result<()> {
    if trick == More::AnswersEarly {
        stream.read_exact(&mut [0]).await?;
        say(&mut stream, "200 OK", "content-length: 0\r\nconnection: close", "").await?;
        return pending().await;
    }
    if trick == More::HalfClose {
        stream.shutdown().await?;
        return pending().await;
    }
    if trick == More::SlowAccept {
        let_pass(Duration::from_secs(3)).await;
    }
    let mut requests = 0;
    while read_request(&mut stream).await? {
        requests += 1;
        answer(trick, &mut stream, requests).await?;
    }
    Ok(())
}

async fn answer(trick: More, stream: &mut TcpStream, requests: usize) -> std::io::Result<()> {
    let left_over = format!("ok{LEFT_OVER}");
    match trick {
        More::NeverAccepts | More::Refuses | More::AnswersEarly | More::HalfClose => Ok(()),
        More::SlowAccept => say(stream, "200 OK", "content-length: 0", "").await,
        More::LongHeader => {
            stream.write_all(b"HTTP/1.1 200 OK\r\nx-long: ").await?;
            stream.write_all(&vec![b'a'; 8 * 1024 * 1024]).await?;
            stream.write_all(b"\r\ncontent-length: 0\r\n\r\n").await
        }
        More::ManyHeaders => {
            let many = "x-more: 1\r\n".repeat(10_000);
            say(stream, "200 OK", &format!("{many}content-length: 0"), "").await
        }
        More::EndlessStatusLine => {
            stream.write_all(b"HTTP/1.1 200 ").await?;
            loop {
                stream.write_all(&[b'a'; 4_096]).await?;
            }
        }
        More::Redirect301 => {
            let inside = "location: http://127.0.0.1:1/\r\ncontent-length: 0";
            say(stream, "301 Moved Permanently", inside, "").await
        }
        More::Redirect302 => say(stream, "302 Found", "location: /hook\r\ncontent-length: 0", "").await,
        More::Redirect308 => {
            let elsewhere = "location: file:///etc/passwd\r\ncontent-length: 0";
            say(stream, "308 Permanent Redirect", elsewhere, "").await
        }
        More::Compressed => {
            let head = "content-encoding: gzip\r\ncontent-length: 1000000";
            say(stream, "200 OK", head, &"\u{1f}\0".repeat(500_000)).await
        }
        More::LongBody => say(stream, "200 OK", "content-length: 2", &left_over).await,
        More::NoContentWithBody => say(stream, "204 No Content", "content-length: 2", &left_over).await,
        More::NotModified => say(stream, "304 Not Modified", "content-length: 1000", "").await,
        More::LengthAndChunks => {
            let head = "content-length: 100\r\ntransfer-encoding: chunked, gzip";
            say(stream, "200 OK", head, "2\r\nok\r\n0\r\n\r\n").await?;
            pending().await
        }
        More::TwoLengths => {
            say(stream, "200 OK", "content-length: 2\r\ncontent-length: 60", &left_over).await?;
            pending().await
        }
        More::HugeChunk => {
            say(stream, "200 OK", "transfer-encoding: chunked", "fffffffffffffffff\r\nx").await?;
            pending().await
        }
        More::EndlessTrailers => {
            say(stream, "200 OK", "transfer-encoding: chunked", "2\r\nok\r\n0\r\n").await?;
            loop {
                stream.write_all(b"x-more: aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\r\n").await?;
            }
        }
        More::AnswersLate => {
            let_pass(Duration::from_millis(20_500)).await;
            say(stream, "200 OK", "content-length: 0", "").await
        }
        More::SilentAfterOne if requests == 1 => say(stream, "200 OK", "content-length: 0", "").await,
        More::SilentAfterOne => pending().await,
        More::Upgrades => {
            say(stream, "101 Switching Protocols", "upgrade: h2c\r\nconnection: upgrade", "").await?;
            pending().await
        }
        More::OddStatus => say(stream, "2OO OK", "content-length: 0", "").await,
        More::LowStatus => say(stream, "099 Low", "content-length: 0", "").await,
        More::HighStatus => say(stream, "999 High", "content-length: 0", "").await,
        More::EndlessChunks => {
            say(stream, "200 OK", "transfer-encoding: chunked", "").await?;
            loop {
                stream.write_all(b"1\r\na\r\n").await?;
                let_pass(Duration::from_millis(100)).await;
            }
        }
    }
}

async fn say(stream: &mut TcpStream, status: &str, headers: &str, body: &str) -> std::io::Result<()> {
    stream.write_all(format!("HTTP/1.1 {status}\r\n{headers}\r\n\r\n{body}").as_bytes()).await
}

/// Reads a request as these tests send it; `false`: there is none.
async fn read_request(stream: &mut TcpStream) -> std::io::Result<bool> {
    let mut seen = Vec::new();
    let mut part = [0; 4_096];
    while !seen.ends_with(b"\r\n\r\n{}") {
        let read = stream.read(&mut part).await?;
        if read == 0 {
            return Ok(false);
        }
        seen.extend_from_slice(&part[..read]);
    }
    Ok(true)
}
