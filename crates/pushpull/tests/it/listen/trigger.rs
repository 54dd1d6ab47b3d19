//! `pushpull trigger`.

use pushpull_testkit::Receiver;
use serde_json::{Value, json};

use crate::site::Site;
use crate::support::text;

#[tokio::test(flavor = "multi_thread")]
async fn an_example_or_a_file_is_sent_and_it_is_said_where_it_went() {
    let (site, receiver) = (Site::start(), Receiver::ok().await);
    let schema = json!({"1": {"examples": [{"id": "in_1", "customer": {"name": "Ann"}, "lines": [1, 2]}]}});
    site.post("/event-type", &json!({"name": "invoice.paid", "description": "", "schemas": schema}));
    site.post("/app/acme/endpoint", &json!({"uid": "live", "mode": "pull", "eventTypes": ["other"]}));
    let listening = site.listen(&receiver, &["--exit-after", "4"]);

    let trigger = |args: &[&str]| {
        let output = site.command(&[&["trigger"], args].concat()).output().unwrap();
        assert!(output.status.success(), "{args:?}: {}", text(&output.stderr));
        text(&output.stdout)
    };
    let said = trigger(&["invoice.paid", "--app", "acme"]);
    let id = said.split(' ').next().unwrap();
    assert_eq!(said, format!("{id} invoice.paid to acme\n  listen-listen (pull)\n"));
    trigger(&["invoice.paid", "--set", "customer.name=Bo=b", "--set", "lines.1={\"n\":null}"]);
    let file = site.home.path("invoice.json");
    std::fs::write(&file, "{ \"id\" : \"in_2\" }\n").unwrap();
    trigger(&["no.type", "--file", file.to_str().unwrap()]);
    let sent: Value = serde_json::from_str(&trigger(&["svix.ping", "--endpoint", "live", "--json"])).unwrap();
    assert_eq!(sent["endpoints"][0]["uid"], "live");
    assert_eq!(sent["endpoints"].as_array().unwrap().len(), 1, "{sent}");
    trigger(&["svix.ping"]);
    assert_eq!(listening.end().0, Some(0));
    let bodies: Vec<String> = receiver.received().iter().map(|one| text(&one.body)).collect();
    assert_eq!(
        bodies,
        [
            r#"{"id":"in_1","customer":{"name":"Ann"},"lines":[1,2]}"#,
            r#"{"id":"in_1","customer":{"name":"Bo=b"},"lines":[1,{"n":null}]}"#,
            r#"{ "id" : "in_2" }"#,
            r#"{"success":true}"#,
        ]
    );
}

#[test]
fn what_the_example_does_not_have_is_not_sent() {
    let site = Site::start();
    let schema = json!({"1": {"examples": [{"id": "in_1"}]}});
    site.post("/event-type", &json!({"name": "invoice.paid", "description": "", "schemas": schema}));
    site.post("/event-type", &json!({"name": "bare", "description": ""}));
    let broken = site.home.path("broken.json");
    std::fs::write(&broken, "{").unwrap();
    for (args, code, word) in [
        (&["invoice.paid", "--set", "total=1"][..], 2, "the example has no total"),
        (&["bare"], 1, "no example"),
        (&["unknown"], 1, "no event type unknown"),
        (&["a", "--file", broken.to_str().unwrap()], 2, "no JSON"),
        (&["svix.ping", "--endpoint", "none"], 1, "404"),
    ] {
        let output = site.command(&[&["trigger"], args].concat()).output().unwrap();
        let complaint = text(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{args:?}: {complaint}");
        assert!(complaint.contains(word), "{args:?}: {complaint}");
    }
    assert_eq!(site.get("/app/acme/msg")["data"], json!([]));
}
