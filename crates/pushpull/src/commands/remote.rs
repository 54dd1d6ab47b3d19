//! A pushpull server, wherever it is, as commands call it: over a connection that is kept, plain or TLS.

use std::{fs, io::ErrorKind, net::IpAddr, path::PathBuf, sync::Arc, time::Duration};

use anyhow::{Context, Result};
use bytes::Bytes;
use clap::Args;
use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::Full;
use pushpull_domain::Uid;
use rustls_pki_types::ServerName;
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::Value;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use url::{Host, Url};

use super::{Ending, call::Connection};
use crate::{
    config::{Flags, Reach},
    wire::USER_AGENT,
};

/// Longest time until there is a connection.
const CONNECT_MAX: Duration = Duration::from_secs(5);
/// Longest time of a call, beyond what it may wait for by itself.
const CALL_MAX: Duration = Duration::from_secs(15);
/// Most bytes of an answer: the longest payload that can be allowed, 128 MiB, with what surrounds it, and escaped.
const ANSWER_MAX: usize = 1 << 30;

const SERVER_HELP: &str = "The server's URL [default: where the settings say that it listens]";
const KEY_FILE_HELP: &str =
    "File with a key of it [default, on this machine alone: the admin key file of the settings]";

/// Which server is called, and with which key.
#[derive(Debug, Args)]
pub(super) struct Remote {
    #[arg(long, value_name = "URL", value_parser = base, help = SERVER_HELP)]
    server: Option<Url>,
    #[arg(long, value_name = "FILE", help = KEY_FILE_HELP)]
    key_file: Option<PathBuf>,
    #[command(flatten)]
    flags: Flags<false>,
}

impl Remote {
    /// The settings that say where the server is.
    pub(super) fn reach(&self) -> Result<Reach> {
        Ok(Reach::load(&self.flags)?)
    }

    /// The server, not called yet.
    pub(super) fn server(&self, reach: &Reach) -> Result<Server> {
        let url = match &self.server {
            Some(url) => url.clone(),
            None => own_url(reach)?,
        };
        let file = match &self.key_file {
            Some(file) => file,
            None if self.server.as_ref().is_none_or(is_here) => &reach.admin_key_file,
            // A wrong line in a shell's history must not send the admin key of this machine to a stranger.
            None => {
                let said = format!("{url} is not on this machine: name its key with --key-file");
                return Err(Ending::usage(said).into());
            }
        };
        let tls = match url.scheme() {
            "https" => {
                let config = pushpull_net::client_config(reach.ca_file.as_deref())?;
                Some(TlsConnector::from(Arc::new(config)))
            }
            _ => None,
        };
        Ok(Server { authorization: authorization(file)?, url, tls, connection: None })
    }
}

/// Where a server with these settings answers on this machine.
fn own_url(reach: &Reach) -> Result<Url> {
    // A certificate is for a name, which only the public URL tells.
    if let (true, Some(url)) = (reach.tls, &reach.public_url) {
        return Ok(url.clone());
    }
    let mut address = reach.listen;
    if address.port() == 0 {
        let said = format!(
            "the settings let the server take any free port (listen: {address}): say where it is with --server URL"
        );
        return Err(Ending::usage(said).into());
    }
    match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => address.set_ip(std::net::Ipv4Addr::LOCALHOST.into()),
        IpAddr::V6(ip) if ip.is_unspecified() => address.set_ip(std::net::Ipv6Addr::LOCALHOST.into()),
        IpAddr::V4(_) | IpAddr::V6(_) => {}
    }
    let scheme = if reach.tls { "https" } else { "http" };
    Url::parse(&format!("{scheme}://{address}")).context("make a URL of where the server listens")
}

/// Whether a server is on this machine, whatever the answer of a lookup. So no name below `localhost`: those are looked
/// up like any other.
fn is_here(url: &Url) -> bool {
    match url.host() {
        Some(Host::Domain(name)) => name == "localhost",
        Some(Host::Ipv4(ip)) => ip.is_loopback(),
        Some(Host::Ipv6(ip)) => ip.to_canonical().is_loopback(),
        None => false,
    }
}

