//! Webhooks out: dispatcher, attempt, outcome, retry.
