//! `pushpull listen`: an endpoint's queue, read over the feed and posted to a program on this machine.
//!
//! One message at a time, in order. It is acknowledged only after the program answered 2xx, so nothing is lost, and a
//! kill repeats at most the one that was in flight.

mod backoff;
mod forward;
mod queue;
mod reader;
mod say;
mod target;

use std::{num::NonZeroU64, process::ExitCode, time::Duration};

use anyhow::Result;
use clap::Args;
use pushpull_domain::{ConsumerName, EventTypeName, Uid, retry::parse_wait};

use super::{
    Ending,
    remote::{Remote, Server},
    serve::Stop,
};
use backoff::Backoff;
use forward::Forwarder;
use queue::Queue;
use reader::{Item, Reader};
use say::Say;

/// Longest time for the last acknowledgement when it ends.
const LAST_WORD_MAX: Duration = Duration::from_secs(5);
/// Longest time that the program may be given to answer.
const TIMEOUT_MAX: Duration = Duration::from_hours(1);

const HELP: &str = "\
Examples:
  pushpull listen 3000 --app acme
  pushpull listen http://localhost:3000/webhooks --app acme --events invoice.paid,invoice.refunded
  pushpull listen 3000 --app acme --endpoint production --from 2026-11-24T06:00:00Z
  pushpull listen 3000 --server https://hooks.example.com --key-file key --json --exit-after 10

Without --endpoint it reads a pull endpoint of its own (listen-NAME), made on first use, whose queue goes on filling \
between runs: remove it when it is not needed any more. With --endpoint it is a reader beside whoever else gets its \
messages. A message is acknowledged once it was answered 2xx; until then it is tried again, and those behind it \
wait. Answers and messages are told on stdout, all else on stderr. Exit codes: 0 done, 1 failed, 2 usage, 7 no \
server can be reached at the start.";

/// Forward messages to a program on this machine, signed and in order; nothing is lost between runs
#[derive(Debug, Args)]
#[command(after_help = HELP, mut_arg("master_key_file", |arg| arg.hide(true)))]
pub(crate) struct Listen {
    /// Where to: a port of this machine, or a URL
    #[arg(value_name = "PORT|URL")]
    target: String,
    /// Whose messages: an application's id or uid [default: the only one there is]
    #[arg(long, value_name = "APP")]
    app: Option<Uid>,
    /// Read the queue of this endpoint, by id or uid, instead of one of its own
    #[arg(long, value_name = "ENDPOINT")]
    endpoint: Option<Uid>,
    /// The name under which the server keeps the place
    #[arg(long, value_name = "NAME", default_value = "listen")]
    consumer: ConsumerName,
    /// Only these event types, for an endpoint of its own
    #[arg(long, value_name = "TYPE,TYPE", value_delimiter = ',', conflicts_with = "endpoint")]
    events: Option<Vec<EventTypeName>>,
    /// Where a new consumer begins: earliest, latest, a seq or an RFC 3339 time [default: latest with --endpoint,
    /// else earliest]
    #[arg(long, value_name = "PLACE")]
    from: Option<String>,
    /// Go on after a message that fails, instead of trying it again
    #[arg(long)]
    skip_failing: bool,
    /// End after so many messages
    #[arg(long, value_name = "N")]
    exit_after: Option<NonZeroU64>,
    /// Longest time for an answer
    #[arg(long, value_name = "TIME", default_value = "20s", value_parser = timeout)]
    timeout: Duration,
    /// Allow a target that is not on this machine
    #[arg(long)]
    allow_external: bool,
    /// Print the secret that signatures are verified with, and end
    #[arg(long)]
    print_secret: bool,
    /// Print objects, one a line
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    remote: Remote,
}

fn timeout(text: &str) -> Result<Duration, String> {
    let time = parse_wait(text).filter(|time| !time.is_zero() && *time <= TIMEOUT_MAX);
    time.ok_or("must be a time such as 20s or 5m, at most 1h".into())
}

impl Listen {
    pub(super) fn run(self) -> Result<ExitCode> {
        let target = target::parse(&self.target, self.allow_external).map_err(Ending::usage)?;
        let reach = self.remote.reach()?;
        let server = self.remote.server(&reach)?;
        let client = target::client(self.allow_external, self.timeout, reach.ca_file)?;
        let say = Say::new(self.json, target.to_string());
        super::runtime_of(1)?.block_on(async {
            let mut stop = Stopping { stop: Stop::new()?, asked: false };
            let begun = tokio::select! {
                begun = self.begin(server, &say) => begun?,
                () = stop.requested() => return Ok(ExitCode::SUCCESS),
            };
            let Some((queue, reader)) = begun else { return Ok(ExitCode::SUCCESS) };
            let forwarder = Forwarder { client, target, signer: queue.signer };
            let session = Session {
                reader,
                forwarder,
                say,
                skip_failing: self.skip_failing,
                counts: Counts::default(),
            };
            session.run(self.exit_after.map(NonZeroU64::get), &mut stop).await
        })
    }

