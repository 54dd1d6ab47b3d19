//! What is counted, and `/metrics`, where it is read (OpenMetrics text).
//!
//! The page is about the whole server, so it takes an admin or read key of the first environment, the operator's
//! own; with `metrics_open` it takes none.

use std::{
    fmt::Write,
    sync::{Arc, atomic::AtomicU64},
    time::Duration,
};

use axum::{
    Router,
    extract::State,
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
    routing::get,
};
use prometheus_client::{
    encoding::{EncodeLabelSet, text},
    metrics::{
        counter::Counter,
        family::Family,
        gauge::Gauge,
        histogram::{Histogram, exponential_buckets},
        info::Info,
    },
    registry::{Registry, Unit},
};
use pushpull_domain::{
    Clock, EnvironmentNo, Message,
    attempt::{Attempt, ErrorClass},
    key::{KeyHash, Scope},
};
use pushpull_send::Meter;
use pushpull_store::{CommitListener, Error, Store};
use tokio::time::Instant;

/// Adding up the books takes a pass over what is owed and kept: it is done again at the earliest after this...
const BOOKS_FRESH: Duration = Duration::from_secs(10);
/// ... and after this many times as long as it took, so that it never takes more than a fiftieth of one core.
const BOOKS_SHARE: u32 = 50;
const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByOutcome {
    outcome: &'static str,
}

type Level = Gauge<f64, AtomicU64>;

/// Everything that is counted.
#[derive(Debug)]
pub(crate) struct Metrics {
    registry: Registry,
    accepted: Counter,
    /// By the number of the error class; 0: delivered. Made once, so that an attempt takes no lock.
    attempts: Vec<Counter>,
    attempt_duration: Histogram,
    end_to_end: Histogram,
    pending: Gauge,
    oldest_pending: Level,
    dead_letters: Gauge,
    consumers_behind: Gauge,
    store_bytes: Gauge,
}

impl Metrics {
    pub(crate) fn new() -> Self {
        let mut registry = Registry::with_prefix("pushpull");
        let build = Info::new([("version", env!("CARGO_PKG_VERSION"))]);
        registry.register("build", "The program that runs", build);
        let attempts = Family::<ByOutcome, Counter>::default();
        let outcomes = std::iter::once("delivered").chain(ErrorClass::ALL.map(ErrorClass::as_str));
        // 1 ms to 33 s: an attempt ends within 20 s.
        let attempt_duration = Histogram::new(exponential_buckets(0.001, 2.0, 16));
        // 1 ms to two days: the schedule may take that long.
        let end_to_end = Histogram::new(exponential_buckets(0.001, 2.5, 21));
        let metrics = Self {
            accepted: Counter::default(),
            attempts: outcomes.map(|outcome| attempts.get_or_create_owned(&ByOutcome { outcome })).collect(),
            attempt_duration: attempt_duration.clone(),
            end_to_end: end_to_end.clone(),
            pending: Gauge::default(),
            oldest_pending: Level::default(),
            dead_letters: Gauge::default(),
            consumers_behind: Gauge::default(),
            store_bytes: Gauge::default(),
            registry: Registry::default(),
        };
        registry.register(
            "messages_accepted",
            "Messages written to the log since the start",
            metrics.accepted.clone(),
        );
        registry.register("delivery_attempts", "Attempts since the start, by how they ended", attempts);
        registry.register_with_unit(
            "delivery_attempt_duration",
            "How long attempts took",
            Unit::Seconds,
            attempt_duration,
        );
        registry.register_with_unit(
            "delivery_end_to_end",
            "From a message's acceptance to its delivery, retries included",
            Unit::Seconds,
            end_to_end,
        );
        registry.register("deliveries_pending", "Deliveries that are owed", metrics.pending.clone());
        registry.register_with_unit(
            "delivery_oldest_pending_age",
            "How long the delivery that waits longest has been due",
            Unit::Seconds,
            metrics.oldest_pending.clone(),
        );
        registry.register(
            "dead_letters",
            "Deliveries whose every attempt failed",
            metrics.dead_letters.clone(),
        );
        registry.register(
            "consumers_behind",
            "Consumers that retention will overtake, as last looked for",
            metrics.consumers_behind.clone(),
        );
        registry.register_with_unit(
            "store",
            "Size of the store on disk",
            Unit::Bytes,
            metrics.store_bytes.clone(),
        );
        Self { registry, ..metrics }
    }

