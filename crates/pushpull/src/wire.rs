//! Store, log, client, dispatcher and API, put together: a server that can be started in a process and stopped.

use std::{sync::Arc, time::Duration};

use anyhow::{Context, Result};
use http::HeaderValue;
use pushpull_domain::{Chance, Clock, Environment};
use pushpull_feed::Feed;
use pushpull_net::Client;
use pushpull_send::Dispatcher;
use pushpull_store::{Error, Log, Store};
use tokio::runtime::Handle;

use crate::{
    chance::SystemChance,
    clock::SystemClock,
    config::Config,
    datadir::{self, AdminKey, Lock},
    keys,
    listen::{Front, Listening},
    metrics::{self, Metrics},
    store, tls,
    upkeep::Upkeep,
};

/// The name this program gives itself when it calls.
pub(crate) const USER_AGENT: &str = concat!("pushpull/", env!("CARGO_PKG_VERSION"));

/// A server at work.
pub(crate) struct Server {
    url: String,
    admin_key: AdminKey,
    listening: Listening,
    feed: Arc<Feed>,
    dispatcher: Arc<Dispatcher>,
    upkeep: Upkeep,
    store: Arc<dyn Store>,
    /// Freed last.
    _lock: Lock,
}

impl Server {
    /// Starts a server, which delivers from threads of its own: when this returns, it answers.
    pub(crate) async fn start(config: &Config, delivery: &Handle) -> Result<Self> {
        let data = &config.place.data;
        datadir::make(data)?;
        let lock = Lock::take(data)?;
        // Before anything is made, so that a port in use leaves nothing behind.
        let tls = config.tls.as_ref().map(tls::acceptor).transpose()?;
        let front = Front::bind(config.listen, tls, &config.trusted_proxies)?;
        let (store, iterators) = store::open(&config.place, end_process).await?;
        let log = Arc::new(Log::new(Arc::clone(&store)));
        let environment = keys::first_environment(&**log.store()).await?;
        let admin_key = datadir::admin_key(&config.admin_key_file)?;
        keys::adopt_admin_key(&**log.store(), &environment, &admin_key.token).await?;

        let url = front.url();
        let metrics = Arc::new(Metrics::new());
        store.listen(Arc::clone(&metrics) as _);
        let feed = Arc::new(Feed::new(Arc::clone(&log), iterators));
        let router =
            router(config, &log, &feed, &url).merge(metrics_page(config, &log, &metrics, &environment));
        let dispatcher = Arc::new(dispatcher(config, &log, Arc::clone(&metrics), delivery)?);
        let upkeep =
            Upkeep::start(Arc::clone(log.store()), Arc::clone(&dispatcher), metrics, config.retention);
        let listening = front.open(router);
        Ok(Self { url, admin_key, listening, feed, dispatcher, upkeep, store, _lock: lock })
    }

    /// Where it answers.
    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// The admin key of the file.
    pub(crate) fn admin_key(&self) -> &AdminKey {
        &self.admin_key
    }

    /// Takes no more calls, finishes what is in flight, at most this long, and closes the store.
    pub(crate) async fn stop(self, within: Duration) {
        self.feed.close();
        // Side by side: what is accepted from now on is in the store, and is delivered after the next start.
        tokio::join!(self.listening.stop(within), self.dispatcher.stop(within));
        self.upkeep.stop().await;
        self.store.close().await;
    }
}

/// What was acknowledged may be lost: nothing may be acknowledged from now on, not even what is under way.
#[expect(clippy::disallowed_methods, reason = "whatever else would run might acknowledge something")]
fn end_process(error: &Error) {
    tracing::error!(
        error = error as &dyn std::error::Error,
        "the store cannot be trusted any more: this process ends"
    );
    std::process::exit(1);
}

fn router(config: &Config, log: &Arc<Log>, feed: &Arc<Feed>, url: &str) -> axum::Router {
    let public_url = config.public_url.as_ref().map_or(url, |url| url.as_str());
    pushpull_api::router(pushpull_api::Parts {
        log: Arc::clone(log),
        feed: Arc::clone(feed),
        clock: clock(),
        chance: chance(),
        policy: config.policy.clone(),
        signature_type: config.signature_type,
        payload_max: config.payload_max,
        jwt_secret: config.jwt_secret.as_ref().map(|secret| secret.0.clone()),
        origins: config.origins.clone(),
        public_url: public_url.trim_end_matches('/').to_owned(),
        version: env!("CARGO_PKG_VERSION"),
    })
}

fn metrics_page(
    config: &Config,
    log: &Arc<Log>,
    metrics: &Arc<Metrics>,
    environment: &Environment,
) -> axum::Router {
    metrics::router(metrics::Page {
        metrics: Arc::clone(metrics),
        store: Arc::clone(log.store()),
        clock: clock(),
        environment: (!config.metrics_open).then_some(environment.no),
    })
}

fn dispatcher(
    config: &Config,
    log: &Arc<Log>,
    metrics: Arc<Metrics>,
    runtime: &Handle,
) -> Result<Dispatcher> {
    let client = Client::new(pushpull_net::Config {
        policy: config.policy.clone(),
        ca_file: config.ca_file.clone(),
        user_agent: HeaderValue::from_static(USER_AGENT),
        ..pushpull_net::Config::default()
    })
    .context("set up the delivery client")?;
    let _within = runtime.enter();
    Ok(Dispatcher::start(pushpull_send::Parts {
        log: Arc::clone(log),
        client,
        clock: clock(),
        chance: chance(),
        schedule: config.retry_schedule.clone(),
        meter: metrics,
    }))
}

fn clock() -> Arc<dyn Clock> {
    Arc::new(SystemClock)
}

fn chance() -> Arc<dyn Chance> {
    Arc::new(SystemChance)
}
