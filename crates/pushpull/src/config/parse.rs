//! Text to values: each complaint says which setting, its text, where it came from, and what it must look like.

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use ipnet::IpNet;
use pushpull_api::Origins;
use pushpull_domain::{RetrySchedule, retry::parse_wait, signature::SignatureType};
use tracing_subscriber::EnvFilter;
use url::Url;

use super::{Backend, LogFormat, Problems, Raw, Secret, Setting, TlsFiles, Value, settings};

/// Most bytes of a payload that may be allowed: it is held in memory, and in one row.
const PAYLOAD_MAX_MAX: usize = 128 << 20;

/// Reads settings and collects what is wrong with them. After a complaint the value is a filler that
/// [`Reader::finish`] does not let out.
pub(super) struct Reader<'a> {
    raw: &'a Raw,
    problems: Problems,
}

impl<'a> Reader<'a> {
    pub(super) fn new(raw: &'a Raw) -> Self {
        Self { raw, problems: Problems::default() }
    }

    /// The value that was read, if there was no complaint.
    pub(super) fn finish<T>(self, value: T) -> Result<T, Problems> {
        self.problems.or(value)
    }

    fn complain(&mut self, setting: &Setting, value: &Value, want: &str) {
        let shown = if setting.is_secret() { "(hidden)".to_owned() } else { settings::shown(&value.text) };
        self.problems.add(format!("{}: `{shown}` (from {}) {want}", setting.name, value.origin));
    }

    /// Parses a setting that always has a value.
    fn required<T>(
        &mut self,
        setting: &Setting,
        filler: T,
        parse: impl FnOnce(&str) -> Result<T, String>,
    ) -> T {
        self.optional(setting, parse).unwrap_or(filler)
    }

    /// Parses a setting; `None`: it is off, or wrong.
    fn optional<T>(&mut self, setting: &Setting, parse: impl FnOnce(&str) -> Result<T, String>) -> Option<T> {
        let value = self.raw.value(setting)?;
        match parse(&value.text) {
            Ok(parsed) => Some(parsed),
            Err(want) => {
                self.complain(setting, value, &want);
                None
            }
        }
    }

    pub(super) fn path(&mut self, setting: &Setting) -> PathBuf {
        self.required(setting, PathBuf::new(), path)
    }

    pub(super) fn path_if_given(&mut self, setting: &Setting) -> Option<PathBuf> {
        self.optional(setting, path)
    }

    pub(super) fn store(&mut self) -> Backend {
        let url = self.optional(&settings::STORE, |text| match text {
            "" => Ok(None),
            url => pushpull_store_postgres::check_url(url).map(|()| Some(url.to_owned())),
        });
        url.flatten().map_or(Backend::File, Backend::Postgres)
    }

    pub(super) fn listen(&mut self) -> SocketAddr {
        self.required(&settings::LISTEN, SocketAddr::from(([127, 0, 0, 1], 0)), |text| {
            text.parse()
                .map_err(|_| "must be an address and a port, such as 127.0.0.1:8071 or [::]:8071".into())
        })
    }

    pub(super) fn public_url(&mut self) -> Option<Url> {
        const WANT: &str = "must be an http or https URL without query, such as https://hooks.example.com";
        self.optional(&settings::PUBLIC_URL, |text| {
            let url = Url::parse(text).map_err(|_| WANT.to_owned())?;
            let fits = matches!(url.scheme(), "http" | "https")
                && url.has_host()
                && url.query().is_none()
                && url.fragment().is_none()
                && url.username().is_empty();
            if fits { Ok(url) } else { Err(WANT.into()) }
        })
    }

    pub(super) fn tls(&mut self) -> Option<TlsFiles> {
        let cert = self.path_if_given(&settings::TLS_CERT);
        let key = self.path_if_given(&settings::TLS_KEY);
        match (cert, key) {
            (Some(cert), Some(key)) => Some(TlsFiles { cert, key }),
            (None, None) => None,
            (cert, _) => {
                let (given, missing) = if cert.is_some() {
                    (settings::TLS_CERT, settings::TLS_KEY)
                } else {
                    (settings::TLS_KEY, settings::TLS_CERT)
                };
                let value = self.raw.value(&given).expect("it was just read");
                self.complain(&given, value, &format!("needs {} beside it", missing.name));
                None
            }
        }
    }

    pub(super) fn networks(&mut self, setting: &Setting) -> Vec<IpNet> {
        self.required(setting, Vec::new(), |text| list(text).map(network).collect::<Result<_, _>>())
    }

