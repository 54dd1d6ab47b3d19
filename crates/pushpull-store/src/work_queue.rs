//! A consumer as a work queue: items are taken one by one, by many workers, and each is answered for by itself.
//!
//! What is taken comes back when its lease ends, so that an item is handed out until it is done or parked. The
//! consumer's committed seq stays below every item that is not done, parked ones too.

use std::{sync::Arc, time::Duration};

use futures_util::future::BoxFuture;
use pushpull_domain::{Holder, Message, Seq, Timestamp};

use crate::{Asked, ConsumerKey, Error, Gap, Page, PageQuery};

/// Most items of a consumer that are taken at a time.
pub const TAKEN_MAX: usize = 1_000;
/// Most items of a consumer that are taken, waiting to come back, or parked. As long as there are so many, nothing new
/// is taken.
pub const UNDONE_MAX: usize = 10_000;

/// How much to take.
#[derive(Clone, Debug)]
pub struct Take {
    /// Most items.
    pub max: usize,
    /// How long they are the taker's.
    pub lease: Duration,
    /// Who takes, if it says so.
    pub holder: Option<Holder>,
}

/// An item that was taken.
#[derive(Clone, Debug)]
pub struct TakenItem {
    /// Its place in the queue: what it is answered for by.
    pub seq: Seq,
    /// Its message.
    pub message: Arc<Message>,
    /// How often it was handed out, this time counted.
    pub delivered: u32,
}

/// What was taken.
#[derive(Clone, Debug, Default)]
pub struct Taken {
    /// Items that came back first, then new ones, each in order.
    pub items: Vec<TakenItem>,
    /// What retention removed before it was taken; told until its last seq, or something beyond it, is done.
    pub gap: Option<Gap>,
    /// Whether more can be taken at once, or that is not known yet: much was passed over.
    pub more: bool,
    /// Whether as many are out as may be, so that nothing is taken until one is answered for.
    pub full: bool,
    /// When the next item comes back that is not answered for by then.
    pub next_due_at: Option<Timestamp>,
}

/// What becomes of an item that could not be worked on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Nack {
    /// It comes back after a while; parked if it was handed out as often as it may be.
    Retry(Duration),
    /// It is parked: handed out no more until it is replayed.
    Park,
    /// It is done with.
    Skip,
}

/// What workers say of items, by seq. Done in the order of the fields, all or nothing.
#[derive(Clone, Debug, Default)]
pub struct Answers {
    /// Done.
    pub ack: Vec<Seq>,
    /// Not done.
    pub nack: Vec<(Seq, Nack)>,
    /// Still at work: theirs for so long from now on.
    pub extend: Vec<(Seq, Duration)>,
    /// Who says so. Nobody else's items are put back or kept longer; what is done is done, whoever did it.
    pub holder: Option<Holder>,
}

/// What became of answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answered {
    /// Every seq up to here is done.
    pub committed: Seq,
    /// Items that were to be put back or kept longer, and were not in those hands any more.
    pub lost: Vec<Seq>,
}

/// An item that was parked.
#[derive(Clone, Debug)]
pub struct Parked {
    /// Its place in the queue.
    pub seq: Seq,
    /// Its message.
    pub message: Arc<Message>,
    /// How often it was handed out.
    pub delivered: u32,
}

/// Work queues.
pub trait WorkQueue: Send + Sync {
    /// Takes items: first those that came back, then new ones. While the endpoint is not pushed, what a push brought
    /// is passed over, some thousands of it in one call.
    fn take(&self, key: ConsumerKey, take: Take) -> BoxFuture<'_, Asked<Taken>>;
    /// Answers for items. Safe to repeat. Refused if one of them was never handed out.
    fn answer(&self, key: ConsumerKey, answers: Answers) -> BoxFuture<'_, Asked<Answered>>;
    /// One page of what is parked.
    fn parked(&self, key: ConsumerKey, page: PageQuery<Seq>) -> BoxFuture<'_, Result<Page<Parked>, Error>>;
    /// Puts parked items back (`None`: all), to be handed out as if for the first time; how many.
    fn replay(&self, key: ConsumerKey, only: Option<Vec<Seq>>) -> BoxFuture<'_, Asked<u64>>;
}
