//! Servers that are killed and started again, for those who go on all the same.

use std::{
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use http::Method;
use tokio::{sync::watch, time::Instant};

use super::{Answer, Client, client_of, let_pass};

/// How soon one who was told to come back later does. Less than the answer says, so that nothing is missed.
const AGAIN: Duration = Duration::from_millis(20);

/// Where each server is, one life after another.
pub(crate) struct Lives {
    addresses: watch::Sender<Vec<Option<SocketAddr>>>,
    told: Arc<Told>,
    visitors: AtomicUsize,
}

/// What those who were turned away were told.
#[derive(Debug, Default)]
pub(crate) struct Told {
    /// How often it was to come back later.
    pub(crate) later: AtomicUsize,
    /// The longest that anybody waited for an answer.
    longest: Mutex<Duration>,
}

impl Told {
    pub(crate) fn longest(&self) -> Duration {
        *self.longest.lock().unwrap()
    }

    fn note_wait(&self, waited: Duration) {
        let mut longest = self.longest.lock().unwrap();
        *longest = waited.max(*longest);
    }
}

impl Lives {
    pub(crate) fn new() -> Self {
        Self::of(1)
    }

    /// Of so many servers that do the same.
    pub(crate) fn of(servers: usize) -> Self {
        let addresses = watch::Sender::new(vec![None; servers]);
        Self { addresses, told: Arc::default(), visitors: AtomicUsize::new(0) }
    }

    /// The server is there.
    pub(crate) fn serve_at(&self, address: SocketAddr) {
        self.set(0, Some(address));
    }

    /// It is gone.
    pub(crate) fn nobody_serves(&self) {
        self.set(0, None);
    }

    /// Where one of the servers is.
    pub(crate) fn set(&self, server: usize, address: Option<SocketAddr>) {
        self.addresses.send_modify(|addresses| addresses[server] = address);
    }

    /// Leads nobody to one of the servers any more; where it is.
    pub(crate) fn hide(&self, server: usize) -> Option<SocketAddr> {
        let address = self.addresses.borrow()[server];
        self.set(server, None);
        address
    }

    /// A client of any server: of another, when one does not answer.
    pub(crate) fn visitor(&self) -> Visitor {
        let server = self.visitors.fetch_add(1, Ordering::SeqCst);
        Visitor { server, stays: false, ..self.visitor_of(0) }
    }

    /// A client of one of them only.
    pub(crate) fn visitor_of(&self, server: usize) -> Visitor {
        let (addresses, told) = (self.addresses.subscribe(), Arc::clone(&self.told));
        Visitor { addresses, told, server, stays: true, open: None }
    }

    pub(crate) fn told(&self) -> &Told {
        &self.told
    }
}

/// A client of whatever life there is.
pub(crate) struct Visitor {
    addresses: watch::Receiver<Vec<Option<SocketAddr>>>,
    told: Arc<Told>,
    /// Whom it would ask first.
    server: usize,
    /// It asks nobody else.
    stays: bool,
    open: Option<(SocketAddr, Client)>,
}

impl Visitor {
    /// A client of a server, as soon as there is one.
    pub(crate) async fn client(&mut self) -> &mut Client {
        let (server, stays) = (self.server, self.stays);
        let find = |addresses: &Vec<Option<SocketAddr>>| {
            let others = if stays { 1 } else { addresses.len() };
            (0..others).find_map(|nth| addresses[(server + nth) % addresses.len()])
        };
        let addresses = self.addresses.wait_for(|addresses| find(addresses).is_some()).await.unwrap();
        let address = find(&addresses).expect("waited for");
        drop(addresses);
        if self.open.as_ref().is_none_or(|(connected, _)| *connected != address) {
            self.open = Some((address, client_of(address)));
        }
        &mut self.open.as_mut().expect("made above").1
    }

    /// Sends a request once; `None`: nobody knows whether it was done, or this life had no time for it. The next is
    /// sent to another server, if there are others.
    pub(crate) async fn try_ask(
        &mut self,
        method: Method,
        path: &str,
        body: Bytes,
        headers: &[(&str, &str)],
    ) -> Option<Answer> {
        let client = self.client().await;
        let asked = Instant::now();
        let answer = client.try_call(method, path, body, headers).await;
        self.told.note_wait(asked.elapsed());
        match answer {
            Ok(answer) if answer.status != 503 => return Some(answer),
            Ok(answer) => {
                assert!(answer.headers.contains_key("retry-after"), "{path}: a 503 that says no time");
                self.told.later.fetch_add(1, Ordering::SeqCst);
            }
            Err(_) => {}
        }
        self.turn_away().await;
        None
    }

    /// Goes on with another server, after a moment.
    pub(crate) async fn turn_away(&mut self) {
        if !self.stays {
            self.server += 1;
        }
        let_pass(AGAIN).await;
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