    pub(super) fn jwt_secret(&mut self) -> Option<Secret> {
        let inline = self.optional(&settings::JWT_SECRET, |text| Ok(Secret(text.as_bytes().into())));
        let from_file = self.optional(&settings::JWT_SECRET_FILE, |file| {
            let text = std::fs::read_to_string(file).map_err(|error| format!("cannot be read: {error}"))?;
            match text.trim_end_matches(['\r', '\n']) {
                "" => Err("is empty: it must hold the secret".into()),
                secret => Ok(Secret(secret.as_bytes().into())),
            }
        });
        if inline.is_some() && from_file.is_some() {
            let value = self.raw.value(&settings::JWT_SECRET_FILE).expect("it was just read");
            let want = format!("stands beside {}: give one of them", settings::JWT_SECRET.variable());
            self.complain(&settings::JWT_SECRET_FILE, value, &want);
        }
        from_file.or(inline)
    }

    pub(super) fn signature_type(&mut self) -> SignatureType {
        self.required(&settings::SIGNATURE_TYPE, SignatureType::Hmac256, |text| {
            [SignatureType::Hmac256, SignatureType::Ed25519]
                .into_iter()
                .find(|kind| kind.as_str() == text)
                .ok_or("must be hmac256 or ed25519".into())
        })
    }

    pub(super) fn retry_schedule(&mut self) -> RetrySchedule {
        self.required(&settings::RETRY_SCHEDULE, RetrySchedule::default(), |text| {
            text.parse().map_err(|error| format!("must be waits such as 5s,5m,30m, or empty: {error}"))
        })
    }

    pub(super) fn origins(&mut self) -> Origins {
        self.required(&settings::CORS_ORIGINS, Origins::None, |text| {
            Origins::parse(text).map_err(|error| {
                format!(
                    "must be origins such as https://app.example.com,http://localhost:3000, or *: {error}"
                )
            })
        })
    }

    pub(super) fn payload_max(&mut self) -> usize {
        self.required(&settings::PAYLOAD_MAX, 0, |text| {
            byte_count(text)
                .filter(|count| (1..=PAYLOAD_MAX_MAX).contains(count))
                .ok_or("must be a number of bytes up to 128MiB, such as 1048576, 256KiB or 1MiB".into())
        })
    }

    pub(super) fn wait(&mut self, setting: &Setting) -> Duration {
        self.required(setting, Duration::ZERO, |text| {
            parse_wait(text).ok_or("must be a whole number with ms, s, m, h or d, such as 25s or 90d".into())
        })
    }

    pub(super) fn switch(&mut self, setting: &Setting) -> Option<bool> {
        self.optional(setting, |text| text.parse().map_err(|_| "must be true or false".into()))
    }

    pub(super) fn log_filter(&mut self) -> String {
        self.required(&settings::LOG, String::new(), |text| match EnvFilter::try_new(text) {
            Ok(_) => Ok(text.to_owned()),
            Err(error) => Err(format!("must be a level such as info, or levels by crate: {error}")),
        })
    }

    pub(super) fn log_format(&mut self) -> LogFormat {
        self.required(&settings::LOG_FORMAT, LogFormat::Text, |text| match text {
            "text" => Ok(LogFormat::Text),
            "json" => Ok(LogFormat::Json),
            _ => Err("must be text or json".into()),
        })
    }
}

fn path(text: &str) -> Result<PathBuf, String> {
    if text.is_empty() { Err("must name a file or directory".into()) } else { Ok(text.into()) }
}

fn list(text: &str) -> impl Iterator<Item = &str> {
    text.split(',').map(str::trim).filter(|part| !part.is_empty())
}

/// A network, or an address that stands for itself alone.
fn network(text: &str) -> Result<IpNet, String> {
    text.parse()
        .or_else(|_| text.parse().map(|address: std::net::IpAddr| IpNet::from(address)))
        .map_err(|_| format!("must be networks such as 10.0.0.0/8,fd00::/8: `{text}` is none"))
}

fn byte_count(text: &str) -> Option<usize> {
    let (number, unit) = [("KiB", 1 << 10), ("MiB", 1 << 20)]
        .into_iter()
        .find_map(|(suffix, unit)| text.strip_suffix(suffix).map(|number| (number, unit)))
        .unwrap_or((text, 1));
    number.trim().parse::<usize>().ok()?.checked_mul(unit)
}
