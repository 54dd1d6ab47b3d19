//! An endpoint as the dispatcher has it: its queue, its rate, and its configuration made ready for use.

use std::sync::{
    Arc, Mutex, MutexGuard,
    atomic::{AtomicBool, AtomicU64, Ordering},
};

use arc_swap::ArcSwapOption;
use http::{HeaderMap, HeaderName, HeaderValue};
use pushpull_domain::{
    AppNo, AppSnapshot, Batch, Endpoint, EndpointNo, Health, Mode, Seq, Timestamp, signature::Signer,
};
use pushpull_net::Target;
use tokio::sync::{Notify, futures::Notified};

use crate::{
    queue::{Queue, Setting},
    rate::Rate,
};

/// Configuration made ready: what does not change from attempt to attempt.
#[derive(Debug)]
pub(crate) struct Ready {
    pub(crate) endpoint: Arc<Endpoint>,
    /// The version of the application's configuration that this is from.
    pub(crate) version: u64,
    pub(crate) environment: pushpull_domain::EnvironmentNo,
    pub(crate) url: Arc<str>,
    /// `Err`: the URL that was stored cannot be called; said in the attempt.
    pub(crate) target: Result<Target, String>,
    pub(crate) signer: Signer,
    pub(crate) headers: HeaderMap,
    pub(crate) app_rate_limit: Option<u16>,
}

impl Ready {
    fn new(snapshot: &AppSnapshot, endpoint: &Arc<Endpoint>) -> Self {
        let headers = endpoint
            .headers
            .iter()
            .filter_map(|(name, header)| {
                // Checked when they were saved; what does not pass now is left out.
                Some((HeaderName::try_from(name).ok()?, HeaderValue::try_from(&header.value).ok()?))
            })
            .collect();
        Self {
            environment: snapshot.app.environment,
            url: endpoint.url.as_str().into(),
            target: Target::parse(&endpoint.url).map_err(|error| error.to_string()),
            signer: Signer::new(&endpoint.secrets),
            headers,
            app_rate_limit: snapshot.app.rate_limit,
            version: snapshot.version,
            endpoint: Arc::clone(endpoint),
        }
    }

    /// How many messages it gets in one request: more than one only in order.
    pub(crate) fn batch(&self) -> Batch {
        if self.endpoint.fifo { self.endpoint.batch } else { Batch::SINGLE }
    }
}

/// What a configuration that was read means.
#[derive(Debug)]
pub(crate) enum Refreshed {
    /// The endpoint is pushed.
    Pushed(Arc<Ready>),
    /// Nothing may be brought to it now.
    Off,
    /// Somebody has read a newer one meanwhile.
    Old,
}

/// An application as the dispatcher has it.
#[derive(Debug)]
pub(crate) struct App {
    pub(crate) no: AppNo,
    pub(crate) rate: Rate,
}

/// An endpoint as the dispatcher has it.
#[derive(Debug)]
pub(crate) struct Lane {
    pub(crate) no: EndpointNo,
    pub(crate) app: Arc<App>,
    pub(crate) rate: Rate,
    queue: Mutex<Queue>,
    ready: ArcSwapOption<Ready>,
    stale: AtomicBool,
    /// The configuration changed: who waits to begin looks whether it still may.
    changed: Notify,
    health: Mutex<Option<Health>>,
    /// When the timer will wake it.
    wake: Mutex<Option<Timestamp>>,
    /// Of an endpoint that keeps order: nothing before this is owed.
    first_owed: AtomicU64,
}

impl Lane {
    pub(crate) fn new(no: EndpointNo, app: Arc<App>) -> Self {
        Self {
            no,
            app,
            rate: Rate::default(),
            queue: Mutex::default(),
            ready: ArcSwapOption::empty(),
            stale: AtomicBool::new(true),
            changed: Notify::new(),
            health: Mutex::default(),
            wake: Mutex::default(),
            first_owed: AtomicU64::new(0),
        }
    }

