use clap::{Args, Command, FromArgMatches};

use super::*;

/// Gathers what is given as flags, in the environment and in a file, and parses it.
fn load(flags: &[&str], environment: &[(&str, &str)], file: Option<&str>) -> Result<(Raw, Config), Problems> {
    let dir = tempfile::tempdir().unwrap();
    let mut flags: Vec<String> = flags.iter().map(ToString::to_string).collect();
    if let Some(text) = file {
        let path = dir.path().join("pushpull.toml");
        std::fs::write(&path, text).unwrap();
        flags.extend(["--config".into(), path.display().to_string()]);
    }
    let command = Flags::<true>::augment_args(Command::new("test").no_binary_name(true));
    let flags = Flags::<true>::from_arg_matches(&command.get_matches_from(flags)).unwrap();
    let environment = environment.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    let raw = Raw::gather(&flags, environment)?;
    let config = Config::parse(&raw)?;
    Ok((raw, config))
}

fn config(flags: &[&str], environment: &[(&str, &str)], file: Option<&str>) -> Config {
    load(flags, environment, file).unwrap().1
}

/// What is said of wrong settings, without the name of the temporary directory.
fn refusal(flags: &[&str], environment: &[(&str, &str)], file: Option<&str>) -> String {
    let problems = load(flags, environment, file).expect_err("these settings are wrong").to_string();
    let lines = problems.lines().map(|line| match line.split_once("pushpull.toml") {
        Some((before, after)) => {
            let start = before.rfind([' ', '(']).map_or(0, |at| at + 1);
            format!("{}pushpull.toml{after}", &before[..start])
        }
        None => line.to_owned(),
    });
    lines.map(|line| line.trim_start().to_owned()).collect::<Vec<_>>().join("\n")
}

#[test]
fn without_any_settings_the_defaults_hold() {
    let config = config(&[], &[], None);
    assert_eq!(config.listen, "127.0.0.1:8071".parse().unwrap());
    assert_eq!(config.place.data, PathBuf::from("./pushpull-data"));
    assert_eq!(config.place.master_key_file, PathBuf::from("./pushpull-data/master.key"));
    assert_eq!(config.retry_schedule, RetrySchedule::default());
    assert_eq!(config.payload_max, 1 << 20);
    assert_eq!(config.policy, Policy { allow: Vec::new(), plain_http: Plain::AllowListOnly });
    assert_eq!(config.retention.messages, Duration::from_hours(90 * 24));
    assert_eq!(config.origins, Origins::None);
    assert!(config.tls.is_none() && config.jwt_secret.is_none() && !config.metrics_open);
}

#[test]
fn a_flag_wins_over_the_environment_and_that_over_the_file() {
    let file = "listen = \"127.0.0.1:1\"\ndata = \"/file\"\n\npayload_max = 3";
    let environment = [("PUSHPULL_LISTEN", "127.0.0.1:2"), ("PUSHPULL_DATA", "/environment")];
    let (raw, config) = load(&["--listen", "127.0.0.1:4"], &environment, Some(file)).unwrap();
    assert_eq!(config.listen.port(), 4);
    assert_eq!(config.place.data, PathBuf::from("/environment"));
    assert_eq!(config.admin_key_file, PathBuf::from("/environment/admin.key"));
    assert_eq!(config.payload_max, 3);

    let origin = |setting| raw.value(setting).unwrap().origin.clone();
    assert_eq!(origin(&settings::LISTEN), raw::Origin::Flag("listen".into()));
    assert_eq!(origin(&settings::DATA), raw::Origin::Environment("PUSHPULL_DATA".into()));
    assert!(matches!(origin(&settings::PAYLOAD_MAX), raw::Origin::File { line: 4, .. }));
    assert_eq!(origin(&settings::LOG), raw::Origin::Default);
}

