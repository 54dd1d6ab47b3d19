//! An endpoint's queue, read. Who pushes settles it row by row; a reader moves along it and writes nothing.

use std::sync::Arc;

use futures_util::future::BoxFuture;
use pushpull_domain::{EndpointNo, Message, Seq, Timestamp};

use crate::{Error, MessageFilter};

/// Which part of a queue is wanted.
#[derive(Clone, Debug)]
pub struct QueueQuery {
    /// Whose queue.
    pub endpoint: EndpointNo,
    /// What comes after this seq.
    pub after: Seq,
    /// What comes before this seq; `None`: all there is.
    pub until: Option<Seq>,
    /// Only these messages.
    pub filter: MessageFilter,
    /// Not what a push had answered 2xx.
    pub undelivered: bool,
    /// Most items: at least 1.
    pub limit: usize,
    /// Bytes of payloads from which on a page is full, within what the store allows. One item comes whatever it holds.
    pub bytes: usize,
}

/// A delivery as a reader gets it.
#[derive(Clone, Debug)]
pub struct QueueItem {
    /// Where it stands in the endpoint's queue.
    pub seq: Seq,
    /// Its message.
    pub message: Arc<Message>,
}

/// What was found of a queue, in its order.
#[derive(Clone, Debug)]
pub struct QueuePage {
    /// What is wanted of what was looked at.
    pub items: Vec<QueueItem>,
    /// Everything up to here was looked at: the next page begins after it. At least what was asked for as `after`.
    pub reached: Seq,
    /// Where the queue begins and ends.
    pub ends: QueueEnds,
}

/// Where a queue begins and ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QueueEnds {
    /// Everything up to here was removed by retention; 0: nothing.
    pub trimmed: Seq,
    /// The newest seq there is or was; 0: nothing ever joined it.
    pub last: Seq,
}

/// Reading queues.
pub trait Feed: Send + Sync {
    /// Reads a part of a queue, in one consistent view. One read costs no more than so many rows and bytes, so a page
    /// may come back short; `reached` says how far it got.
    fn read_queue(&self, query: QueueQuery) -> BoxFuture<'_, Result<QueuePage, Error>>;
    /// Where a queue begins and ends.
    fn queue_ends(&self, endpoint: EndpointNo) -> BoxFuture<'_, Result<QueueEnds, Error>>;
    /// The place before the first delivery whose message was made at `at` or later; the end of the queue if there is
    /// none.
    fn queue_at(&self, endpoint: EndpointNo, at: Timestamp) -> BoxFuture<'_, Result<Seq, Error>>;
}
