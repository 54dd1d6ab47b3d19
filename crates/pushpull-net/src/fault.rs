//! What went wrong, in the classes that an attempt records.

use std::{error::Error, io};

use pushpull_domain::attempt::{ErrorClass, Timings};

/// No answer, or none that is complete.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{detail}")]
pub struct Failure {
    /// What kind of failure it is.
    pub class: ErrorClass,
    /// One sentence for people: which address was blocked, what the TLS library said.
    pub detail: String,
    /// How far it came, and when. `wait` is zero: only the caller knows it.
    pub timings: Timings,
}

/// A [`Failure`] before its times are known.
#[derive(Debug)]
pub(crate) struct Fault {
    pub(crate) class: ErrorClass,
    pub(crate) detail: String,
}

impl Fault {
    pub(crate) fn new(class: ErrorClass, detail: impl Into<String>) -> Self {
        Self { class, detail: detail.into() }
    }

    /// A TCP connect that failed.
    pub(crate) fn connect(error: &io::Error) -> Self {
        let class = match error.kind() {
            _ if is_local(error) => ErrorClass::Internal,
            io::ErrorKind::TimedOut => ErrorClass::ConnectTimeout,
            // Refused, reset, no route: whatever it is, nobody took the connection.
            _ => ErrorClass::ConnectRefused,
        };
        Self::new(class, error.to_string())
    }

    /// A TLS handshake that failed.
    pub(crate) fn tls(error: &io::Error) -> Self {
        let class = if is_local(error) { ErrorClass::Internal } else { ErrorClass::Tls };
        Self::new(class, format!("TLS handshake failed: {error}"))
    }

    /// An exchange of request and answer that broke.
    pub(crate) fn exchange(error: &hyper::Error) -> Self {
        let class = if error.is_parse() {
            ErrorClass::Protocol
        } else if let Some(io) = source_of::<io::Error>(error) {
            exchange_io_class(io)
        } else if error.is_user() {
            ErrorClass::Internal
        } else {
            ErrorClass::ConnectionClosed
        };
        let detail = match error.source() {
            Some(source) => format!("{error}: {source}"),
            None => error.to_string(),
        };
        Self::new(class, detail)
    }
}

/// What a broken read or write means. hyper reports a bad chunk as invalid input or data, and an answer
/// shorter than its `Content-Length` as an unexpected end.
fn exchange_io_class(error: &io::Error) -> ErrorClass {
    match error.kind() {
        _ if is_local(error) => ErrorClass::Internal,
        io::ErrorKind::InvalidInput | io::ErrorKind::InvalidData => ErrorClass::Protocol,
        _ => ErrorClass::ConnectionClosed,
    }
}

/// Whether a fault is this machine's own: no descriptor, port, memory or permission left.
fn is_local(error: &io::Error) -> bool {
    // The same numbers on every Unix; the standard library has no kind for these.
    const ENFILE: i32 = 23;
    const EMFILE: i32 = 24;
    matches!(error.raw_os_error(), Some(ENFILE | EMFILE))
        || matches!(
            error.kind(),
            io::ErrorKind::AddrNotAvailable
                | io::ErrorKind::AddrInUse
                | io::ErrorKind::OutOfMemory
                | io::ErrorKind::PermissionDenied
        )
}

fn source_of<T: Error + 'static>(error: &dyn Error) -> Option<&T> {
    let mut next = error.source();
    while let Some(source) = next {
        if let Some(found) = source.downcast_ref::<T>() {
            return Some(found);
        }
        next = source.source();
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_of_this_machine_is_not_the_receivers() {
        // Linux: no descriptor left (process, system), no port, no memory, a local firewall.
        for number in [24, 23, 99, 98, 12, 1, 13] {
            let error = io::Error::from_raw_os_error(number);
            assert_eq!(Fault::connect(&error).class, ErrorClass::Internal, "{error}");
            assert_eq!(Fault::tls(&error).class, ErrorClass::Internal, "{error}");
        }
    }

    #[test]
    fn a_connect_that_nobody_takes_is_refused() {
        // Linux: connection refused, no route to host, network unreachable, reset.
        for number in [111, 113, 101, 104] {
            let error = io::Error::from_raw_os_error(number);
            assert_eq!(Fault::connect(&error).class, ErrorClass::ConnectRefused, "{error}");
        }
        let timed_out = io::Error::from_raw_os_error(110);
        assert_eq!(Fault::connect(&timed_out).class, ErrorClass::ConnectTimeout);
    }
}
