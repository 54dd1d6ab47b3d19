//! One HTTP request made for a delivery, and what came back.

use std::time::Duration;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::Timestamp;

/// Most bytes of an answer's body that are read and kept: 64 KiB.
///
/// Enough for any error page a person would read; a receiver can make us hold no more than this
/// for each request in flight.
pub const RESPONSE_BODY_MAX: usize = 64 * 1024;

/// Why an attempt got no usable answer.
///
/// The numbers are what is stored: they are never reused, and new ones go at the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[repr(u8)]
pub enum ErrorClass {
    /// The name did not resolve.
    Dns = 1,
    /// An address that the name resolved to may not be called (the egress guard).
    BlockedAddress = 2,
    /// The receiver's machine refused the connection, or no route led to it.
    ConnectRefused = 3,
    /// No connection within the connect deadline (DNS and TLS included).
    ConnectTimeout = 4,
    /// The TLS handshake failed: certificate expired, self-signed, for another name, old version.
    Tls = 5,
    /// No complete answer within the attempt's deadline.
    Timeout = 6,
    /// The receiver closed or reset the connection before a complete answer.
    ConnectionClosed = 7,
    /// The answer is not HTTP: bad status line, header, chunk size, or too large a head.
    Protocol = 8,
    /// The answer is complete but its status is not 2xx.
    Status = 9,
    /// A fault of ours: no descriptor left, no request could be built. Never counts against the endpoint.
    Internal = 10,
}

impl ErrorClass {
    /// Every class, in the order of its number.
    pub const ALL: [Self; 10] = [
        Self::Dns,
        Self::BlockedAddress,
        Self::ConnectRefused,
        Self::ConnectTimeout,
        Self::Tls,
        Self::Timeout,
        Self::ConnectionClosed,
        Self::Protocol,
        Self::Status,
        Self::Internal,
    ];

    /// The class with this stored number.
    pub fn from_number(number: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|class| *class as u8 == number)
    }

    /// The word for it in JSON, logs and metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Dns => "dns",
            Self::BlockedAddress => "blocked_address",
            Self::ConnectRefused => "connect_refused",
            Self::ConnectTimeout => "connect_timeout",
            Self::Tls => "tls",
            Self::Timeout => "timeout",
            Self::ConnectionClosed => "connection_closed",
            Self::Protocol => "protocol",
            Self::Status => "status",
            Self::Internal => "internal",
        }
    }
}

/// Where the time of an attempt went. `None`: that step did not happen (a reused connection has
/// no DNS, connect and TLS; a failed one no first byte).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Timings {
    /// From when the attempt was due until it started: waiting for a free place or a rate limit.
    pub wait: Duration,
    /// Resolving the name.
    pub dns: Option<Duration>,
    /// The TCP handshake.
    pub connect: Option<Duration>,
    /// The TLS handshake.
    pub tls: Option<Duration>,
    /// From the start of the attempt until the first byte of the answer.
    pub first_byte: Option<Duration>,
    /// From the start of the attempt until its end.
    pub total: Duration,
}

/// What came back, or why nothing did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// A complete answer with a 2xx status.
    Delivered {
        /// 200 to 299.
        status: u16,
        /// The answer's body, cut at [`RESPONSE_BODY_MAX`].
        body: Bytes,
    },
    /// A complete answer with another status.
    Refused {
        /// 100 to 999, not 2xx.
        status: u16,
        /// The answer's body, cut at [`RESPONSE_BODY_MAX`].
        body: Bytes,
        /// When the receiver wants to be asked again (RFC 9110 s. 10.2.3).
        retry_after: Option<Duration>,
    },
    /// No complete answer.
    Failed {
        /// What went wrong.
        class: ErrorClass,
        /// One sentence for people: which address was blocked, what the TLS library said.
        detail: String,
    },
}

impl Outcome {
    /// The same without what was answered.
    #[must_use]
    pub fn without_body(&self) -> Self {
        match self {
            Self::Delivered { status, .. } => Self::Delivered { status: *status, body: Bytes::new() },
            Self::Refused { status, retry_after, .. } => {
                Self::Refused { status: *status, body: Bytes::new(), retry_after: *retry_after }
            }
            Self::Failed { .. } => self.clone(),
        }
    }

    /// The HTTP status, if there was a complete answer.
    pub fn status(&self) -> Option<u16> {
        match self {
            Self::Delivered { status, .. } | Self::Refused { status, .. } => Some(*status),
            Self::Failed { .. } => None,
        }
    }

    /// The error class; `None` for a delivery that succeeded.
    pub fn class(&self) -> Option<ErrorClass> {
        match self {
            Self::Delivered { .. } => None,
            Self::Refused { .. } => Some(ErrorClass::Status),
            Self::Failed { class, .. } => Some(*class),
        }
    }
}

/// Who asked for an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Trigger {
    /// The schedule.
    Scheduled = 0,
    /// A person or a program, by resend, recover or replay.
    Manual = 1,
}

/// One attempt as it is recorded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attempt {
    /// When it started.
    pub started_at: Timestamp,
    /// Who asked for it.
    pub trigger: Trigger,
    /// What came back.
    pub outcome: Outcome,
    /// Where the time went.
    pub timings: Timings,
}
