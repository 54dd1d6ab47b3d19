//! A request's body that has to come in time.

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use tokio::time::{Sleep, sleep};

/// The body did not come whole in time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Late;

impl std::fmt::Display for Late {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("the body did not come in time")
    }
}

impl std::error::Error for Late {}

type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// A body under one deadline, however its bytes drip.
pub(super) struct Timely<B> {
    body: B,
    time: Duration,
    /// Begins when the body is first waited for: most have come with their head, and need no timer.
    deadline: Option<Pin<Box<Sleep>>>,
}

impl<B> Timely<B> {
    pub(super) fn new(body: B, time: Duration) -> Self {
        Self { body, time, deadline: None }
    }
}

impl<B> Body for Timely<B>
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: Into<BoxError>,
{
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let this = &mut *self;
        if let Poll::Ready(frame) = Pin::new(&mut this.body).poll_frame(context) {
            return Poll::Ready(frame.map(|frame| frame.map_err(Into::into)));
        }
        let deadline = this.deadline.get_or_insert_with(|| Box::pin(sleep(this.time)));
        ready!(deadline.as_mut().poll(context));
        Poll::Ready(Some(Err(Late.into())))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use futures_util::stream;
    use http_body_util::{BodyExt, Full, StreamBody};

    use super::*;

    const TIME: Duration = Duration::from_secs(30);

    #[tokio::test(start_paused = true)]
    async fn a_body_that_drips_ends_at_the_deadline() {
        let drip = tokio::time::interval(Duration::from_secs(7));
        let drops = stream::unfold(drip, |mut drip| async {
            drip.tick().await;
            Some((Ok::<_, Infallible>(Frame::data(Bytes::from_static(b"x"))), drip))
        });
        let start = tokio::time::Instant::now();
        let error = Timely::new(StreamBody::new(Box::pin(drops)), TIME).collect().await.unwrap_err();
        assert_eq!(error.downcast_ref(), Some(&Late));
        assert_eq!(start.elapsed().as_secs(), TIME.as_secs());
    }

    #[tokio::test]
    async fn a_body_that_is_there_is_read_as_it_is() {
        let body = Timely::new(Full::new(Bytes::from_static(b"all of it")), TIME);
        assert_eq!(body.size_hint().exact(), Some(9));
        assert_eq!(body.collect().await.unwrap().to_bytes(), "all of it");
    }
}