/// The key in a file, as it is sent.
fn authorization(file: &PathBuf) -> Result<HeaderValue> {
    let text = fs::read_to_string(file).map_err(|error| {
        let shown = file.display();
        let said = match error.kind() {
            ErrorKind::NotFound => format!(
                "there is no key in {shown}: name the file of one with --key-file, or the server's data directory \
                 with --data"
            ),
            _ => format!("the key in {shown} cannot be read: {error}"),
        };
        Ending::usage(said)
    })?;
    let mut value = HeaderValue::try_from(format!("Bearer {}", text.trim())).map_err(|_| {
        Ending::usage(format!("{} holds no key: one line of visible characters", file.display()))
    })?;
    value.set_sensitive(true);
    Ok(value)
}

fn base(text: &str) -> Result<Url, String> {
    let url = Url::parse(text).ok().filter(|url| {
        matches!(url.scheme(), "http" | "https")
            && url.has_host()
            && url.query().is_none()
            && url.fragment().is_none()
            && url.username().is_empty()
    });
    url.ok_or(
        "must be an http or https URL, such as https://hooks.example.com or http://127.0.0.1:8071".into(),
    )
}

/// A server that is called.
pub(super) struct Server {
    url: Url,
    authorization: HeaderValue,
    tls: Option<TlsConnector>,
    /// Opened with the first call, and anew after one that failed.
    connection: Option<Connection>,
}

impl Server {
    /// Calls the API. An error: no answer could be had. `path` stands below `/api/v1`; `wait` is what the call may
    /// take beyond the usual.
    pub(super) async fn call(
        &mut self,
        method: Method,
        path: &str,
        body: Option<String>,
        wait: Duration,
    ) -> Result<Answer> {
        let uri = format!("{}/api/v1{path}", self.url.path().trim_end_matches('/'));
        let request = Request::builder()
            .method(method)
            .uri(uri)
            .header(header::AUTHORIZATION, &self.authorization)
            .header(header::USER_AGENT, USER_AGENT)
            .header(header::CONTENT_TYPE, "application/json")
            .body(Full::new(Bytes::from(body.unwrap_or_default())))?;
        let mut connection = match self.connection.take().filter(Connection::is_open) {
            Some(kept) => kept,
            None => {
                tokio::time::timeout(CONNECT_MAX, self.connect()).await.context("no connection in time")??
            }
        };
        let answered = tokio::time::timeout(CALL_MAX + wait, connection.exchange(request, ANSWER_MAX)).await;
        let answer = answered.context("no answer in time")??;
        self.connection = Some(connection);
        Ok(Answer(answer))
    }

    /// Reads something; `None`: it is not there.
    pub(super) async fn get<T: DeserializeOwned>(&mut self, path: &str) -> Result<Option<T>> {
        let answer = self.ask(Method::GET, path, None).await?;
        if answer.status() == StatusCode::NOT_FOUND { Ok(None) } else { answer.granted()?.read().map(Some) }
    }

    /// Makes something.
    pub(super) async fn post<T: DeserializeOwned>(&mut self, path: &str, body: String) -> Result<T> {
        self.ask(Method::POST, path, Some(body)).await?.granted()?.read()
    }

    /// Makes something, or replaces it.
    pub(super) async fn put(&mut self, path: &str, body: &Value) -> Result<()> {
        self.ask(Method::PUT, path, Some(body.to_string())).await?.granted().map(drop)
    }

    /// Changes something.
    pub(super) async fn patch(&mut self, path: &str, body: &Value) -> Result<()> {
        self.ask(Method::PATCH, path, Some(body.to_string())).await?.granted().map(drop)
    }

    async fn ask(&mut self, method: Method, path: &str, body: Option<String>) -> Result<Answer> {
        let answer = self.call(method, path, body, Duration::ZERO).await;
        answer.map_err(|error| self.unreachable(&error).into())
    }

    /// No answer could be had.
    pub(super) fn unreachable(&self, error: &anyhow::Error) -> Ending {
        Ending::unreachable(format!("no server answers at {}: {error:#}", self.url))
    }

    /// The application of this id or uid; without one the only one there is.
    pub(super) async fn application(&mut self, given: Option<&Uid>) -> Result<Application> {
        #[derive(Deserialize)]
        struct List {
            data: Vec<Application>,
        }
        if let Some(name) = given {
            let found = self.get(&format!("/app/{name}")).await?;
            return found.with_context(|| format!("there is no application {name}"));
        }
        let mut list: List = self.get("/app?limit=2").await?.context("the server lists no applications")?;
        match (list.data.pop(), list.data.pop()) {
            (Some(only), None) => Ok(only),
            (None, _) => Err(anyhow::anyhow!("there is no application yet: make one with POST /api/v1/app")),
            (Some(_), Some(_)) => {
                Err(Ending::usage("there are several applications: say which with --app ID or uid").into())
            }
        }
    }

