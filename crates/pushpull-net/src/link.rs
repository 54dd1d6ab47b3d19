//! One HTTP/1.1 connection, and one request over it.
//!
//! hyper wants a connection to be driven by a task of its own. Here it is polled by the task that waits for
//! the answer instead: a request then costs no wake-up from one task to another, which is a tenth of its
//! whole price. The rule that this rests on: nothing happens on a connection but inside a poll of it, so
//! the two polled one after the other, connection first, with one waker between them, miss nothing.

use std::{
    future::{Future, poll_fn},
    pin::{Pin, pin},
    sync::Arc,
    task::{Context, Poll, Waker},
};

use bytes::Bytes;
use http::{HeaderMap, Response};
use http_body_util::Full;
use hyper::{
    body::{Body, Incoming},
    client::conn::http1,
};
use hyper_util::rt::TokioIo;
use pushpull_domain::attempt::ErrorClass;

use crate::{
    dial::Progress,
    fault::Fault,
    stream::{Meter, Metered, Stream},
};

/// Most bytes of an answer's status line and headers: 64 KiB. The number of headers is bounded by hyper,
/// to 100.
const HEAD_BYTES_MAX: usize = 64 * 1024;

/// Most bytes read before the head of the final answer is complete: 1 MiB. Only a flood of informational
/// (1xx) heads comes so far, which hyper skips one by one without end.
const EARLY_BYTES_MAX: u64 = 1024 * 1024;

/// A connection that HTTP is spoken over.
pub(crate) struct Link {
    send: http1::SendRequest<Full<Bytes>>,
    connection: http1::Connection<TokioIo<Metered>, Full<Bytes>>,
    meter: Arc<Meter>,
    /// The connection is over and must not be polled again.
    closed: bool,
}

/// A complete answer.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
    /// The body was longer; the rest was not read.
    pub(crate) truncated: bool,
}

/// An exchange without a complete answer.
#[derive(Debug)]
pub(crate) struct Broken {
    pub(crate) fault: Fault,
    /// Not one byte of an answer had come: on a reused connection the other side had most likely closed
    /// it before the request arrived.
    pub(crate) before_first_byte: bool,
}

impl Link {
    /// Takes a fresh stream into use.
    pub(crate) async fn open(stream: Stream) -> Result<Self, Fault> {
        let meter = Arc::new(Meter::default());
        let io = TokioIo::new(Metered::new(stream, Arc::clone(&meter)));
        let (send, connection) = http1::Builder::new()
            .max_header_size(HEAD_BYTES_MAX)
            .max_buf_size(HEAD_BYTES_MAX)
            .handshake(io)
            .await
            .map_err(|error| Fault::exchange(&error))?;
        Ok(Self { send, connection, meter, closed: false })
    }

    /// Whether another request may be sent over this connection. Without a system call unless the kernel
    /// has reported something about it.
    ///
    /// The empty waker also takes the place of the one that the last request left behind: otherwise its
    /// task, busy with other things by now, would be woken by this connection's next request.
    pub(crate) fn is_usable(&mut self) -> bool {
        self.poll_connection(&mut Context::from_waker(Waker::noop()));
        !self.closed && self.send.is_ready()
    }

    /// Sends a request and reads the answer, at most `body_max` bytes of its body.
    pub(crate) async fn exchange(
        &mut self,
        request: http::Request<Full<Bytes>>,
        body_max: usize,
        progress: &mut Progress,
    ) -> Result<Reply, Broken> {
        let read_before = self.meter.read();
        self.meter.allow(EARLY_BYTES_MAX);
        let result = match self.head(request, read_before, progress).await {
            Ok(response) => {
                self.meter.allow(u64::MAX);
                self.body(response, body_max).await
            }
            Err(fault) => Err(fault),
        };
        result.map_err(|fault| Broken { fault, before_first_byte: self.meter.read() == read_before })
    }

    async fn head(
        &mut self,
        request: http::Request<Full<Bytes>>,
        read_before: u64,
        progress: &mut Progress,
    ) -> Result<Response<Incoming>, Fault> {
        // Unconstrained, since tokio's fairness between tasks would answer "not yet" and call the empty
        // waker below when this task has been busy for long.
        let mut answer = pin!(tokio::task::unconstrained(self.send.try_send_request(request)));
        poll_fn(|cx| {
            let error = self.poll_connection(cx);
            if progress.timings.first_byte.is_none() && self.meter.read() > read_before {
                progress.timings.first_byte = Some(progress.started.elapsed());
            }
            match answer.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
                Poll::Ready(Ok(response)) => Poll::Ready(Ok(response)),
                Poll::Ready(Err(refused)) => Poll::Ready(Err(Fault::exchange(&refused.into_error()))),
                Poll::Pending if self.closed => Poll::Ready(Err(error.unwrap_or_else(closed_early))),
                Poll::Pending => Poll::Pending,
            }
        })
        .await
    }

    async fn body(&mut self, response: Response<Incoming>, body_max: usize) -> Result<Reply, Fault> {
        let (head, mut incoming) = response.into_parts();
        let mut body = Vec::new();
        let mut truncated = false;
        while !truncated && !incoming.is_end_stream() {
            let Some(data) = self.body_part(&mut incoming).await? else { break };
            let room = body_max - body.len();
            truncated = data.len() > room;
            // Copied even when it is one piece: a slice would keep the whole read buffer alive.
            body.extend_from_slice(&data[..data.len().min(room)]);
        }
        // What was not read would be taken for the next answer.
        self.closed |= truncated;
        Ok(Reply { status: head.status.as_u16(), headers: head.headers, body: body.into(), truncated })
    }

    /// The next piece of the body; `None` at its end.
    async fn body_part(&mut self, incoming: &mut Incoming) -> Result<Option<Bytes>, Fault> {
        poll_fn(|cx| {
            let error = self.poll_connection(cx);
            loop {
                match Pin::new(&mut *incoming).poll_frame(&mut Context::from_waker(Waker::noop())) {
                    // Trailers are of no use to anyone here.
                    Poll::Ready(Some(Ok(frame))) => match frame.into_data() {
                        Ok(data) => return Poll::Ready(Ok(Some(data))),
                        Err(_trailers) => {}
                    },
                    Poll::Ready(None) => return Poll::Ready(Ok(None)),
                    Poll::Ready(Some(Err(broken))) => {
                        return Poll::Ready(Err(error.unwrap_or_else(|| Fault::exchange(&broken))));
                    }
                    Poll::Pending if self.closed => {
                        return Poll::Ready(Err(error.unwrap_or_else(closed_early)));
                    }
                    Poll::Pending => return Poll::Pending,
                }
            }
        })
        .await
    }

    /// Lets the connection read and write what it can. The fault is what ended it, if it told.
    fn poll_connection(&mut self, cx: &mut Context<'_>) -> Option<Fault> {
        if self.closed {
            return None;
        }
        match Pin::new(&mut self.connection).poll(cx) {
            Poll::Pending => None,
            Poll::Ready(result) => {
                self.closed = true;
                result.err().map(|error| Fault::exchange(&error))
            }
        }
    }
}

fn closed_early() -> Fault {
    Fault::new(ErrorClass::ConnectionClosed, "connection closed before the answer was complete")
}
