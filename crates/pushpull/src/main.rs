//! One program that joins applications both ways, by webhook and by API, over one durable log.
fn main() {}
