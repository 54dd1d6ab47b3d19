use std::{
    io::{Read, Write},
    net::{TcpListener, TcpStream},
    os::unix::fs::PermissionsExt,
};

use rustix::process::Signal;

use crate::support::{Home, Served};

#[test]
fn one_ready_line_is_printed_and_sigterm_ends_it_with_0() {
    let home = Home::new();
    let mut served = home.serve();
    assert!(served.url.starts_with("http://127.0.0.1:"), "{}", served.url);
    served.signal(Signal::TERM);
    let (status, out, _) = served.wait();
    assert_eq!((status.code(), out.as_str()), (Some(0), ""));
}

#[test]
fn the_first_start_makes_keys_for_this_user_alone_and_shows_the_admin_key_once() {
    let home = Home::new();
    let said = home.serve().stop();
    let key = std::fs::read_to_string(home.data().join("admin.key")).unwrap();
    assert!(said.contains(&format!("admin key: {key}")), "{said}");
    assert!(said.contains("admin.key"), "{said}");
    let store = (!pushpull_testkit::on_postgres()).then_some("pushpull.db");
    for file in ["admin.key", "master.key"].into_iter().chain(store) {
        let mode = std::fs::metadata(home.data().join(file)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{file}");
    }
    let again = home.serve().stop();
    assert!(!again.contains(key.trim()), "{again}");
}

#[test]
fn a_second_server_on_the_same_data_is_refused_by_name() {
    let home = Home::new();
    let served = home.serve();
    let complaint = home.fails(&["serve"], 1);
    assert!(complaint.contains(&home.data().display().to_string()), "{complaint}");
    assert!(complaint.contains(&format!("process id {}", served.pid())), "{complaint}");
}

#[test]
fn a_server_that_was_killed_leaves_no_lock_behind() {
    let home = Home::new();
    let mut served = home.serve();
    served.signal(Signal::KILL);
    served.wait();
    home.serve().stop();
}

#[test]
fn a_port_in_use_is_named_and_nothing_is_made() {
    let home = Home::new();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let complaint = home.fails(&["serve", "--listen", &address], 1);
    assert!(complaint.contains(&format!("listen on {address}")), "{complaint}");
    assert!(!home.data().join("pushpull.db").exists());
    assert!(!home.data().join("admin.key").exists());
}

#[test]
fn wrong_settings_end_it_with_2_before_anything_is_made() {
    let home = Home::new();
    let complaint = home.fails(&["serve", "--retry-schedule", "soon"], 2);
    assert!(complaint.contains("retry_schedule: `soon` (from --retry-schedule)"), "{complaint}");
    assert!(!home.data().exists());
}

#[test]
fn a_store_without_its_master_key_is_not_opened_with_another() {
    let home = Home::new();
    home.serve().stop();
    std::fs::remove_file(home.data().join("master.key")).unwrap();
    let complaint = home.fails(&["serve"], 1);
    assert!(complaint.contains("master.key is missing"), "{complaint}");
    assert!(!home.data().join("master.key").exists());
}

#[test]
fn the_key_of_the_admin_key_file_is_taken_and_the_one_before_it_no_more() {
    let home = Home::new();
    let file = home.path("admin");
    let serve = |key: &str| {
        std::fs::write(&file, format!("{key}\n")).unwrap();
        let mut command = home.command(&["serve"]);
        command.env("PUSHPULL_ADMIN_KEY_FILE", &file);
        Served::start(command)
    };
    let (first, second) = ("first-key-of-the-operator", "second-key-of-the-operator");
    let served = serve(first);
    assert!(served.get("/metrics", Some(first)).starts_with("HTTP/1.1 200"));
    served.stop();
    let served = serve(second);
    // On PostgreSQL another node may have it in its file still.
    let status = if pushpull_testkit::on_postgres() { "HTTP/1.1 200" } else { "HTTP/1.1 401" };
    assert!(served.get("/metrics", Some(first)).starts_with(status));
    assert!(served.get("/metrics", Some(second)).starts_with("HTTP/1.1 200"));
    served.stop();
    std::fs::write(&file, "too short").unwrap();
    let complaint = home.fails(&["serve", "--admin-key-file", file.to_str().unwrap()], 1);
    assert!(complaint.contains("20 to 200 visible characters"), "{complaint}");
}

#[test]
fn metrics_take_a_key_unless_they_are_open() {
    let home = Home::new();
    let served = home.serve();
    let admin = std::fs::read_to_string(home.data().join("admin.key")).unwrap();
    assert!(served.get("/metrics", None).starts_with("HTTP/1.1 401"));
    assert!(served.get("/metrics", Some("ppk_invented")).starts_with("HTTP/1.1 401"));
    let page = served.get("/metrics", Some(admin.trim()));
    for name in [
        "pushpull_build_info{version=",
        "pushpull_messages_accepted_total 0",
        "pushpull_delivery_attempts_total{outcome=\"delivered\"} 0",
        "pushpull_delivery_attempt_duration_seconds_count 0",
        "pushpull_delivery_end_to_end_seconds_count 0",
        "pushpull_deliveries_pending 0",
        "pushpull_delivery_oldest_pending_age_seconds 0",
        "pushpull_dead_letters 0",
        "pushpull_consumers_behind 0",
        "pushpull_store_bytes ",
    ] {
        assert!(page.contains(&format!("\n{name}")), "{name}:\n{page}");
    }
    served.stop();
    let mut command = home.command(&["serve"]);
    command.env("PUSHPULL_METRICS_OPEN", "true");
    assert!(Served::start(command).get("/metrics", None).starts_with("HTTP/1.1 200"));
}

#[test]
fn an_idle_connection_is_closed_by_a_stop_at_once() {
    let home = Home::new();
    let served = home.serve();
    let mut stream = TcpStream::connect(served.address()).unwrap();
    stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: here\r\n\r\n").unwrap();
    let mut first = [0; 12];
    stream.read_exact(&mut first).unwrap();
    assert_eq!(&first, b"HTTP/1.1 401");
    // Stopping waits 25 s at most for what is under way; an idle connection is not.
    served.stop();
    let mut rest = Vec::new();
    stream.read_to_end(&mut rest).unwrap();
}

/// A request whose body is waited for: its handler is at work.
fn begin_request(home: &Home, served: &Served, body: &str) -> TcpStream {
    let admin = std::fs::read_to_string(home.data().join("admin.key")).unwrap();
    let mut stream = TcpStream::connect(served.address()).unwrap();
    write!(
        stream,
        "POST /api/v1/app HTTP/1.1\r\nHost: here\r\nAuthorization: Bearer {}\r\nExpect: 100-continue\r\n\
         Content-Type: application/json\r\nContent-Length: {}\r\n\r\n",
        admin.trim(),
        body.len()
    )
    .unwrap();
    let mut go_on = [0; 25];
    stream.read_exact(&mut go_on).unwrap();
    assert_eq!(&go_on, b"HTTP/1.1 100 Continue\r\n\r\n");
    stream
}

#[test]
fn a_request_under_way_is_answered_before_a_stop_ends() {
    let home = Home::new();
    let mut served = home.serve();
    let body = r#"{"name":"in time"}"#;
    let mut stream = begin_request(&home, &served, body);
    served.signal(Signal::TERM);
    // Until nobody is let in any more.
    while TcpStream::connect(served.address()).is_ok() {}
    stream.write_all(body.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 201"), "{answer}");
    let (status, _, said) = served.wait();
    assert_eq!(status.code(), Some(0), "{said}");
    assert!(!said.contains("cut off"), "{said}");
}

#[test]
fn a_second_signal_ends_it_at_once() {
    let home = Home::new();
    let mut served = home.serve();
    let _waiting = begin_request(&home, &served, "never sent");
    served.signal(Signal::TERM);
    served.signal(Signal::INT);
    let (status, _, said) = served.wait();
    assert_eq!(status.code(), Some(1), "{said}");
}

/// Closing on a client that is still sending would reset the connection, and the answer with it.
#[test]
fn a_client_that_sends_too_much_all_the_same_reads_the_answer() {
    const LENGTH: usize = 3 << 20;
    let home = Home::new();
    let served = home.serve();
    let key = std::fs::read_to_string(home.data().join("admin.key")).unwrap();
    let address = served.url.strip_prefix("http://").unwrap();
    for _ in 0..20 {
        let mut stream = TcpStream::connect(address).unwrap();
        write!(
            stream,
            "POST /api/v1/app/any/msg HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {}\r\ncontent-length: {LENGTH}\r\n\r\n",
            key.trim()
        )
        .unwrap();
        stream.write_all(&vec![b' '; LENGTH]).unwrap();
        let mut answer = [0; 12];
        stream.read_exact(&mut answer).unwrap();
        assert_eq!(std::str::from_utf8(&answer).unwrap(), "HTTP/1.1 413");
    }
    served.stop();
}