    #[expect(clippy::disallowed_methods, reason = "to the server that the person at this terminal named")]
    async fn connect(&self) -> Result<Connection> {
        let port = self.url.port_or_known_default().context("the URL has no port")?;
        let (tcp, name) = match self.url.host().context("the URL has no host")? {
            Host::Domain(name) => {
                (TcpStream::connect((name, port)).await, ServerName::try_from(name.to_owned())?)
            }
            Host::Ipv4(ip) => (TcpStream::connect((ip, port)).await, IpAddr::from(ip).into()),
            Host::Ipv6(ip) => (TcpStream::connect((ip, port)).await, IpAddr::from(ip).into()),
        };
        let tcp = tcp?;
        tcp.set_nodelay(true)?;
        let host = HeaderValue::try_from(&self.url[url::Position::BeforeHost..url::Position::AfterPort])?;
        match &self.tls {
            None => Connection::over(tcp, host).await,
            Some(tls) => {
                let stream = tls.connect(name, tcp).await.context("TLS handshake failed")?;
                Connection::over(stream, host).await
            }
        }
    }
}

/// An application, as far as commands want to know.
#[derive(Debug, Deserialize)]
pub(super) struct Application {
    pub(super) id: String,
    uid: Option<String>,
    name: String,
}

impl Application {
    /// What people call it.
    pub(super) fn called(&self) -> &str {
        self.uid.as_ref().unwrap_or(&self.name)
    }
}

/// What was answered.
pub(super) struct Answer(Response<Bytes>);

impl Answer {
    pub(super) fn status(&self) -> StatusCode {
        self.0.status()
    }

    /// The answer, unless it says what is wrong.
    fn granted(self) -> Result<Self> {
        if self.status().is_success() { Ok(self) } else { Err(self.complaint()) }
    }

    /// The body, as it must look.
    pub(super) fn read<'a, T: Deserialize<'a>>(&'a self) -> Result<T> {
        serde_json::from_slice(self.0.body()).context("the server's answer cannot be read: is it a pushpull?")
    }

    /// How long the server wants to be left alone, in whole seconds.
    pub(super) fn retry_after(&self) -> Option<Duration> {
        let text = self.0.headers().get(header::RETRY_AFTER)?.to_str().ok()?;
        text.parse().ok().map(Duration::from_secs)
    }

    /// The code of the problem; empty if it is none of the API's.
    pub(super) fn code(&self) -> String {
        self.problem()["code"].as_str().unwrap_or_default().to_owned()
    }

    /// What the server says is wrong. A fault of what was asked for is a usage error.
    pub(super) fn complaint(&self) -> anyhow::Error {
        let problem = self.problem();
        let said = match &problem["detail"] {
            Value::String(detail) => detail.clone(),
            Value::Array(faults) => {
                let faults = faults.iter().map(|fault| {
                    let place = fault["loc"].as_array().and_then(|loc| loc.last()?.as_str());
                    format!("{} {}", place.unwrap_or("it"), fault["msg"].as_str().unwrap_or("is wrong"))
                });
                faults.collect::<Vec<_>>().join("; ")
            }
            _ => "no word of why".to_owned(),
        };
        let status = self.status();
        let said = format!("the server answers {}: {said}", status.as_u16());
        if status == StatusCode::UNPROCESSABLE_ENTITY {
            Ending::usage(said).into()
        } else {
            anyhow::Error::msg(said)
        }
    }

    fn problem(&self) -> Value {
        serde_json::from_slice(self.0.body()).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_loopback_and_localhost_are_on_this_machine() {
        for url in [
            "http://127.0.0.1:1",
            "http://127.1",
            "https://localhost",
            "http://[::1]",
            "http://[::ffff:127.0.0.1]",
        ] {
            assert!(is_here(&base(url).unwrap()), "{url}");
        }
        for url in [
            "http://0.0.0.0:1",
            "http://10.0.0.1",
            "http://[::]",
            "http://[::ffff:10.0.0.1]",
            "https://example.com",
            "https://a.localhost",
            "https://localhost.example.com",
        ] {
            assert!(!is_here(&base(url).unwrap()), "{url}");
        }
    }
}
