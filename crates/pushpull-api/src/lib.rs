//! The HTTP API: every route in one table, one file a resource, one place where an error becomes an answer.
