//! The vocabulary of pushpull: pure rules, no I/O, no async, no clock of its own.
//!
//! Every other crate speaks in these types. A value that exists is valid: raw input is parsed into it once,
//! at the edge. Absent on purpose: tokio, SQL, HTTP, the machine's clock and its random source.

pub mod app;
pub mod attempt;
pub mod chance;
pub mod clock;
pub mod delivery;
pub mod endpoint;
pub mod event_type;
pub mod filter;
pub mod id;
pub mod iterator;
pub mod key;
pub mod message;
pub mod mode;
pub mod name;
pub mod retry;
pub mod seal;
pub mod signature;

pub use app::{App, AppNo, AppSnapshot, Environment, EnvironmentNo, Metadata};
pub use chance::{Chance, SeededChance};
pub use clock::{Clock, FixedClock, Timestamp};
pub use delivery::{CancelReason, Delivery, DeliveryKey, DeliveryState, Seq};
pub use endpoint::{Batch, Endpoint, EndpointNo, EndpointState, Health};
pub use event_type::EventType;
pub use filter::Filter;
pub use id::{AppId, AttemptId, EndpointId, EnvironmentId, KeyId, MessageId, TaskId};
pub use iterator::{IteratorError, Iterators};
pub use message::{Message, MessageKey, NewMessage, Payload, Position};
pub use mode::{Mode, ModeChange, PushFrom};
pub use name::{Channel, ConsumerName, EventId, EventTypeName, FeatureFlag, Holder, Tag, Uid};
pub use retry::RetrySchedule;
pub use signature::Secrets;
