//! The suite that each backend passes.

use crate::support::InDir;

pushpull_store::conformance!(InDir::new());
