use crate::support::{Home, text};

fn help(args: &[&str]) -> String {
    text(&Home::new().run(args).stdout)
}

#[test]
fn help_says_what_there_is() {
    insta::assert_snapshot!("pushpull", help(&["--help"]));
    insta::assert_snapshot!("serve", help(&["serve", "--help"]));
    insta::assert_snapshot!("listen", help(&["listen", "--help"]));
    insta::assert_snapshot!("trigger", help(&["trigger", "--help"]));
    insta::assert_snapshot!("key_create", help(&["key", "create", "--help"]));
    insta::assert_snapshot!("backup", help(&["backup", "--help"]));
    insta::assert_snapshot!("restore", help(&["restore", "--help"]));
    insta::assert_snapshot!("migrate", help(&["migrate", "--help"]));
    insta::assert_snapshot!(
        "doctor",
        help(&["doctor", "--help"]).lines().take(8).collect::<Vec<_>>().join("\n")
    );
}

#[test]
fn config_show_tells_each_value_and_where_it_comes_from() {
    let home = Home::new();
    let file = home.path("pushpull.toml");
    std::fs::write(&file, "retry_schedule = [\"5s\", \"5m\"]\n").unwrap();
    let mut command = home.command(&["config", "show", "--log", "debug"]);
    command.env("PUSHPULL_CONFIG", &file).env("PUSHPULL_JWT_SECRET", "never shown");
    let output = command.output().unwrap();
    let place = file.parent().unwrap().to_str().unwrap().to_owned();
    // Columns are as wide as the name of the temporary directory: leave one blank of many.
    let shown = text(&output.stdout).replace(&place, "HOME");
    let shown = shown.lines().map(|line| {
        let cells = line.split("  ").map(str::trim).filter(|cell| !cell.is_empty());
        cells.collect::<Vec<_>>().join("  ")
    });
    insta::assert_snapshot!("config_show", shown.collect::<Vec<_>>().join("\n"));
}

#[test]
fn the_password_of_the_store_is_shown_to_nobody() {
    let home = Home::of(Some("postgres://me:pass@word@db/pushpull?sslmode=disable".to_owned()));
    for args in [&["config", "show"][..], &["config", "show", "--json"]] {
        let shown = home.ok(args);
        assert!(shown.contains("postgres://me:(hidden)@db/pushpull?sslmode=disable"), "{shown}");
        assert!(!shown.contains("word@") && !shown.contains("pass@"), "{shown}");
    }
    let refused =
        home.command(&["serve"]).env("PUSHPULL_STORE", "postgres://me:pass@db:nowhere/").output().unwrap();
    let complaint = text(&refused.stderr);
    assert!(complaint.contains("me:(hidden)@db:nowhere") && !complaint.contains("pass"), "{complaint}");
}

#[test]
fn a_wrong_verb_is_a_usage_error() {
    Home::new().fails(&["server"], 2);
    Home::new().fails(&[], 2);
}
