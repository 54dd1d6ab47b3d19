//! Whether everything that joined an endpoint's queue has arrived, or is still to come.

use futures_util::future::BoxFuture;
use pushpull_domain::{EndpointNo, Seq};

use crate::Error;

/// Deliveries looked at for one page of an audit: some milliseconds of a reader's time.
pub const AUDIT_ROWS: u64 = 20_000;

/// What became of a part of an endpoint's queue. Every seq of it counts once.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Audit {
    /// Answered 2xx.
    pub delivered: u64,
    /// Owed or exhausted, and passed by the consumer that is furthest, or by readers before the endpoint was pushed
    /// again.
    pub read: u64,
    /// Still to be pushed, or to be read.
    pub owed: u64,
    /// Every attempt failed, and nobody has read it.
    pub exhausted: u64,
    /// Given up, since it, or its payload, was older than what is kept.
    pub cancelled_retention: u64,
    /// Given up, since its payload was erased by a call.
    pub cancelled_expunged: u64,
    /// Given up, since its endpoint or application was deleted.
    pub cancelled_deleted: u64,
    /// Removed by retention: nobody can say any more what became of it.
    pub removed: u64,
    /// Not there although retention never got so far. A store in order has none.
    pub missing: u64,
}

impl Audit {
    /// How many are kept.
    pub fn found(&self) -> u64 {
        let cancelled = self.cancelled_retention + self.cancelled_expunged + self.cancelled_deleted;
        self.delivered + self.read + self.owed + self.exhausted + cancelled
    }

    /// Whether each one was delivered, was read, or is still to come.
    pub fn is_complete(&self) -> bool {
        let Self { delivered, read, owed, .. } = *self;
        self.found() == delivered + read + owed && self.removed == 0 && self.missing == 0
    }
}

/// A page of an audit, in one consistent view.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AuditPage {
    /// What became of what was looked at.
    pub audit: Audit,
    /// What comes after this was looked at.
    pub after: Seq,
    /// Everything up to here was looked at: the next page begins after it.
    pub reached: Seq,
    /// The newest seq there is or was.
    pub last: Seq,
    /// Retention has removed something up to here; 0: nothing.
    pub removed_to: Seq,
}

/// Audits.
pub trait Audits: Send + Sync {
    /// Adds up a part of a queue: what comes after a seq (`None`: all that retention left), up to another if it is given, at
    /// most [`AUDIT_ROWS`].
    fn audit(
        &self,
        endpoint: EndpointNo,
        after: Option<Seq>,
        upto: Option<Seq>,
    ) -> BoxFuture<'_, Result<AuditPage, Error>>;
}
