//! What may be asked of storage: traits, one error type, no SQL; and the log seen through them.
