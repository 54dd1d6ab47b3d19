//! The dispatcher against real receivers, over a real store.

mod delivery;
mod hostile;
mod support;
