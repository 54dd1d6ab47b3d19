//! Which server is called, and what is refused before any is.

use serde_json::json;

use crate::site::Site;
use crate::support::{Home, call, text};

#[test]
fn what_cannot_be_meant_is_a_usage_error() {
    let home = Home::new();
    for (args, word) in [
        (&["listen", "http://10.0.0.1/"][..], "--allow-external"),
        (&["listen", "https://example.com/"], "--allow-external"),
        (&["listen", "nothing"], "is no target"),
        (&["listen", "3000", "--endpoint", "e", "--events", "a"], "cannot be used with"),
        (&["listen", "3000", "--exit-after", "0"], "--exit-after"),
        (&["listen", "3000", "--consumer", "a b"], "--consumer"),
        (&["listen", "3000", "--server", "ftp://a"], "--server"),
        // The settings of this home let the server take any port.
        (&["listen", "3000", "--key-file", "/dev/null"], "--server URL"),
        (&["listen", "3000", "--server", "http://127.0.0.1:1"], "--key-file"),
        (&["trigger", "a b"], "TYPE"),
        (&["trigger", "a", "--set", "x"], "PATH=VALUE"),
    ] {
        let complaint = home.fails(args, 2);
        assert!(complaint.contains(word), "{args:?}: {complaint}");
    }
}

#[test]
fn the_admin_key_of_this_machine_goes_to_no_other() {
    let home = Home::new();
    std::fs::create_dir(home.data()).unwrap();
    let key = home.data().join("admin.key");
    std::fs::write(&key, "a key").unwrap();
    // An address that is not loopback, and leads here all the same.
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let server = format!("http://0.0.0.0:{}", listener.local_addr().unwrap().port());
    let verbs = [&["listen", "3000"][..], &["trigger", "svix.ping"], &["audit", "--endpoint", "e"]];
    for verb in verbs {
        let complaint = home.fails(&[verb, &["--server", &server]].concat(), 2);
        assert!(complaint.contains("name its key with --key-file"), "{verb:?}: {complaint}");
        let called = listener.accept().unwrap_err();
        assert_eq!(called.kind(), std::io::ErrorKind::WouldBlock, "{verb:?} called it");
    }
    // With a key of its own it is called; here nobody listens.
    for verb in verbs {
        let args = [verb, &["--server", "http://0.0.0.0:1", "--key-file", key.to_str().unwrap()]].concat();
        home.fails(&args, 7);
    }
}

#[test]
fn a_server_that_cannot_be_reached_at_the_start_is_told_by_the_exit_code() {
    let home = Home::new();
    std::fs::write(home.path("key"), "a key").unwrap();
    let key = home.path("key");
    for verb in [["listen", "3000"], ["trigger", "svix.ping"]] {
        let args =
            [&verb[..], &["--server", "http://127.0.0.1:1", "--key-file", key.to_str().unwrap()]].concat();
        let complaint = home.fails(&args, 7);
        assert!(complaint.contains("no server answers at http://127.0.0.1:1/"), "{complaint}");
    }
}

#[test]
fn what_the_server_refuses_is_told_in_its_words() {
    let site = Site::start();
    let fails = |args: &[&str], code: i32, word: &str| {
        let output = site.command(args).output().unwrap();
        let complaint = text(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{args:?}: {complaint}");
        assert!(complaint.contains(word), "{args:?}: {complaint}");
    };
    fails(&["listen", "9", "--app", "other"], 1, "there is no application other");
    fails(&["listen", "9", "--endpoint", "none"], 1, "there is no endpoint none in acme");
    fails(&["listen", "9", "--from", "tomorrow"], 2, "from must be");
    let wrong = site.home.path("wrong");
    std::fs::write(&wrong, "not a key").unwrap();
    fails(&["listen", "9", "--key-file", wrong.to_str().unwrap()], 1, "the server answers 401");
    let pair = json!({"uid": "pair", "mode": "pull", "secret": ED25519});
    site.post("/app/acme/endpoint", &pair);
    fails(&["listen", "9", "--endpoint", "pair"], 1, "ed25519");
    site.post("/app/acme/endpoint", &json!({"uid": "listen-x", "url": "https://receiver.invalid/"}));
    fails(&["listen", "9", "--consumer", "x"], 1, "not one of `pushpull listen`");
    site.post("/app", &json!({"name": "second"}));
    fails(&["listen", "9"], 2, "--app");
}

/// A pair that is known here alone.
const ED25519: &str =
    "whsk_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA7aie8zrakLWKjqNAqbw1zZTIVdx3iQ6Y6wEihi1naKQ==";

#[test]
fn a_server_that_speaks_tls_is_called_with_its_certificate_checked() {
    let home = Home::new();
    let (served, cert_file, _) = home.serve_tls();
    let url = format!("https://localhost:{}", served.address().port());

    let trusting = |ca: bool| {
        let mut command = home.command(&["trigger", "svix.ping", "--server", &url]);
        if ca {
            command.env("PUSHPULL_CA_FILE", &cert_file);
        }
        command.output().unwrap()
    };
    let output = trusting(true);
    assert!(text(&output.stderr).contains("there is no application yet"), "{output:?}");
    let output = trusting(false);
    assert_eq!(output.status.code(), Some(7));
    assert!(text(&output.stderr).contains("TLS handshake failed"), "{output:?}");
}

#[test]
fn the_settings_of_a_server_on_this_machine_say_where_it_is() {
    let mut site = Site::start();
    site.stop();
    site.start_again();
    let served = site.served.as_ref().unwrap();
    let mut command = site.home.command(&["trigger", "svix.ping"]);
    command.env("PUSHPULL_LISTEN", served.address().to_string());
    assert!(command.output().unwrap().status.success());
    let health = call(served.address(), "GET", "/api/v1/health", None, "");
    assert!(health.starts_with("HTTP/1.1 204"), "{health}");
}
