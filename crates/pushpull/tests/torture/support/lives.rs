//! A server that is killed and started again, for those who go on all the same.

use std::net::SocketAddr;

use bytes::Bytes;
use http::Method;
use tokio::sync::watch;

use super::{Answer, Client, client_of};

/// Where the server is, one life after another.
pub(crate) struct Lives {
    address: watch::Sender<Option<SocketAddr>>,
}

impl Lives {
    pub(crate) fn new() -> Self {
        Self { address: watch::Sender::new(None) }
    }

    /// The server is there.
    pub(crate) fn serve_at(&self, address: SocketAddr) {
        self.address.send_replace(Some(address));
    }

    /// It is gone.
    pub(crate) fn nobody_serves(&self) {
        self.address.send_replace(None);
    }

    pub(crate) fn visitor(&self) -> Visitor {
        Visitor { address: self.address.subscribe(), open: None }
    }
}

/// A client of whatever life there is.
pub(crate) struct Visitor {
    address: watch::Receiver<Option<SocketAddr>>,
    open: Option<(SocketAddr, Client)>,
}

impl Visitor {
    /// A client of the server, as soon as there is one.
    pub(crate) async fn client(&mut self) -> &mut Client {
        let address = self.address.wait_for(Option::is_some).await.unwrap().expect("waited for");
        if self.open.as_ref().is_none_or(|(connected, _)| *connected != address) {
            self.open = Some((address, client_of(address)));
        }
        &mut self.open.as_mut().expect("made above").1
    }

    /// Sends a request once; `None`: nobody knows whether it was done, or this life had no time for it.
    pub(crate) async fn try_ask(
        &mut self,
        method: Method,
        path: &str,
        body: Bytes,
        headers: &[(&str, &str)],
    ) -> Option<Answer> {
        match self.client().await.try_call(method, path, body, headers).await {
            Ok(answer) if answer.status != 503 => Some(answer),
            Ok(_) | Err(_) => {
                tokio::task::yield_now().await;
                None
            }
        }
    }

    /// Sends a request again and again until somebody answers, in whatever life.
    pub(crate) async fn ask(
        &mut self,
        method: Method,
        path: &str,
        body: Bytes,
        headers: &[(&str, &str)],
    ) -> Answer {
        loop {
            if let Some(answer) = self.try_ask(method.clone(), path, body.clone(), headers).await {
                return answer;
            }
        }
    }
}
