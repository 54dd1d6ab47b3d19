//! The only way out: address guard, resolver, pooled connections, limits on time and size.
//!
//! Role: whatever pushpull sends to an address that a user named goes through [`Client::send`].
//!
//! Invariant: a packet leaves only to an address that [`Policy::check_ip`] let pass, decided on the very
//! address that is dialled, for each new connection, after the last lookup. Every wait has one deadline and
//! every buffer a bound, whatever the other side sends.
//!
//! Absent on purpose: the store, deliveries, retries over time, signatures. Redirects are answers, not
//! orders; proxy variables of the environment are not read; bodies are not decompressed. The machine's
//! clock is not read: durations come from tokio's, which tests can hold still.

pub mod client;
mod dial;
mod fault;
mod link;
pub mod policy;
mod pool;
pub mod resolve;
mod stream;
pub mod target;
mod tls;

pub use client::{Answer, Client, Config, Limits, Request};
pub use fault::Failure;
pub use policy::{Forbidden, Plain, Policy, Rule};
pub use resolve::{Dns, Resolve, ResolveError};
pub use target::{Host, Scheme, Target, TargetError};
pub use tls::{SetupError, client_config};