#[test]
fn lists_and_switches_have_their_own_form_in_the_file() {
    let file = "egress_allow = [\"10.0.0.0/8\", \"::1\"]\nretry_schedule = []\nhttps_only = false\n\
                cors_origins = [\"https://a.example\", \"http://localhost:3000\"]";
    let config = config(&[], &[], Some(file));
    assert_eq!(config.policy.allow, ["10.0.0.0/8".parse().unwrap(), "::1/128".parse().unwrap()]);
    assert_eq!(config.policy.plain_http, Plain::Allowed);
    assert_eq!(config.origins, Origins::parse("https://a.example,http://localhost:3000").unwrap());
    assert!(config.retry_schedule.waits().is_empty());
}

#[test]
fn an_empty_variable_is_no_value_but_for_lists() {
    let config = config(&[], &[("PUSHPULL_LISTEN", ""), ("PUSHPULL_RETRY_SCHEDULE", "")], None);
    assert_eq!(config.listen.port(), 8071);
    assert!(config.retry_schedule.waits().is_empty());
}

#[test]
fn https_only_set_explicitly_holds_for_own_networks_too() {
    let allow = ("PUSHPULL_EGRESS_ALLOW", "10.0.0.0/8");
    assert_eq!(config(&[], &[allow], None).policy.plain_http, Plain::AllowListOnly);
    assert_eq!(config(&[], &[allow, ("PUSHPULL_HTTPS_ONLY", "true")], None).policy.plain_http, Plain::Never);
}

#[test]
fn variables_that_kubernetes_makes_for_a_service_are_passed_over() {
    let service = [("PUSHPULL_PORT", "tcp://10.0.0.1:8071"), ("PUSHPULL_SERVICE_HOST", "10.0.0.1")];
    assert_eq!(config(&[], &service, None).listen.port(), 8071);
}

#[test]
fn a_secret_is_read_from_its_file_without_the_line_end() {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), "a secret\n").unwrap();
    let config = config(&["--jwt-secret-file", file.path().to_str().unwrap()], &[], None);
    assert_eq!(&*config.jwt_secret.unwrap().0, b"a secret");
}