    /// Finds the queue and its place, and says when the stream is up; `None`: that was all that was asked.
    async fn begin(&self, mut server: Server, say: &Say) -> Result<Option<(Queue, Reader)>> {
        let queue = Queue::find(self, &mut server, say).await?;
        if self.print_secret {
            say.answer(&queue.secret)?;
            return Ok(None);
        }
        let path = format!("{}/consumer/{}", queue.path, self.consumer);
        let mut reader = Reader::new(server, path);
        let default = if self.endpoint.is_some() { "latest" } else { "earliest" };
        reader.find_place(self.from.as_deref().unwrap_or(default), self.from.is_some(), say).await?;
        reader.open(say).await?;
        say.state("ready", format!("{}, as consumer {}, to {}", queue.called, self.consumer, say.target()));
        Ok(Some((queue, reader)))
    }
}

/// The signals that ask to stop, and whether one came.
struct Stopping {
    stop: Stop,
    asked: bool,
}

impl Stopping {
    /// Waits for the next one.
    async fn requested(&mut self) {
        self.stop.requested().await;
        self.asked = true;
    }
}

/// A stream that is up.
struct Session {
    reader: Reader,
    forwarder: Forwarder,
    say: Say,
    skip_failing: bool,
    counts: Counts,
}

#[derive(Default)]
struct Counts {
    forwarded: u64,
    skipped: u64,
}

/// What became of a message.
enum Done {
    Forwarded,
    Skipped,
    /// It was told to stop first: the message comes again in the next run.
    Stopped,
}

impl Session {
    async fn run(mut self, exit_after: Option<u64>, stop: &mut Stopping) -> Result<ExitCode> {
        while !stop.asked && exit_after.is_none_or(|max| self.counts.forwarded + self.counts.skipped < max) {
            let page = tokio::select! {
                page = self.reader.next(&self.say) => page?,
                () = stop.requested() => break,
            };
            for item in &page.data {
                match self.deliver(item, stop).await? {
                    Done::Forwarded => self.counts.forwarded += 1,
                    Done::Skipped => self.counts.skipped += 1,
                    Done::Stopped => return self.end().await,
                }
            }
            self.reader.is_done_with(page);
        }
        self.end().await
    }

    /// Acknowledges what was done and not acknowledged yet.
    async fn end(mut self) -> Result<ExitCode> {
        let said = tokio::time::timeout(LAST_WORD_MAX, self.reader.acknowledge(&self.say)).await;
        let Counts { forwarded, skipped } = self.counts;
        let skipped = if skipped > 0 { format!(", {skipped} skipped") } else { String::new() };
        self.say.state("end", format!("{forwarded} forwarded{skipped}"));
        if let Ok(acknowledged) = said {
            acknowledged?;
            return Ok(ExitCode::SUCCESS);
        }
        self.say.state("end", "the last message could not be acknowledged: it comes again in the next run");
        Ok(ExitCode::FAILURE)
    }

    async fn deliver(&mut self, item: &Item, stop: &mut Stopping) -> Result<Done> {
        self.say.message(item)?;
        let Some(body) = item.body() else {
            self.say.skip(item, "its payload is not kept any more")?;
            return Ok(Done::Skipped);
        };
        let mut backoff = Backoff::for_target();
        for attempt in 1.. {
            let mut sent = std::pin::pin!(self.forwarder.send(item, &body));
            let outcome = loop {
                let was_asked = stop.asked;
                tokio::select! {
                    outcome = &mut sent => break outcome?,
                    // What is in flight is waited for, unless it is asked twice.
                    () = stop.requested() => if was_asked { return Ok(Done::Stopped) },
                }
            };
            self.say.outcome(item, attempt, &outcome)?;
            if outcome.is_success() {
                if attempt > 1 {
                    self.say.state("resume", format!("{} took seq {}", self.say.target(), item.seq));
                }
                return Ok(Done::Forwarded);
            }
            if self.skip_failing {
                self.say.skip(item, &outcome.to_string())?;
                return Ok(Done::Skipped);
            }
            let wait = backoff.next();
            self.say
                .state("retry", format!("seq {}: {outcome}; again in {}", item.seq, backoff::shown(wait)));
            tokio::select! {
                () = tokio::time::sleep(wait) => {}
                () = stop.requested() => return Ok(Done::Stopped),
            }
        }
        unreachable!("there is always a next attempt")
    }
}
