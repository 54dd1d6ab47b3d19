//! The words for what goes wrong: they never change, and `docs/errors.md` has a section for each.

use std::fmt;

macro_rules! codes {
    ($($(#[$doc:meta])* $name:ident = $word:literal),* $(,)?) => {
        /// What went wrong, as a word that does not change.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Code {
            $($(#[$doc])* $name),*
        }

        impl Code {
            /// All there are.
            pub const ALL: &[Self] = &[$(Self::$name),*];

            /// The word.
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$name => $word),*
                }
            }
        }
    };
}

codes! {
    /// The body is not JSON.
    MalformedJson = "malformed_json",
    /// Something in the request is not what it must be.
    Validation = "validation",
    /// The body did not come whole.
    BodyCut = "body_cut",
    /// The body, or the payload in it, is too large.
    PayloadTooLarge = "payload_too_large",
    /// No key, or one that is not valid.
    AuthenticationFailed = "authentication_failed",
    /// The key does not allow this.
    InsufficientScope = "insufficient_scope",
    /// Only a portal's key can end itself.
    NotAPortalKey = "not_a_portal_key",
    /// No such thing, or not for this key.
    NotFound = "not_found",
    /// No such path.
    NoSuchPath = "no_such_path",
    /// The path has other methods.
    MethodNotAllowed = "method_not_allowed",
    /// The uid, or name, belongs to another.
    Conflict = "conflict",
    /// Somebody else changed it at the same time.
    ChangedMeanwhile = "changed_meanwhile",
    /// The application has as many endpoints as it may have.
    TooManyEndpoints = "too_many_endpoints",
    /// Another message has this event id.
    EventIdTaken = "event_id_taken",
    /// The idempotency key was used for another request.
    IdempotencyKeyReused = "idempotency_key_reused",
    /// The endpoint is not pushed, and has the message in its queue.
    EndpointNotPushed = "endpoint_not_pushed",
    /// The endpoint takes nothing.
    EndpointDisabled = "endpoint_disabled",
    /// The payload is not kept any more.
    PayloadExpired = "payload_expired",
    /// The iterator was made up, cut, or is of another endpoint.
    InvalidIterator = "invalid_iterator",
    /// What comes after the iterator is not kept any more.
    IteratorExpired = "iterator_expired",
    /// Another reader holds the consumer's lease.
    LeaseHeld = "lease_held",
    /// Items of the consumer's work queue are not done.
    WorkQueueNotDone = "work_queue_not_done",
    /// The endpoint has as many consumers as it may have.
    TooManyConsumers = "too_many_consumers",
    /// No space is left.
    StoreFull = "store_full",
    /// Too much waits to be written.
    StoreBusy = "store_busy",
    /// The store does not answer.
    StoreUnavailable = "store_unavailable",
    /// The server is on its way out.
    ShuttingDown = "shutting_down",
    /// What is stored contradicts itself.
    Internal = "internal",
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl serde::Serialize for Code {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}