#[test]
fn unknown_names_are_refused_with_what_was_probably_meant() {
    insta::assert_snapshot!(refusal(
        &[],
        &[("PUSHPULL_RETRY_SHEDULE", "5s"), ("PUSHPULL_COLOUR", "red"), ("HOME", "/root")],
        Some("[server]\nlisten = \"127.0.0.1:1\"\n")
    ), @r#"
    unknown environment variable `PUSHPULL_RETRY_SHEDULE`: did you mean `PUSHPULL_RETRY_SCHEDULE`?
    unknown environment variable `PUSHPULL_COLOUR`: `pushpull config show` lists all there are
    pushpull.toml line 1: unknown key `server`: `pushpull config show` lists all there are
    "#);
    insta::assert_snapshot!(refusal(&[], &[], Some("lisen = \"a\"\njwt_secret = \"a\"\npayload_max = 1.5")), @r#"
    pushpull.toml line 1: unknown key `lisen`: did you mean `listen`?
    pushpull.toml line 2: unknown key `jwt_secret`: did you mean `jwt_secret_file`?
    pushpull.toml line 3: payload_max cannot be a float: write text, a number, true, false or a list of texts
    "#);
    insta::assert_snapshot!(refusal(&[], &[], Some("listen = ")), @r#"
    pushpull.toml line 1: string values must be quoted, expected literal string
    "#);
}

#[test]
fn wrong_values_are_all_named_with_their_origin_and_what_they_must_look_like() {
    insta::assert_snapshot!(refusal(
        &["--listen", "localhost", "--tls-cert", "a.pem", "--log-format", "xml", "--log", "a=b=c"],
        &[
            ("PUSHPULL_RETRY_SCHEDULE", "5s,soon"),
            ("PUSHPULL_EGRESS_ALLOW", "10.0.0.0/8,home"),
            ("PUSHPULL_HTTPS_ONLY", "yes"),
            ("PUSHPULL_CORS_ORIGINS", "https://a.example/app"),
            ("PUSHPULL_SIGNATURE_TYPE", "rsa"),
            ("PUSHPULL_PUBLIC_URL", "hooks.example.com"),
            ("PUSHPULL_JWT_SECRET_FILE", "/nowhere/secret"),
        ],
        Some("payload_max = \"1GB\"\nretention_messages = \"90\"\ndata = \"\"")
    ), @r#"
    data: `` (from pushpull.toml line 3) must name a file or directory
    listen: `localhost` (from --listen) must be an address and a port, such as 127.0.0.1:8071 or [::]:8071
    public_url: `hooks.example.com` (from PUSHPULL_PUBLIC_URL) must be an http or https URL without query, such as https://hooks.example.com
    tls_cert: `a.pem` (from --tls-cert) needs tls_key beside it
    jwt_secret_file: `/nowhere/secret` (from PUSHPULL_JWT_SECRET_FILE) cannot be read: No such file or directory (os error 2)
    egress_allow: `10.0.0.0/8,home` (from PUSHPULL_EGRESS_ALLOW) must be networks such as 10.0.0.0/8,fd00::/8: `home` is none
    https_only: `yes` (from PUSHPULL_HTTPS_ONLY) must be true or false
    signature_type: `rsa` (from PUSHPULL_SIGNATURE_TYPE) must be hmac256 or ed25519
    retry_schedule: `5s,soon` (from PUSHPULL_RETRY_SCHEDULE) must be waits such as 5s,5m,30m, or empty: `soon` is no wait: write `5s`, `30m`, `2h` or `1d`
    cors_origins: `https://a.example/app` (from PUSHPULL_CORS_ORIGINS) must be origins such as https://app.example.com,http://localhost:3000, or *: `https://a.example/app` is no origin: write `https://a.example`
    payload_max: `1GB` (from pushpull.toml line 1) must be a number of bytes up to 128MiB, such as 1048576, 256KiB or 1MiB
    retention_messages: `90` (from pushpull.toml line 2) must be a whole number with ms, s, m, h or d, such as 25s or 90d
    log: `a=b=c` (from --log) must be a level such as info, or levels by crate: error parsing level filter: expected one of "off", "error", "warn", "info", "debug", "trace", or a number 0-5
    log_format: `xml` (from --log-format) must be text or json
    "#);
    insta::assert_snapshot!(refusal(&["--config", "/nowhere/pushpull.toml"], &[], None), @r#"
    config: pushpull.toml (from --config): No such file or directory (os error 2)
    "#);
}

#[test]
fn no_part_of_a_password_is_shown() {
    for (text, wanted) in [
        ("postgres://me:secret@db1:5432,db2/pushpull", "postgres://me:(hidden)@db1:5432,db2/pushpull"),
        ("postgres://me:se:c%40ret@db/pushpull", "postgres://me:(hidden)@db/pushpull"),
        ("postgres://me:se@cr/et@db/pushpull?a=b", "postgres://me:(hidden)@db/pushpull?a=b"),
        ("postgres://me@corp:secret@db/pushpull", "postgres://me@corp:(hidden)@db/pushpull"),
        ("postgres://me@db/p?password=se@cret&a=b", "postgres://me@db/p?password=(hidden)&a=b"),
        ("postgres://me:one@db/p?password=two@three", "postgres://me:(hidden)@db/p?password=(hidden)"),
        ("postgres://me:one&password=two@db/p", "postgres://me:(hidden)@"),
        ("postgres://db/p?a=b&password=secret", "postgres://db/p?a=b&password=(hidden)"),
        ("postgres://me@db:5432/p?a=b", "postgres://me@db:5432/p?a=b"),
        ("postgres://db:5432/p", "postgres://db:5432/p"),
        ("https://a.example.com,https://b.example.com", "https://a.example.com,https://b.example.com"),
        ("./pushpull-data", "./pushpull-data"),
    ] {
        assert_eq!(shown(text), wanted);
    }
}
