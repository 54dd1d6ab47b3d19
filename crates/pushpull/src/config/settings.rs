//! Every setting, once: its name, what it takes, its default, what it does.

/// One setting.
#[derive(Debug)]
pub(crate) struct Setting {
    /// Its key in the TOML file; `PUSHPULL_` and its capitals in the environment; with dashes as a flag.
    pub(crate) name: &'static str,
    /// What it takes, for the help.
    pub(crate) value: &'static str,
    /// What holds when it is not given.
    pub(crate) default: Default,
    /// What it does, in one sentence.
    pub(crate) help: &'static str,
    /// Where it may be given.
    pub(crate) given: Given,
}

/// What holds when a setting is not given.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Default {
    /// This text.
    Text(&'static str),
    /// This file in the data directory.
    InData(&'static str),
    /// Nothing; in words.
    Off(&'static str),
}

/// Where a setting may be given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Given {
    /// Everywhere, and every command that touches the data directory has its flag.
    Place,
    /// Everywhere.
    Anywhere,
    /// As a flag and in the environment: it says where the file is.
    NotInFile,
    /// In the environment only: it is a secret, and flags and files are read by more people.
    EnvironmentOnly,
}

impl Setting {
    /// Its environment variable.
    pub(crate) fn variable(&self) -> String {
        format!("{PREFIX}{}", self.name.to_ascii_uppercase())
    }

    /// Its flag.
    pub(crate) fn flag(&self) -> String {
        self.name.replace('_', "-")
    }

    /// Whether it is kept from sight.
    pub(crate) fn is_secret(&self) -> bool {
        self.given == Given::EnvironmentOnly
    }
}

/// A text that a setting was given, as it may be seen: without the password of a URL. Rather too little is shown than
/// a part of it: it may hold an `@`, and so may the user's name.
pub(crate) fn shown(text: &str) -> String {
    const HIDDEN: &str = "(hidden)";
    let Some((scheme, rest)) = text.split_once("://") else { return text.to_owned() };
    let parameters = rest.split_inclusive(['?', '&']).map(|part| match part.split_once("password=") {
        Some((name, value)) => {
            let end = if value.ends_with('&') { "&" } else { "" };
            format!("{name}password={HIDDEN}{end}")
        }
        None => part.to_owned(),
    });
    let shown: String = parameters.collect();
    let (login, place) = shown.rsplit_once('@').unwrap_or((&shown, ""));
    match login.split_once(':') {
        Some((user, _)) if rest.contains('@') => format!("{scheme}://{user}:{HIDDEN}@{place}"),
        _ => format!("{scheme}://{shown}"),
    }
}

/// What the variables of the environment start with.
pub(crate) const PREFIX: &str = "PUSHPULL_";

macro_rules! settings {
    ($($id:ident = $name:literal, $value:literal, $default:expr, $given:ident, $help:literal;)*) => {
        $(pub(crate) const $id: Setting =
            Setting { name: $name, value: $value, default: $default, help: $help, given: Given::$given };)*

        /// All of them, in the order they are shown.
        pub(crate) const ALL: &[Setting] = &[$($id),*];
    };
}

settings! {
    CONFIG = "config", "FILE", Default::Off("none"), NotInFile,
        "TOML file with settings";
    DATA = "data", "DIRECTORY", Default::Text("./pushpull-data"), Place,
        "Where everything is kept; made on first start";
    STORE = "store", "URL", Default::Off("a file in the data directory"), Place,
        "postgres://USER:PASSWORD@HOST/DATABASE, for many nodes; several hosts: the one that takes writes";
    MASTER_KEY_FILE = "master_key_file", "FILE", Default::InData("master.key"), Place,
        "The key that seals secrets at rest; made on first start. More lines hold keys used before";
    LISTEN = "listen", "ADDRESS:PORT", Default::Text("127.0.0.1:8071"), Anywhere,
        "Where to listen; port 0 takes a free one";
    PUBLIC_URL = "public_url", "URL", Default::Off("http://LISTEN, or https:// with TLS"), Anywhere,
        "Where this server is reached from outside";
    TLS_CERT = "tls_cert", "FILE", Default::Off("none: plain HTTP"), Anywhere,
        "PEM file with the certificate and its chain";
    TLS_KEY = "tls_key", "FILE", Default::Off("none"), Anywhere,
        "PEM file with the certificate's private key";
    TRUSTED_PROXIES = "trusted_proxies", "CIDR,CIDR", Default::Text(""), Anywhere,
        "Proxies that speak TLS for this server, and whose X-Forwarded-For is believed";
    ADMIN_KEY_FILE = "admin_key_file", "FILE", Default::InData("admin.key"), Anywhere,
        "File with an admin key, 20 to 200 visible characters; made if missing";
    JWT_SECRET = "jwt_secret", "SECRET", Default::Off("none: such tokens are refused"), EnvironmentOnly,
        "What a Svix server's tokens were signed with (HS256)";
    JWT_SECRET_FILE = "jwt_secret_file", "FILE", Default::Off("none"), Anywhere,
        "File with what a Svix server's tokens were signed with (HS256)";
    EGRESS_ALLOW = "egress_allow", "CIDR,CIDR", Default::Text(""), Anywhere,
        "Networks that endpoints may be in although they are private";
    HTTPS_ONLY = "https_only", "true|false", Default::Off("true, but for networks of egress_allow"), Anywhere,
        "Whether endpoints must be https";
    CA_FILE = "ca_file", "FILE", Default::Off("the system's only"), Anywhere,
        "PEM file of certificate authorities to trust besides the system's";
    SIGNATURE_TYPE = "signature_type", "hmac256|ed25519", Default::Text("hmac256"), Anywhere,
        "The kind of secret that a new endpoint gets";
    RETRY_SCHEDULE = "retry_schedule", "WAIT,WAIT", Default::Text("5s,5m,30m,2h,5h,10h,10h"), Anywhere,
        "Waits between the attempts of a delivery; empty: no retries";
    CORS_ORIGINS = "cors_origins", "ORIGIN,ORIGIN", Default::Text(""), Anywhere,
        "Origins whose pages may read an endpoint's queue with a poller token; *: all";
    PAYLOAD_MAX = "payload_max", "BYTES", Default::Text("1MiB"), Anywhere,
        "Longest payload of a message";
    RETENTION_MESSAGES = "retention_messages", "AGE", Default::Text("90d"), Anywhere,
        "How long messages are kept, with their deliveries and attempts";
    RETENTION_PAYLOADS = "retention_payloads", "AGE", Default::Text("90d"), Anywhere,
        "How long payloads are kept, if a message does not say";
    SHUTDOWN_TIMEOUT = "shutdown_timeout", "TIME", Default::Text("25s"), Anywhere,
        "Longest time to finish what is in flight when told to stop";
    METRICS_OPEN = "metrics_open", "true|false", Default::Text("false"), Anywhere,
        "Whether /metrics is shown without an admin or read key";
    LOG = "log", "FILTER", Default::Text("info"), Anywhere,
        "What is logged: a level, or levels by crate (info,pushpull_send=debug)";
    LOG_FORMAT = "log_format", "text|json", Default::Text("text"), Anywhere,
        "How it is logged, on stderr";
}