    /// So many consumers are behind.
    pub(crate) fn consumers_behind(&self, count: usize) {
        self.consumers_behind.set(i64::try_from(count).unwrap_or(i64::MAX));
    }

    fn encode(&self) -> String {
        let mut page = String::new();
        if let Err(error) = text::encode(&mut page, &self.registry) {
            tracing::error!(%error, "metrics cannot be written");
            _ = writeln!(page, "# {error}");
        }
        page
    }
}

impl Meter for Metrics {
    fn attempted(&self, attempt: &Attempt, end_to_end: Option<Duration>) {
        let class = attempt.outcome.class().map_or(0, |class| class as usize);
        if let Some(counter) = self.attempts.get(class) {
            counter.inc();
        }
        self.attempt_duration.observe(attempt.timings.total.as_secs_f64());
        if let Some(end_to_end) = end_to_end {
            self.end_to_end.observe(end_to_end.as_secs_f64());
        }
    }
}

impl CommitListener for Metrics {
    fn appended(&self, messages: &[Arc<Message>]) {
        self.accepted.inc_by(messages.len() as u64);
    }
}

/// What the page is made of.
pub(crate) struct Page {
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) store: Arc<dyn Store>,
    pub(crate) clock: Arc<dyn Clock>,
    /// Whose keys are taken; `None`: anybody may look.
    pub(crate) environment: Option<EnvironmentNo>,
}

#[expect(clippy::disallowed_types, reason = "whoever waits for it wants what it is held for")]
type Books = tokio::sync::Mutex<Option<Instant>>;

struct Shown {
    page: Page,
    /// When the books may be added up again.
    books: Books,
}

/// The route of the page.
pub(crate) fn router(page: Page) -> Router {
    let shown = Arc::new(Shown { page, books: Books::default() });
    Router::new().route("/metrics", get(show)).with_state(shown)
}

async fn show(State(shown): State<Arc<Shown>>, headers: HeaderMap) -> Response {
    match shown.may_look(&headers).await {
        Ok(true) => {}
        Ok(false) => {
            let say = "an admin or read key of the first environment is needed: Authorization: Bearer KEY\n";
            return (StatusCode::UNAUTHORIZED, [(header::WWW_AUTHENTICATE, "Bearer")], say).into_response();
        }
        Err(error) => return unavailable(&error),
    }
    match shown.sample().await {
        Ok(()) => ([(header::CONTENT_TYPE, CONTENT_TYPE)], shown.page.metrics.encode()).into_response(),
        Err(error) => unavailable(&error),
    }
}

fn unavailable(error: &Error) -> Response {
    tracing::warn!(error = error as &dyn std::error::Error, "metrics cannot be read from the store");
    (StatusCode::SERVICE_UNAVAILABLE, [(header::RETRY_AFTER, "5")], "the store does not answer\n")
        .into_response()
}

impl Shown {
    async fn may_look(&self, headers: &HeaderMap) -> Result<bool, Error> {
        let Some(environment) = self.page.environment else { return Ok(true) };
        let token = headers
            .get(header::AUTHORIZATION)
            .and_then(|value| value.to_str().ok())
            .and_then(|value| value.strip_prefix("Bearer "));
        let Some(token) = token else { return Ok(false) };
        let key = self.page.store.key(KeyHash::of(token)).await?;
        Ok(key.is_some_and(|key| {
            key.environment == environment
                && key.revoked_at.is_none()
                && matches!(key.scope, Scope::Admin | Scope::Read)
        }))
    }

    /// Reads what is not counted as it happens.
    async fn sample(&self) -> Result<(), Error> {
        let Page { metrics, store, clock, .. } = &self.page;
        metrics.store_bytes.set(store.size().await?.bytes.cast_signed());
        // Whoever comes meanwhile waits, and finds them added up.
        let mut again_at = self.books.lock().await;
        let start = Instant::now();
        if again_at.is_some_and(|at| start < at) {
            return Ok(());
        }
        let books = store.ledger().await?;
        let earliest = store.owed_endpoints().await?.into_iter().map(|owed| owed.due_at).min();
        let age = earliest.map_or(Duration::ZERO, |due_at| clock.now().since(due_at));
        metrics.pending.set(books.owed.cast_signed());
        metrics.dead_letters.set(books.exhausted.cast_signed());
        metrics.oldest_pending.set(age.as_secs_f64());
        *again_at = Some(start + BOOKS_FRESH.max(start.elapsed() * BOOKS_SHARE));
        Ok(())
    }
}
