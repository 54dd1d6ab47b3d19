//! What may be asked of storage: traits, one error type, no SQL; and the log seen through them.
//!
//! The one thing in which the quadrants meet. Absent on purpose: any driver, any quadrant, any rule of
//! delivery. Each backend passes the suite in `conformance` (the feature
//! of that name).

pub mod audit;
pub mod catalog;
pub mod codec;
pub mod columns;
#[cfg(feature = "conformance")]
pub mod conformance;
pub mod consumers;
pub mod deliveries;
pub mod error;
pub mod feed;
pub mod gather;
pub mod messages;
pub mod publish;
pub mod transfer;
pub mod upkeep;
pub mod work_queue;

pub use audit::{Audit, AuditPage, Audits};
pub use catalog::{
    AppListFilter, Catalog, NewApp, OLD_POLLER_TOKENS_MAX, Order, Page, PageQuery, REVOKED_KEYS_KEPT, Ref,
};
pub use consumers::{
    Asked, Consumer, ConsumerKey, ConsumerSettings, ConsumerStatus, Consumers, Expired, ExpiredConsumer, Gap,
    Lease, LeaseRequest, Refused,
};
pub use deliveries::{
    AttemptFilter, Deliveries, DeliveryCounts, DeliveryStatus, DueDelivery, DueOrder, DuePage, OwedEndpoint,
    Recovery, RecoveryKind, RecoveryStep, Resent, Retention, Settlement, StoredAttempt, Trimmed,
};
pub use error::{Error, WriteError};
pub use feed::{Feed, QueueEnds, QueueItem, QueuePage, QueueQuery};
pub use messages::{Append, Appended, CommitListener, Idempotency, MessageFilter, MessageLog, Target};
pub use publish::{Log, Published};
pub use upkeep::{Backlog, Behind, BehindConsumer, Ledger, Size, Upkeep};
pub use work_queue::{Answered, Answers, Nack, Parked, Take, Taken, TakenItem, WorkQueue};

/// A whole store. One `Arc<dyn Store>` is handed to everything above.
pub trait Store: Catalog + MessageLog + Deliveries + Feed + Consumers + WorkQueue + Audits + Upkeep {}

impl<T: Catalog + MessageLog + Deliveries + Feed + Consumers + WorkQueue + Audits + Upkeep> Store for T {}
