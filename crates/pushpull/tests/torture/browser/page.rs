//! The page, and its server: an origin of its own, which is told what the page sees.

use std::{
    convert::Infallible,
    net::SocketAddr,
    sync::{Arc, Mutex},
};

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use serde::Deserialize;
use tokio::{net::TcpListener, task::JoinHandle};

const PAGE: &str = include_str!("page.html");

/// What the page tells.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub(super) enum Told {
    /// The stream began.
    Opened,
    /// It was cut off, and the browser tries again.
    CutOff,
    /// The browser does not try again.
    GaveUp,
    Message(Message),
}

/// A message as the page got it.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
pub(super) struct Message {
    pub(super) seq: u64,
    pub(super) payload: Payload,
}

#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
pub(super) struct Payload {
    pub(super) n: u64,
}

/// The server. Ends when it is dropped.
pub(super) struct Page {
    addr: SocketAddr,
    told: Arc<Mutex<Vec<Told>>>,
    task: JoinHandle<()>,
}

impl Drop for Page {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Page {
    #[expect(clippy::disallowed_methods, reason = "aborted when this is dropped")]
    pub(super) async fn serve() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let told = Arc::new(Mutex::new(Vec::new()));
        let all = Arc::clone(&told);
        let task = tokio::spawn(async move {
            let mut connections = tokio::task::JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                let told = Arc::clone(&all);
                connections.spawn(async move {
                    let service = service_fn(|request| {
                        let told = Arc::clone(&told);
                        async move { Ok::<_, Infallible>(answer(request, &told).await) }
                    });
                    // A browser ends its connections as it likes.
                    let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
                });
            }
        });
        Self { addr, told, task }
    }

    /// As a browser writes it.
    pub(super) fn origin(&self) -> String {
        format!("http://{}", self.addr)
    }

    /// Where the page is that reads this stream.
    pub(super) fn url(&self, source: &str) -> String {
        let mut url = url::Url::parse(&self.origin()).unwrap();
        url.query_pairs_mut().append_pair("source", source);
        url.into()
    }

    /// All that was told until now.
    pub(super) fn told(&self) -> Vec<Told> {
        self.told.lock().unwrap().clone()
    }
}

async fn answer(request: Request<Incoming>, told: &Mutex<Vec<Told>>) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::default());
    match (request.method().clone(), request.uri().path()) {
        (Method::GET, "/") => {
            response.headers_mut().insert("content-type", "text/html".parse().unwrap());
            *response.body_mut() = PAGE.into();
        }
        (Method::POST, "/told") => {
            if let Ok(body) = request.collect().await {
                told.lock().unwrap().push(serde_json::from_slice(&body.to_bytes()).unwrap());
            }
        }
        _ => *response.status_mut() = StatusCode::NOT_FOUND,
    }
    response
}
