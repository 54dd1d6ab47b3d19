//! The story: three messages to four receivers, three of which are in trouble, a burst, and a reader that catches up.

mod reading;

use std::{
    collections::{HashMap, HashSet},
    io::Write,
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use pushpull_domain::Clock;
use serde_json::{Value, json};
use tokio::{sync::mpsc, task::JoinSet, time::Instant};

use super::{
    receiver::{Arrival, Receiver, Who},
    report::{Ledger, Report},
};
use crate::{clock::SystemClock, commands::call::Api};

/// The messages that everybody gets.
const STORY: [(&str, &str); 3] = [
    ("invoice.created", r#"{"invoice":"in_1001","total":4200,"currency":"EUR"}"#),
    ("invoice.paid", r#"{"invoice":"in_1001","paid":4200,"method":"card"}"#),
    ("invoice.refunded", r#"{"invoice":"in_1001","refunded":1200}"#),
];
/// Attempts that fail for each message to a receiver that nobody reaches: the first, and one for each wait.
const ATTEMPTS: usize = 3;
/// Messages of the burst.
const BURST: usize = 200;
/// Callers that send the burst.
const CALLERS: usize = 8;
/// Longest time for the whole story; on a quiet machine it takes three seconds.
const STORY_MAX: Duration = Duration::from_mins(1);
/// How often the attempts at receivers that nobody reaches are asked for: nobody but the server sees them.
const LOOK_INTERVAL: Duration = Duration::from_millis(100);
/// Arrivals that wait to be told.
const ARRIVALS_MAX: usize = 1_024;

/// The story, as far as it has been told.
pub(super) struct Story {
    start: Instant,
    /// Until then it is waited for what must come.
    deadline: Instant,
    url: String,
    key: String,
    api: Api,
    /// The application's id.
    app: String,
    endpoints: HashMap<Who, String>,
    /// The one that is down.
    down: Option<Receiver>,
    /// The one that never listens; kept, so that nobody else gets its port.
    gone: Option<Receiver>,
    receivers: JoinSet<std::io::Result<()>>,
    arrivals: mpsc::Receiver<Arrival>,
    ledger: Ledger,
    /// Attempts at the receivers that nobody reaches, as the server lists them, by message.
    told: HashMap<(Who, String), HashSet<String>>,
}

impl Story {
    /// Makes an application with four endpoints.
    pub(super) async fn begin(url: &str, key: &str) -> Result<Self> {
        let address = url.trim_start_matches("http://").parse().context("read the server's address")?;
        let api = Api::new(address, Some(key.to_owned()));
        let app = id(api.call("POST", "/api/v1/app", Some(&json!({"name": "demo", "uid": "demo"}))).await?)?;
        let (sender, arrivals) = mpsc::channel(ARRIVALS_MAX);
        let mut story = Self {
            start: Instant::now(),
            deadline: Instant::now() + STORY_MAX,
            url: url.to_owned(),
            key: key.to_owned(),
            api,
            app,
            endpoints: HashMap::new(),
            down: None,
            gone: None,
            receivers: JoinSet::new(),
            arrivals,
            ledger: Ledger::default(),
            told: HashMap::new(),
        };
        println(format!("pushpull demo   store: temporary   server: {url}"))?;
        for who in Who::ALL {
            story.add(who, sender.clone()).await?;
        }
        story.say(
            "ready",
            "four endpoints: good; flaky, which fails twice; down, where nobody listens yet; gone, where nobody ever will",
        )?;
        Ok(story)
    }

    async fn add(&mut self, who: Who, arrivals: mpsc::Sender<Arrival>) -> Result<()> {
        let receiver = Receiver::new(who, arrivals)?;
        let mut endpoint =
            json!({"url": format!("http://{}/{}", receiver.address, who.name()), "uid": who.name()});
        if who != Who::Good {
            endpoint["filterTypes"] = json!(STORY.map(|(event_type, _)| event_type));
        }
        let made = id(self.api.call("POST", &self.path("/endpoint"), Some(&endpoint)).await?)?;
        let (_, secret) = self.api.call("GET", &self.path(&format!("/endpoint/{made}/secret")), None).await?;
        receiver.trust(secret["key"].as_str().context("read the endpoint's secret")?);
        self.endpoints.insert(who, made);
        match who {
            Who::Good | Who::Flaky => drop(self.receivers.spawn(receiver.open())),
            Who::Down => self.down = Some(receiver),
            Who::Gone => self.gone = Some(receiver),
        }
        Ok(())
    }

    /// Tells it to the end.
    pub(super) async fn tell(&mut self) -> Result<Report> {
        let since = SystemClock.now().before(Duration::from_secs(1));
        for (event_type, payload) in STORY {
            let at = Instant::now();
            let body = json!({"eventType": event_type, "payload": serde_json::from_str::<Value>(payload)?});
            let message = id(self.api.call("POST", &self.path("/msg"), Some(&body)).await?)?;
            self.ledger.send(&message, at, &Who::ALL);
            let stored = ms(at.elapsed());
            self.say("in", format!("{event_type:<18} {}  signed, stored in {stored}", short(&message)))?;
            self.catch_up()?;
        }
        let failures = STORY.len() * ATTEMPTS * Who::UNREACHED.len();
        self.until(|story| {
            story.ledger.taken_by(Who::Good) == STORY.len()
                && story.ledger.taken_by(Who::Flaky) == STORY.len()
                && story.told.values().map(HashSet::len).sum::<usize>() == failures
        })
        .await?;

        self.come_back(&since.to_string()).await?;
        self.until(|story| story.ledger.taken_by(Who::Down) == STORY.len()).await?;

        self.burst().await?;
        self.catch_up_by_pull().await?;
        Ok(self.ledger.report())
    }

    /// The receiver that was down listens, and its endpoint is recovered.
    async fn come_back(&mut self, since: &str) -> Result<()> {
        let receiver = self.down.take().context("it comes back once")?;
        self.say("up", format!("down is back on {}", receiver.address))?;
        self.receivers.spawn(receiver.open());
        let path = self.path(&format!("/endpoint/{}/recover", self.endpoints[&Who::Down]));
        let (status, answer) = self.api.call("POST", &path, Some(&json!({"since": since}))).await?;
        ensure!(status.is_success(), "recover: {status} {answer}");
        self.say("recover", "what failed at down since the start is owed again")
    }

    /// Many messages at once, to the good receiver alone.
    async fn burst(&mut self) -> Result<()> {
        let at = Instant::now();
        let mut callers = JoinSet::new();
        for caller in 0..CALLERS {
            let (api, path) = (self.api.clone(), self.path("/msg"));
            callers.spawn(async move {
                let mut sent = Vec::new();
                for n in (caller..BURST).step_by(CALLERS) {
                    let at = Instant::now();
                    let body = json!({"eventType": "meter.read", "payload": {"meter": n, "kwh": n * 7}});
                    sent.push((id(api.call("POST", &path, Some(&body)).await?)?, at));
                }
                anyhow::Ok(sent)
            });
        }
        self.say("in", format!("meter.read         {BURST} messages from {CALLERS} callers at once"))?;
        let expected = self.ledger.taken_by(Who::Good) + BURST;
        while !callers.is_empty() || self.ledger.taken_by(Who::Good) < expected {
            tokio::select! {
                Some(arrival) = self.arrivals.recv() => self.ledger.arrive(arrival),
                Some(done) = callers.join_next() => {
                    for (message, at) in done.context("send the burst")?? {
                        self.ledger.send(&message, at, &[Who::Good]);
                    }
                }
                () = tokio::time::sleep_until(self.deadline) => return Ok(()),
            }
        }
        self.say(
            "out",
            format!("-> {:<6} [200] {BURST} deliveries, {} after the first call", "good", ms(at.elapsed())),
        )
    }

    /// Tells what happens until it has come so far, or the time for the story is over: the report then says
    /// what is missing.
    async fn until(&mut self, is_reached: impl Fn(&Self) -> bool) -> Result<()> {
        let mut look = tokio::time::interval(LOOK_INTERVAL);
        while !is_reached(self) {
            tokio::select! {
                Some(arrival) = self.arrivals.recv() => self.tell_arrival(arrival)?,
                _ = look.tick() => self.tell_failures().await?,
                () = tokio::time::sleep_until(self.deadline) => return Ok(()),
            }
        }
        Ok(())
    }

    /// Tells what happens from now on.
    pub(super) async fn go_on(&mut self) -> Result<()> {
        while let Some(arrival) = self.arrivals.recv().await {
            self.tell_arrival(arrival)?;
        }
        Ok(())
    }

    /// Tells what has come already.
    fn catch_up(&mut self) -> Result<()> {
        while let Ok(arrival) = self.arrivals.try_recv() {
            self.tell_arrival(arrival)?;
        }
        Ok(())
    }

    fn tell_arrival(&mut self, arrival: Arrival) -> Result<()> {
        let Arrival { to, message, attempt, status, is_signed, at } = &arrival;
        let signature = if *is_signed { "signature ok" } else { "SIGNATURE WRONG" };
        let attempt =
            if *attempt > 1 || !status.is_success() { format!("attempt {attempt}, ") } else { String::new() };
        let line =
            format!("-> {:<6} [{}] {}  {attempt}{signature}", to.name(), status.as_u16(), short(message));
        self.say_at(*at, "out", line)?;
        self.ledger.arrive(arrival);
        Ok(())
    }

    /// Tells of attempts that reached nobody.
    async fn tell_failures(&mut self) -> Result<()> {
        for who in Who::UNREACHED {
            let path = self.path(&format!("/attempt/endpoint/{}?status=2&limit=250", self.endpoints[&who]));
            let (status, list) = self.api.call("GET", &path, None).await?;
            ensure!(status.is_success(), "list attempts: {status} {list}");
            // Newest first as they are listed.
            for attempt in list["data"].as_array().into_iter().flatten().rev() {
                let text = |field: &str| attempt[field].as_str().unwrap_or_default().to_owned();
                let told = self.told.entry((who, text("msgId"))).or_default();
                if told.insert(text("id")) {
                    let (attempt, class) = (told.len(), text("errorClass").replace('_', " "));
                    self.ledger.fail_to_reach();
                    let line = format!(
                        "-> {:<6} [---] {}  attempt {attempt}, {class}",
                        who.name(),
                        short(&text("msgId"))
                    );
                    self.say("out", line)?;
                }
            }
        }
        Ok(())
    }

    /// What to try now.
    pub(super) fn next_steps(&self) -> [String; 4] {
        let Self { url, key, app, .. } = self;
        let path = format!("{url}/api/v1/app/{app}");
        [
            format!(
                "curl {path}/msg -H 'Authorization: Bearer {key}' -H 'Content-Type: application/json' \
                 -d '{{\"eventType\":\"invoice.paid\",\"payload\":{{\"total\":42}}}}'"
            ),
            format!("curl {path}/attempt/endpoint/flaky -H 'Authorization: Bearer {key}'"),
            format!("curl {path}/poller/gone -H 'Authorization: Bearer {key}'"),
            format!("curl {url}/metrics -H 'Authorization: Bearer {key}'"),
        ]
    }

    fn path(&self, rest: &str) -> String {
        format!("/api/v1/app/{}{rest}", self.app)
    }

    fn say(&self, what: &str, line: impl AsRef<str>) -> Result<()> {
        self.say_at(Instant::now(), what, line)
    }

    fn say_at(&self, at: Instant, what: &str, line: impl AsRef<str>) -> Result<()> {
        let seconds = at.saturating_duration_since(self.start).as_secs_f64();
        println(format!("{seconds:05.2}  {what:<8} {}", line.as_ref()))
    }
}

fn println(line: String) -> Result<()> {
    writeln!(std::io::stdout(), "{line}").context("write to stdout")
}

/// The id of what was made.
fn id((status, answer): (http::StatusCode, Value)) -> Result<String> {
    let id = answer["id"].as_str().filter(|_| status.is_success());
    id.map(str::to_owned).with_context(|| format!("{status}: {answer}"))
}

/// Enough of an id to tell it from others by: its end.
fn short(id: &str) -> String {
    let kept = id.len().saturating_sub(6);
    format!("msg_..{}", id.get(kept..).unwrap_or_default())
}

fn ms(time: Duration) -> String {
    format!("{:.1} ms", time.as_secs_f64() * 1e3)
}
