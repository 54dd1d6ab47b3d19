use std::{
    io::{BufRead, BufReader},
    process::{Command, Stdio},
};

use rustix::process::{Pid, Signal, kill_process};

use crate::support::{Home, text};

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
        "done   203 messages, 209 deliveries, ",
        " 0 lost, 0 repeated, 0 badly signed ",
    ] {
        assert!(story.contains(line), "{line}: {story}");
    }
    assert!(!home.data().exists());
}

#[test]
fn the_demo_stays_up_and_its_next_commands_work() {
    let home = Home::new();
    let mut child = home.command(&["demo"]).stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
    let mut next = Vec::new();
    for line in lines.by_ref() {
        if let Some((_, command)) = line.split_once("curl ") {
            next.push(format!("curl --silent --show-error --fail {command}"));
        } else if line.contains("Ctrl-C") {
            break;
        }
    }
    assert_eq!(next.len(), 3);
    for command in next {
        let output = Command::new("sh").args(["-c", &command]).output().unwrap();
        assert!(output.status.success(), "{command}: {}", text(&output.stderr));
    }
    assert!(lines.next().unwrap().contains("-> good   [200]"));
    kill_process(Pid::from_child(&child), Signal::INT).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(0));
}
