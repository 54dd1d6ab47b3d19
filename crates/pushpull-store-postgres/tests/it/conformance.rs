//! The suite that each backend passes.

use crate::support::InDatabase;

pushpull_store::conformance!(InDatabase::new());