    pub(crate) fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().expect("nobody panics while holding this lock")
    }

    /// The configuration changed: it is read again before the next attempt.
    pub(crate) fn set_stale(&self) {
        self.stale.store(true, Ordering::Release);
        self.queue().reconsider();
        self.changed.notify_waiters();
    }

    /// Another process brings the endpoint what it is owed, or soon will. Once this one does again, it reads the
    /// configuration anew.
    pub(crate) fn suspend(&self) {
        self.stale.store(true, Ordering::Release);
        self.queue().suspend();
    }

    /// The next change of the configuration after this call.
    pub(crate) fn changed(&self) -> Notified<'_> {
        self.changed.notified()
    }

    /// The configuration, if it is as new as can be.
    pub(crate) fn ready(&self) -> Option<Arc<Ready>> {
        if self.stale.load(Ordering::Acquire) { None } else { self.ready.load_full() }
    }

    /// To be called before the configuration is read, so that a change meanwhile is not missed.
    pub(crate) fn begin_refresh(&self) {
        self.stale.store(false, Ordering::Release);
    }

    /// Takes a configuration in.
    pub(crate) fn refresh(&self, snapshot: Option<&AppSnapshot>) -> Refreshed {
        let found = snapshot.and_then(|snapshot| {
            let endpoint = snapshot.endpoints.iter().find(|endpoint| endpoint.no == self.no)?;
            Some((snapshot, endpoint))
        });
        let pushed = found.filter(|(_, endpoint)| endpoint.is_enabled() && endpoint.mode == Mode::Push);
        let ready = pushed.map(|(snapshot, endpoint)| Arc::new(Ready::new(snapshot, endpoint)));
        let setting = match &ready {
            Some(ready) => Setting::Pushed { fifo: ready.endpoint.fifo, read: ready.endpoint.read_seq },
            None => Setting::Off { draining: found.and_then(|(_, endpoint)| endpoint.draining_since) },
        };
        // An application that is gone has no later configuration.
        let version = snapshot.map_or(u64::MAX, |snapshot| snapshot.version);
        let mut queue = self.queue();
        if !queue.configure(version, setting) {
            return Refreshed::Old;
        }
        // Under the same lock, so that the queue's version and what lanes are handed are of one configuration.
        self.ready.store(ready.clone());
        drop(queue);
        // Who looked while this was being read took the one before for the newest, and may wait by it.
        self.changed.notify_waiters();
        let mut health = self.health();
        if let Some(ready) = ready {
            health.get_or_insert(ready.endpoint.health);
            Refreshed::Pushed(ready)
        } else {
            // Pushed again it begins anew.
            *health = None;
            Refreshed::Off
        }
    }

    /// Sets the moment to wake it, unless an earlier one is set; whether it was set.
    pub(crate) fn set_wake(&self, at: Timestamp) -> bool {
        let mut wake = self.wake.lock().expect("nobody panics while holding this lock");
        let earlier = wake.is_none_or(|set| at < set);
        if earlier {
            *wake = Some(at);
        }
        earlier
    }

    /// The moment has come; whether it is the one that was set last.
    pub(crate) fn clear_wake(&self, at: Timestamp) -> bool {
        let mut wake = self.wake.lock().expect("nobody panics while holding this lock");
        let set = *wake == Some(at);
        if set {
            *wake = None;
        }
        set
    }

    /// Where to begin looking for the first that is owed, in order.
    pub(crate) fn first_owed(&self) -> Seq {
        Seq(self.first_owed.load(Ordering::Relaxed))
    }

    pub(crate) fn set_first_owed(&self, seq: Seq) {
        self.first_owed.store(seq.0, Ordering::Relaxed);
    }

    /// Something before what is known as the first may be owed again.
    pub(crate) fn begin_anew(&self) {
        self.set_first_owed(Seq(0));
    }

    /// Whether nothing would be lost by forgetting it.
    pub(crate) fn is_idle(&self) -> bool {
        self.wake.lock().expect("nobody panics while holding this lock").is_none() && self.queue().is_idle()
    }

    /// How it has been failing.
    pub(crate) fn health(&self) -> MutexGuard<'_, Option<Health>> {
        self.health.lock().expect("nobody panics while holding this lock")
    }
}
