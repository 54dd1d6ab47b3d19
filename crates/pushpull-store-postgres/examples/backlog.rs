//! Measures what a look at a long backlog costs, also while somebody holds a transaction open and after it has ended.
//!
//! `cargo run --release -p pushpull-store-postgres --example backlog -- URL [ROWS] [MINUTES] [DAYS]`: an empty database,
//! how many deliveries are owed (1,000,000), how long the foreign transaction is held (10), and how many days before
//! have partitions (0). Prints for each span the
//! 50th, 99th and 100th hundredth of the time of `due` for 256 deliveries, and dead rows for each delivery.

#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "a measurement, told to who runs it")]

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use futures_util::future::join_all;
use pushpull_domain::{
    Clock, Delivery, DeliveryState, Timestamp,
    attempt::{Attempt, Outcome, Timings, Trigger},
};
use pushpull_store::{Deliveries, DueOrder, Log, Settlement, Store, Upkeep};
use pushpull_store_postgres::Postgres;
use pushpull_testkit::{new_app, new_endpoint, new_message, postgres_options};
use tokio::time::{Instant, interval};
use tokio_postgres::{Client, NoTls};

/// Deliveries of one look.
const PAGE: usize = 256;
/// Looks a second: some 1,280 deliveries.
const LOOKS: u32 = 5;

/// What the machine's says, or so many days before.
#[derive(Default)]
struct SystemClock {
    days_ago: AtomicU64,
}

impl Clock for SystemClock {
    #[expect(
        clippy::disallowed_methods,
        reason = "what is due is due by the clock of the machine that is measured"
    )]
    fn now(&self) -> Timestamp {
        let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
        let then = since.saturating_sub(Duration::from_hours(24 * self.days_ago.load(Ordering::SeqCst)));
        Timestamp::from_millis(i64::try_from(then.as_millis()).unwrap())
    }
}

#[tokio::main]
async fn main() {
    let mut args = std::env::args().skip(1);
    let url = args.next().expect("a URL");
    let rows: usize = args.next().map_or(1_000_000, |rows| rows.parse().unwrap());
    let minutes: u64 = args.next().map_or(10, |minutes| minutes.parse().unwrap());
    let days: u64 = args.next().map_or(0, |days| days.parse().unwrap());
    let bench = Bench::open(&url, days).await;
    bench.begin(days).await;
    bench.fill(rows).await;
    println!("{rows} deliveries are owed");
    bench.span("before", Duration::from_secs(30)).await;
    let foreign = connect(&url).await;
    foreign.batch_execute("BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT count(*) FROM app").await.unwrap();
    for minute in 1..=minutes {
        bench.span(&format!("held, minute {minute}"), Duration::from_mins(1)).await;
    }
    foreign.batch_execute("COMMIT").await.unwrap();
    for tens in 1..=9 {
        bench.span(&format!("ended, {} s", tens * 10), Duration::from_secs(10)).await;
    }
    bench.store.close().await;
}

struct Bench {
    clock: Arc<SystemClock>,
    store: Arc<Postgres>,
    log: Log,
    look: Client,
    app: pushpull_domain::App,
    endpoint: Arc<pushpull_domain::Endpoint>,
}

impl Bench {
    async fn open(url: &str, days: u64) -> Self {
        let clock = Arc::new(SystemClock { days_ago: AtomicU64::new(days) });
        let options = postgres_options(url, Arc::clone(&clock) as Arc<dyn Clock>, 7);
        let store = Arc::new(Postgres::open(options).await.unwrap());
        let log = Log::new(Arc::clone(&store) as Arc<dyn Store>);
        let id = pushpull_domain::EnvironmentId::new(clock.now(), [1; 15]);
        let environment = log.store().first_environment(id, "bench").await.unwrap();
        let app = log.store().create_app(new_app(environment.no, "bench")).await.unwrap();
        let endpoint = new_endpoint(app.no, "https://receiver.test/");
        let endpoint = log.store().create_endpoint(endpoint).await.unwrap();
        Self { clock, store, log, look: connect(url).await, app, endpoint }
    }

    /// A message on each of so many days before, delivered.
    async fn begin(&self, days: u64) {
        for days_ago in (0..days).rev() {
            self.publish(1).await;
            self.look().await;
            self.clock.days_ago.store(days_ago, Ordering::SeqCst);
        }
    }

    async fn publish(&self, count: usize) {
        let app = self.log.store().app_by_no(self.app.no).await.unwrap().unwrap();
        let payload = format!("{{\"filler\":\"{}\"}}", "x".repeat(1_000));
        let published = (0..count).map(|_| self.log.publish(&app, new_message(&payload), None));
        join_all(published).await.into_iter().for_each(|published| drop(published.unwrap()));
    }

    async fn fill(&self, rows: usize) {
        for _ in 0..rows.div_ceil(PAGE * 4) {
            self.publish(PAGE * 4).await;
        }
    }

    /// Looks and settles what was found; how long the look took, and how much was found.
    async fn look(&self) -> (Duration, usize) {
        let asked = Instant::now();
        let order = DueOrder::ByTime { until: self.clock.now() };
        let page = self.store.due(self.endpoint.no, order, Vec::new(), PAGE).await.unwrap();
        let took = asked.elapsed();
        let settlements = page.items.iter().map(|due| answered(due.delivery, self.clock.now())).collect();
        self.store.settle(settlements).await.unwrap();
        (took, page.items.len())
    }

    /// Looks at a steady pace.
    async fn span(&self, name: &str, lasts: Duration) {
        let before = self.updates().await;
        let (mut times, mut delivered) = (Vec::new(), 0);
        let mut ticks = interval(Duration::from_secs(1) / LOOKS);
        let end = Instant::now() + lasts;
        while Instant::now() < end {
            ticks.tick().await;
            let (took, found) = self.look().await;
            times.push(took);
            delivered += found;
        }
        times.sort_unstable();
        let at = |hundredth: usize| times[(times.len() - 1) * hundredth / 100].as_secs_f64() * 1e3;
        let dead = (self.updates().await - before) as f64 / delivered.max(1) as f64;
        println!(
            "{name:<16} {delivered:>7} delivered, due: p50 {:.1}, p99 {:.1}, max {:.1} ms; {dead:.2} dead rows a delivery",
            at(50),
            at(99),
            at(100)
        );
    }

    /// Rows that were changed or deleted, each of which leaves a dead one.
    async fn updates(&self) -> i64 {
        // The statistics come with a delay of up to a second.
        self.look.batch_execute("SELECT pg_stat_force_next_flush()").await.unwrap();
        let sum = "SELECT sum(n_tup_upd + n_tup_del)::bigint FROM pg_stat_user_tables WHERE relname LIKE 'delivery%' OR relname LIKE 'attempt%'";
        self.look.query_one(sum, &[]).await.unwrap().get(0)
    }
}

fn answered(delivery: Delivery, started_at: Timestamp) -> Settlement {
    let outcome = Outcome::Delivered { status: 200, body: Bytes::new() };
    let attempt = Attempt { started_at, trigger: Trigger::Scheduled, outcome, timings: Timings::default() };
    let delivery = Delivery { state: DeliveryState::Delivered, attempts: delivery.attempts + 1, ..delivery };
    Settlement { delivery, attempt: Some((attempt, Arc::from("https://receiver.test/"))) }
}

async fn connect(url: &str) -> Client {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await.unwrap();
    #[expect(clippy::disallowed_methods, reason = "it ends with the connection")]
    tokio::spawn(connection);
    client
}
