//! Reads a queue as a consumer:   FEED=.../poller/ENDPOINT/consumer/NAME KEY=... reader
//!
//! With the standard library and `serde_json`; any HTTP client will do in place of `get`.
#![allow(
    clippy::disallowed_methods,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "it is a program of its own"
)]

use std::{
    env,
    error::Error,
    io::{self, Read, Write},
    net::TcpStream,
    time::Duration,
};

use serde_json::Value;

/// Your work. After a crash it may see a message again: with the same id.
fn handle(message: &Value) {
    println!("{} {}", message["seq"], message["id"].as_str().unwrap_or_default());
}

fn main() -> Result<(), Box<dyn Error>> {
    let (feed, key) = (env::var("FEED")?, env::var("KEY")?);
    let mut iterator = String::new();
    loop {
        // An empty iterator is none. Sending one says that everything before it was handled.
        let url = format!("{feed}?limit=50&wait=30&iterator={iterator}");
        // No answer at all is as good as one that says: not now.
        let (status, body) = get(&url, &key).unwrap_or((503, Value::Null));
        match status {
            200 => {
                if let Some(gap) = body.get("gap") {
                    eprintln!("missed: {gap}"); // retention was faster than this reader
                }
                body["data"].as_array().into_iter().flatten().for_each(handle);
                iterator = body["iterator"].as_str().unwrap_or_default().into();
            }
            400 if body["code"] == "invalid_iterator" => {
                iterator.clear(); // the server goes on from the place that it keeps
            }
            429 | 500.. => std::thread::sleep(Duration::from_secs(1)),
            _ => return Err(format!("{status} {body}").into()),
        }
    }
}

/// Status and JSON of what is answered to a GET over plain HTTP.
fn get(url: &str, key: &str) -> io::Result<(u16, Value)> {
    let cut = || io::Error::other("cut off");
    let (host, path) = url.strip_prefix("http://").and_then(|rest| rest.split_once('/')).ok_or_else(cut)?;
    let mut stream = TcpStream::connect(host)?;
    stream.set_read_timeout(Some(Duration::from_mins(1)))?;
    // HTTP/1.0: one answer, not in chunks, and the end of the connection is its end.
    write!(stream, "GET /{path} HTTP/1.0\r\nhost: {host}\r\nauthorization: Bearer {key}\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let (head, body) = answer.split_once("\r\n\r\n").ok_or_else(cut)?;
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).ok_or_else(cut)?;
    Ok((status, serde_json::from_str(body)?))
}
