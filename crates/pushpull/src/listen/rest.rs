//! The rest of a body that nobody wants.
//!
//! A request may be answered before its body was read whole: one that is too large is refused from its head. A
//! client that sends all the same would get a reset in place of the answer if the connection closed on it. So
//! what it still sends is read and thrown away, within bounds, while the answer is on its way.

use std::{
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyExt;
use tokio_util::task::TaskTracker;

/// Most bytes thrown away: 16 MiB. Whoever sends more has to live with a reset.
const THROWN_AWAY_MAX: usize = 16 << 20;
/// Longest time it may take.
const TIME_MAX: Duration = Duration::from_secs(5);

/// A body whose rest is read when it is dropped.
pub(super) struct Rest<B>
where
    B: Body<Data = Bytes> + Unpin + Send + 'static,
{
    body: Option<B>,
    /// The client waits to be told to send it (`Expect: 100-continue`), and was not: there is no rest.
    held_back: bool,
    tasks: TaskTracker,
}

impl<B> Rest<B>
where
    B: Body<Data = Bytes> + Unpin + Send + 'static,
{
    pub(super) fn new(body: B, held_back: bool, tasks: TaskTracker) -> Self {
        Self { body: Some(body), held_back, tasks }
    }
}

impl<B> Drop for Rest<B>
where
    B: Body<Data = Bytes> + Unpin + Send + 'static,
{
    fn drop(&mut self) {
        let Some(body) = self.body.take() else { return };
        if !self.held_back && !body.is_end_stream() {
            self.tasks.spawn(throw_away(body));
        }
    }
}

async fn throw_away<B: Body<Data = Bytes> + Unpin>(mut body: B) {
    let all = async {
        let mut left = THROWN_AWAY_MAX;
        while let Some(Ok(frame)) = body.frame().await {
            match left.checked_sub(frame.data_ref().map_or(0, Bytes::len)) {
                Some(rest) => left = rest,
                None => return,
            }
        }
    };
    // In time or not: then the connection closes.
    _ = tokio::time::timeout(TIME_MAX, all).await;
}

impl<B> Body for Rest<B>
where
    B: Body<Data = Bytes> + Unpin + Send + 'static,
{
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        self.held_back = false;
        match &mut self.body {
            Some(body) => Pin::new(body).poll_frame(context),
            None => Poll::Ready(None),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.body.as_ref().map_or_else(SizeHint::default, Body::size_hint)
    }
}

#[cfg(test)]
mod tests {
    use std::{
        convert::Infallible,
        sync::{
            Arc,
            atomic::{AtomicUsize, Ordering},
        },
    };

    use futures_util::stream;
    use http_body_util::StreamBody;

    use super::*;

    /// Drops a body of a hundred pieces, one of them read; how many were read in the end.
    async fn read_of_a_hundred(piece: usize, held_back: bool, read_one: bool) -> usize {
        let read = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&read);
        let pieces = stream::iter((0..100).map(move |_| {
            count.fetch_add(1, Ordering::Relaxed);
            Ok::<_, Infallible>(Frame::data(Bytes::from(vec![0; piece])))
        }));
        let tasks = TaskTracker::new();
        let mut body = Rest::new(StreamBody::new(Box::pin(pieces)), held_back, tasks.clone());
        if read_one {
            body.frame().await.unwrap().unwrap();
        }
        drop(body);
        tasks.close();
        tasks.wait().await;
        read.load(Ordering::Relaxed)
    }

    #[tokio::test]
    async fn what_is_not_wanted_is_read_within_bounds() {
        assert_eq!(read_of_a_hundred(10, false, true).await, 100);
        assert_eq!(read_of_a_hundred(1 << 20, false, false).await, 17);
    }

    #[tokio::test]
    async fn a_client_that_was_not_told_to_send_is_not_told_to() {
        assert_eq!(read_of_a_hundred(10, true, false).await, 0);
        assert_eq!(read_of_a_hundred(10, true, true).await, 100);
    }
}
