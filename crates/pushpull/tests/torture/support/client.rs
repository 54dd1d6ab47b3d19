//! A client of the API over one connection, made anew when it breaks.

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use bytes::Bytes;
use http::{HeaderMap, Method, Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::{
    body::Incoming,
    client::conn::http1::{self, SendRequest},
};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::{net::TcpStream, task::JoinSet};

/// Longest wait for an answer.
const ANSWER_MAX: Duration = Duration::from_secs(30);

/// What was answered.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or(Value::Null)
    }

    /// The word for what went wrong; that of a field's fault is not in the body.
    pub(crate) fn code(&self) -> String {
        self.json()["code"].as_str().unwrap_or_default().to_owned()
    }

    /// The answer, if it has this status.
    #[track_caller]
    pub(crate) fn expect(self, status: u16) -> Self {
        assert_eq!(self.status, status, "{}", String::from_utf8_lossy(&self.body));
        self
    }

    /// A field of text.
    #[track_caller]
    pub(crate) fn text(&self, field: &str) -> String {
        self.json()[field].as_str().unwrap().to_owned()
    }
}

/// A body of JSON.
pub(crate) fn json(value: &Value) -> Bytes {
    value.to_string().into()
}

pub(crate) struct Client {
    address: SocketAddr,
    key: Arc<str>,
    open: Option<SendRequest<Full<Bytes>>>,
    connections: JoinSet<()>,
}

impl Client {
    pub(crate) fn new(address: SocketAddr, key: Arc<str>) -> Self {
        Self { address, key, open: None, connections: JoinSet::new() }
    }

    /// Sends a request and reads the answer; an error: nobody knows whether it was done.
    pub(crate) async fn try_call(
        &mut self,
        method: Method,
        path: &str,
        body: Bytes,
        headers: &[(&str, &str)],
    ) -> io::Result<Answer> {
        let exchange = async {
            let response = self.send(self.request(method, path, body, headers)).await?;
            let (head, body) = response.into_parts();
            let body = body.collect().await.map_err(io::Error::other)?.to_bytes();
            Ok(Answer { status: head.status.as_u16(), headers: head.headers, body })
        };
        let answer = tokio::time::timeout(ANSWER_MAX, exchange).await;
        let answer = answer.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()));
        if answer.is_err() {
            self.open = None;
        }
        answer
    }

    /// Sends a request whose answer is read piece by piece, on a connection of its own.
    pub(crate) async fn try_open(
        &mut self,
        path: &str,
        headers: &[(&str, &str)],
    ) -> io::Result<Response<Incoming>> {
        self.open = None;
        let request = self.request(Method::GET, path, Bytes::new(), headers);
        let response = tokio::time::timeout(ANSWER_MAX, self.send(request)).await;
        // Whoever reads no further drops the answer, and with it ends the connection.
        self.open = None;
        response.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
    }

    fn request(
        &self,
        method: Method,
        path: &str,
        body: Bytes,
        headers: &[(&str, &str)],
    ) -> Request<Full<Bytes>> {
        let mut request = Request::builder()
            .method(method)
            .uri(path)
            .header("host", "torture")
            .header("authorization", format!("Bearer {}", self.key))
            .header("content-type", "application/json");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        request.body(Full::new(body)).unwrap()
    }

    async fn send(&mut self, request: Request<Full<Bytes>>) -> io::Result<Response<Incoming>> {
        if self.open.as_ref().is_none_or(SendRequest::is_closed) {
            self.open = Some(self.connect().await?);
        }
        let open = self.open.as_mut().expect("connected above");
        open.ready().await.map_err(io::Error::other)?;
        open.send_request(request).await.map_err(io::Error::other)
    }

    #[expect(clippy::disallowed_methods, reason = "a test calls the server it started")]
    async fn connect(&mut self) -> io::Result<SendRequest<Full<Bytes>>> {
        let stream = TcpStream::connect(self.address).await?;
        stream.set_nodelay(true)?;
        let (send, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(io::Error::other)?;
        while self.connections.try_join_next().is_some() {}
        self.connections.spawn(async move {
            // How it ends is told by the request.
            let _ = connection.await;
        });
        Ok(send)
    }

    /// The same when it must be answered.
    pub(crate) async fn call(&mut self, method: Method, path: &str, body: Bytes) -> Answer {
        match self.try_call(method.clone(), path, body, &[]).await {
            Ok(answer) => answer,
            Err(error) => panic!("{method} {path}: {error}"),
        }
    }

    pub(crate) async fn get(&mut self, path: &str) -> Answer {
        self.call(Method::GET, path, Bytes::new()).await
    }

    pub(crate) async fn post(&mut self, path: &str, body: &Value) -> Answer {
        self.call(Method::POST, path, json(body)).await
    }

    /// An application of this uid.
    pub(crate) async fn app(&mut self, uid: &str) {
        self.post("/api/v1/app", &serde_json::json!({"name": uid, "uid": uid})).await.expect(201);
    }

    /// Every item of a list, page by page.
    pub(crate) async fn list(&mut self, path: &str) -> Vec<Value> {
        let mut items = Vec::new();
        let mut iterator = String::new();
        loop {
            let join = if path.contains('?') { '&' } else { '?' };
            let page = self.get(&format!("{path}{join}limit=250{iterator}")).await.expect(200).json();
            items.extend(page["data"].as_array().unwrap().iter().cloned());
            if page["done"] == true {
                return items;
            }
            iterator = format!("&iterator={}", page["iterator"].as_str().unwrap());
        }
    }
}
