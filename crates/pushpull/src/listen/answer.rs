//! An answer's body: its request is under way until it is sent, and over HTTP/2 it is seen when nobody takes it.
//!
//! Over HTTP/1 a connection carries one answer at a time, and writes that get nowhere end it. Over HTTP/2 many share a
//! connection, on which other things go on: there each body is handed out in small pieces, and a piece whose next is not
//! asked for in time ends the connection.

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};

use super::usage::UnderWay;

/// Largest piece over HTTP/2: the window that a client opens a stream with (RFC 9113 s. 6.9.2).
const PIECE_MAX: usize = 65_535;

/// A body whose request is under way until it is dropped.
pub(super) struct Answer<B> {
    body: B,
    under_way: UnderWay,
    /// It is handed out in pieces, and looked after.
    pieces: bool,
    /// What is left of the frame that is being handed out.
    rest: Bytes,
}

impl<B> Answer<B> {
    /// A body, and the request that it answers. `pieces`: over HTTP/2.
    pub(super) fn new(body: B, under_way: UnderWay, pieces: bool) -> Self {
        Self { body, under_way, pieces, rest: Bytes::new() }
    }
}

impl<B: Body<Data = Bytes> + Unpin> Body for Answer<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        let this = &mut *self;
        if !this.pieces {
            return Pin::new(&mut this.body).poll_frame(context);
        }
        this.under_way.asked();
        if this.rest.is_empty() {
            let frame = match ready!(Pin::new(&mut this.body).poll_frame(context)) {
                Some(Ok(frame)) => frame,
                other => return Poll::Ready(other),
            };
            match frame.into_data() {
                Ok(data) => this.rest = data,
                Err(trailers) => return Poll::Ready(Some(Ok(trailers))),
            }
        }
        this.under_way.handed();
        let piece = this.rest.split_to(this.rest.len().min(PIECE_MAX));
        Poll::Ready(Some(Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty() && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        let (rest, body) = (self.rest.len() as u64, self.body.size_hint());
        let mut hint = SizeHint::new();
        hint.set_lower(body.lower() + rest);
        if let Some(upper) = body.upper() {
            hint.set_upper(upper + rest);
        }
        hint
    }
}

#[cfg(test)]
mod tests {
    use std::{sync::Arc, time::Duration};

    use http_body_util::{BodyExt, Full};
    use tokio::time::{Instant, timeout};

    use super::*;
    use crate::listen::usage::Usage;

    const TIME: Duration = Duration::from_secs(30);

    fn large() -> Bytes {
        (0..200_000_u32).map(|n| n as u8).collect()
    }

    #[tokio::test]
    async fn pieces_are_the_body() {
        let usage = Arc::new(Usage::default());
        let mut body = Answer::new(Full::new(large()), usage.begin(), true);
        assert_eq!(body.size_hint().exact(), Some(200_000));
        let first = body.frame().await.unwrap().unwrap().into_data().unwrap();
        assert_eq!((first.len(), body.size_hint().exact()), (PIECE_MAX, Some(200_000 - PIECE_MAX as u64)));
        assert!(!body.is_end_stream());
        let rest = body.collect().await.unwrap().to_bytes();
        assert_eq!([first, rest].concat(), large());

        let whole = Answer::new(Full::new(large()), usage.begin(), false).frame().await.unwrap().unwrap();
        assert_eq!(whole.into_data().unwrap(), large());
    }

    #[tokio::test(start_paused = true)]
    async fn a_piece_whose_next_is_not_asked_for_is_seen() {
        let usage = Arc::new(Usage::default());
        let mut taken = Answer::new(Full::new(large()), usage.begin(), true);
        let mut left = Answer::new(Full::new(large()), usage.begin(), true);
        taken.frame().await.unwrap().unwrap();
        assert!(timeout(TIME / 2, usage.until_unread(TIME)).await.is_err());
        left.frame().await.unwrap().unwrap();
        taken.frame().await.unwrap().unwrap();
        drop(taken);
        let start = Instant::now();
        usage.until_unread(TIME).await;
        assert!((TIME..TIME * 2).contains(&start.elapsed()), "{:?}", start.elapsed());
    }

    #[tokio::test(start_paused = true)]
    async fn a_request_is_under_way_until_its_answer_is_sent() {
        let usage = Arc::new(Usage::default());
        let body = Answer::new(Full::new(large()), usage.begin(), false);
        assert!(timeout(TIME * 10, usage.until_idle(TIME)).await.is_err());
        drop(body);
        usage.until_idle(TIME).await;
    }

    #[tokio::test(start_paused = true)]
    async fn a_stream_that_has_nothing_to_say_is_not_left_unread() {
        let usage = Arc::new(Usage::default());
        let silent =
            http_body_util::StreamBody::new(futures_util::stream::pending::<Result<Frame<Bytes>, ()>>());
        let mut body = Answer::new(silent, usage.begin(), true);
        assert!(timeout(TIME, body.frame()).await.is_err());
        assert!(timeout(TIME * 10, usage.until_unread(TIME)).await.is_err());
    }
}
