//! A whole store's rows on their way into another one: as they are kept, with their numbers and places.

/// What stands in a column.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    /// Nothing.
    Null,
    /// A number, or whether something is so (0 or 1).
    Int(i64),
    /// A text.
    Text(String),
    /// Bytes.
    Bytes(Vec<u8>),
    /// A list of numbers.
    Ints(Vec<i64>),
}

impl Value {
    /// The number, if it is one.
    pub fn as_int(&self) -> Option<i64> {
        if let Self::Int(number) = self { Some(*number) } else { None }
    }

    /// How many bytes it takes, roughly.
    pub fn size(&self) -> usize {
        match self {
            Self::Null | Self::Int(_) => 8,
            Self::Text(text) => text.len(),
            Self::Bytes(bytes) => bytes.len(),
            Self::Ints(numbers) => numbers.len() * 8,
        }
    }
}

/// A row: the values of its table's columns, in their order.
pub type Row = Vec<Value>;

/// A table that a store is moved by.
#[derive(Debug)]
pub struct Table {
    /// Its name.
    pub name: &'static str,
    /// The columns that say the same in every store.
    pub columns: &'static [&'static str],
    /// Those of them by which its rows are told apart and put in order.
    pub key: &'static str,
}

impl Table {
    /// Where a column stands in a row.
    ///
    /// # Panics
    /// If there is none of this name.
    pub fn column(&self, name: &str) -> usize {
        let at = self.columns.iter().position(|column| *column == name);
        at.unwrap_or_else(|| panic!("{} has a column {name}", self.name))
    }
}

/// The tables whose rows are numbered, by the column `no`: numbers are never given again.
pub const NUMBERED: [&str; 3] = ["environment", "app", "endpoint"];

/// Every table, in an order in which what a row points to comes before it.
pub const TABLES: &[Table] = &[
    Table { name: "environment", key: "no", columns: &["no", "id", "name", "created_at"] },
    Table {
        name: "api_key",
        key: "hash",
        columns: &[
            "hash",
            "id",
            "environment",
            "prefix",
            "name",
            "scope",
            "app",
            "endpoint",
            "token",
            "created_at",
            "last_used_at",
            "revoked_at",
        ],
    },
    Table {
        name: "app",
        key: "no",
        columns: &[
            "no",
            "id",
            "environment",
            "uid",
            "name",
            "rate_limit",
            "metadata",
            "version",
            "trimmed_position",
            "erased_position",
            "created_at",
            "updated_at",
            "deleted_at",
        ],
    },
    Table {
        name: "event_type",
        key: "environment, name",
        columns: &[
            "environment",
            "name",
            "description",
            "archived",
            "deprecated",
            "schemas",
            "feature_flags",
            "group_name",
            "retry_schedule",
            "created_at",
            "updated_at",
        ],
    },
    Table {
        name: "endpoint",
        key: "no",
        columns: &[
            "no",
            "id",
            "app",
            "uid",
            "url",
            "description",
            "event_types",
            "channels",
            "mode",
            "disabled_at",
            "disabled_reason",
            "failing_since",
            "failing_notified",
            "rate_limit",
            "retry_schedule",
            "fifo",
            "batch_size",
            "batch_wait_secs",
            "hold_when_failing",
            "headers",
            "secrets",
            "metadata",
            "read_seq",
            "draining_since",
            "ended_seq",
            "trimmed_seq",
            "begin_seq",
            "trimmed_attempt",
            "created_at",
            "updated_at",
            "deleted_at",
        ],
    },
    Table {
        name: "consumer",
        key: "endpoint, name",
        columns: &[
            "endpoint",
            "name",
            "committed",
            "handed",
            "holder",
            "leased_until",
            "idle_ms",
            "max_deliver",
            "seen_at",
            "expires_at",
            "created_at",
        ],
    },
    Table {
        name: "recovery",
        key: "task",
        columns: &[
            "task",
            "kind",
            "app",
            "endpoint",
            "since",
            "until",
            "next_seq",
            "end_seq",
            "updated_at",
            "done",
        ],
    },
    Table {
        name: "message",
        key: "key",
        columns: &[
            "key",
            "created_at",
            "salt",
            "event_type",
            "channels",
            "tags",
            "event_id",
            "content_type",
            "deliver_at",
            "payload_expires_at",
            "endpoints",
            "seqs",
            "payload",
        ],
    },
    Table {
        name: "delivery",
        key: "key",
        columns: &["key", "endpoint", "message", "state", "due_at", "trigger", "attempts", "last_attempt"],
    },
    Table {
        name: "attempt",
        key: "key",
        columns: &[
            "key",
            "salt",
            "message",
            "seq",
            "previous",
            "started_at",
            "trigger",
            "url",
            "status",
            "class",
            "detail",
            "timings",
            "body",
        ],
    },
    Table { name: "event_id", key: "app, event_id", columns: &["app", "event_id", "message"] },
    Table {
        name: "idempotency",
        key: "app, key",
        columns: &["app", "key", "message", "request_hash", "created_at"],
    },
    Table {
        name: "consumer_item",
        key: "endpoint, consumer, seq",
        columns: &["endpoint", "consumer", "seq", "due_at", "holder", "delivered"],
    },
];
