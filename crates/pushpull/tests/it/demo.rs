use std::{
    io::{BufRead, BufReader},
    process::Stdio,
};

use rustix::process::{Pid, Signal, kill_process};

use crate::support::{Guarded, Home, call, text};

#[test]
fn the_demo_ends_with_everything_arrived_whatever_the_settings_say() {
    let home = Home::new();
    let mut command = home.command(&["demo", "--once"]);
    command.env("PUSHPULL_HTTPS_ONLY", "true").env("PUSHPULL_RETRY_SCHEDULE", "1d");
    let output = command.output().unwrap();
    let story = text(&output.stdout);
    assert!(output.status.success(), "{story}{}", text(&output.stderr));
    for line in [
        "-> good   [200]",
        "-> flaky  [503]",
        "-> flaky  [200]",
        "-> down   [---]",
        "attempt 3, connect refused",
        "-> down   [200]",
        "-> gone   [---]",
        "seq 3, invoice.refunded",
        "consumer catch-up has read 3 messages that gone missed, lag 0",
        "done   203 messages, 212 deliveries, ",
        " 3 read by pull, 0 lost, 0 repeated, 0 badly signed ",
    ] {
        assert!(story.contains(line), "{line}: {story}");
    }
    assert!(!home.data().exists());
}

#[test]
fn the_demo_stays_up_and_its_next_commands_work() {
    let home = Home::new();
    let mut demo = Guarded(home.command(&["demo"]).stdout(Stdio::piped()).spawn().unwrap());
    let mut lines = BufReader::new(demo.0.stdout.take().unwrap()).lines().map(Result::unwrap);
    let mut next = Vec::new();
    for line in lines.by_ref() {
        if let Some((_, command)) = line.split_once("curl ") {
            next.push(command.to_owned());
        } else if line.contains("Ctrl-C") {
            break;
        }
    }
    assert_eq!(next.len(), 4);
    for command in next {
        let answer = as_curl_would(&command);
        assert!(answer.starts_with("HTTP/1.1 20"), "{command}: {answer}");
    }
    // The flaky one is told of too, before or after.
    assert!(lines.any(|line| line.contains("-> good   [200]")));
    kill_process(Pid::from_child(&demo.0), Signal::INT).unwrap();
    assert_eq!(demo.0.wait().unwrap().code(), Some(0));
}

/// Calls what a command line of curl calls: its URL, with the headers and the data it quotes.
fn as_curl_would(command: &str) -> String {
    let (url, rest) = command.split_once(' ').unwrap();
    let (address, path) = url.strip_prefix("http://").unwrap().split_once('/').unwrap();
    let quoted = |option: &str| rest.split_once(option).and_then(|(_, rest)| rest.split('\'').next());
    let key = quoted("-H 'Authorization: Bearer ");
    let (method, body) = quoted("-d '").map_or(("GET", ""), |data| ("POST", data));
    call(address.parse().unwrap(), method, &format!("/{path}"), key, body)
}
