//! Everything at work on three nodes, while something breaks; and ledgers on both sides.

use std::{sync::atomic::Ordering, time::Duration};

use tokio::{
    sync::watch,
    task::JoinSet,
    time::{Instant, timeout},
};

use crate::{
    kill::{
        books::{self, Books, Faults},
        load::{self, Load},
    },
    readers::{self, Pace, books::Books as ReadersBooks, notes::Notes, writers::Writers},
    support::{Dice, Sink, let_pass, say},
};

use super::nodes::{Cluster, NODES};

/// Clients whose messages are pushed, and how long each rests between two.
const CLIENTS: usize = 8;
const REST: Duration = Duration::from_millis(20);
/// After the store was away, until each node has its lease again, or another has its shards.
pub(crate) const UNTIL_SHARED_OUT: Duration = Duration::from_secs(6);
/// After a node stopped, until what it had sent has arrived.
pub(crate) const UNTIL_ARRIVED: Duration = Duration::from_secs(1);
/// The longest that a reader may take to come to the end, once nothing is written any more.
const END_MAX: Duration = Duration::from_mins(2);
/// The longest that anybody is left without an answer by a node that runs.
const ANSWER_MAX: Duration = Duration::from_secs(20);

/// Clients, writers and readers of every kind on the nodes of a cluster.
pub(crate) struct Trial {
    pub(crate) cluster: Cluster,
    pub(crate) dice: Dice,
    sink: Sink,
    /// Where what is pushed beside its readers arrives.
    readers_sink: Sink,
    load: Load,
    writers: Writers,
    readers: JoinSet<Notes>,
    over: watch::Sender<Option<[u64; 2]>>,
    faults: Vec<(Instant, Instant)>,
}

impl Trial {
    /// Sets everything to work.
    pub(crate) async fn start(name: &str, cluster: Cluster) -> Self {
        let dice = Dice::new(name);
        let (sink, readers_sink) = (Sink::start(load::decide).await, Sink::start(|_, _, _| 200).await);
        let mut client = cluster.client(0);
        load::set_up(&mut client, &sink).await;
        readers::set_up(&mut client, &readers_sink).await;
        let over = watch::Sender::new(None);
        let load = Load::start_at(cluster.lives.clone(), CLIENTS, REST, &dice);
        let writers = Writers::start(&cluster.lives, &dice);
        let mut readers = readers::start_readers(&cluster.lives, &over, Pace::steady(), &dice);
        for node in 0..NODES {
            readers::start_readers_of(node, &mut readers, &cluster.lives, &over, &dice);
        }
        Self { cluster, dice, sink, readers_sink, load, writers, readers, over, faults: Vec::new() }
    }

    /// Breaks something. What is delivered meanwhile may be delivered again, and what is delivered in the time after.
    pub(crate) async fn breaks(&mut self, aftermath: Duration, how: impl AsyncFnOnce(&mut Cluster, &Dice)) {
        let began = Instant::now();
        how(&mut self.cluster, &self.dice).await;
        self.faults.push((began, Instant::now() + aftermath));
    }

    /// Whoever asked a node that runs was answered in time, if only to come back later.
    pub(crate) fn check_answers(&self) {
        let longest = self.cluster.lives.told().longest();
        say(format!("nobody waited longer than {longest:?} for an answer"));
        assert!(longest < ANSWER_MAX, "somebody waited for {longest:?}");
    }

    /// Lets everybody finish, and compares what they wrote down.
    pub(crate) async fn finish(self) {
        let Self { cluster, sink, load, writers, readers, over, faults, dice, readers_sink: _open } = self;
        let_pass(dice.millis(200, 500)).await;
        let finishing = Instant::now();
        let entries = load.finish().await;
        let written = writers.finish().await;
        let mut client = cluster.client(0);
        over.send_replace(Some(readers::heads(&mut client).await));
        let notes = timeout(END_MAX, readers.join_all()).await.expect("every reader comes to the end");
        say(format!("readers were done after {:?}", finishing.elapsed()));
        let standing = books::settled(&mut client).await;
        let told = cluster.lives.told();
        let times = told.later.load(Ordering::SeqCst);
        say(format!("turned away {times} times; finished after {:?}", finishing.elapsed()));
        cluster.stop().await;
        let pushed =
            Books { entries, arrivals: sink.take_ledger(), faults: Faults::Spans(faults), standing }.check();
        let read = ReadersBooks { written, notes, retention: None }.check();
        say(format!("pushed: {pushed}\nread: {read}"));
        let nothing = Vec::<String>::new();
        assert_eq!((pushed.wrong(), read.wrong()), (nothing.clone(), nothing));
        assert!(pushed.acknowledged > 200 && read.written > 200, "hardly anything was written");
    }
}
