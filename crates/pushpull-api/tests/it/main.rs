//! Every route, in process, over a real store.
#![expect(
    clippy::unwrap_used,
    reason = "a test may fail by panicking; clippy sees only `#[test]` functions as tests"
)]

mod api;
mod audit;
mod changes;
mod consumers;
mod destinations;
mod feed;
mod idempotency;
mod lists;
mod messages;
mod modes;
mod openapi;
mod poller_tokens;
mod problems;
mod routes;
mod scopes;
mod story;
mod strangers;
mod tokens;
