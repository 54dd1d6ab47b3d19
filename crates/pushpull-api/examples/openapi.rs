//! Prints the `OpenAPI` document: `cargo run -p pushpull-api --example openapi > docs/openapi.json`.
#![expect(clippy::print_stdout, reason = "that is what it is for")]

fn main() {
    println!("{:#}", pushpull_api::openapi::document(env!("CARGO_PKG_VERSION")));
}
