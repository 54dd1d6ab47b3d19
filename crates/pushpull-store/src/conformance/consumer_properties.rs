//! What holds for consumers whatever is asked of them, in whatever order.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use proptest::{
    collection::vec,
    prelude::{Just, Strategy},
    prop_oneof,
};
use pushpull_domain::{Endpoint, Mode, Seq, Timestamp};

use super::{
    consumers::{commit, found, key, lease as lease_to, make, status},
    fixture::{Maker, World},
    properties::check,
    work_queue::{LEASE, ack, answer_for, nack, taken},
};
use crate::{Answers, ConsumerSettings, Nack};

/// What readers call themselves; the first says nothing.
const NAMES: [&str; 3] = ["", "a", "b"];

/// Something that readers of one consumer do: two with names, and those without.
#[derive(Clone, Debug)]
enum StreamStep {
    Publish(u8),
    /// Reads so many, by this reader.
    Read(u8, u8),
    /// Commits up to so many beyond what is committed, by this reader.
    Commit(u8, u8),
    /// So many seconds pass.
    Pass(u8),
}

fn stream_steps() -> impl Strategy<Value = Vec<StreamStep>> {
    let step = prop_oneof![
        2 => (1_u8..6).prop_map(StreamStep::Publish),
        4 => (1_u8..6, 0_u8..3).prop_map(|(count, who)| StreamStep::Read(count, who)),
        4 => (0_u8..7, 0_u8..3).prop_map(|(count, who)| StreamStep::Commit(count, who)),
        2 => (0_u8..40).prop_map(StreamStep::Pass),
    ];
    vec(step, 1..50)
}

/// Whoever reads, commits and crashes, in whatever order: what is not committed is handed out again, what is
/// committed is not, nobody is handed what another holds, and nothing is committed that was not handed out.
pub async fn a_stream_is_handed_out_until_it_is_committed(maker: &impl Maker) {
    let world = World::new(maker).await;
    let count = std::cell::Cell::new(0);
    check(stream_steps(), async |steps| {
        count.set(count.get() + 1);
        let app = world.app(&format!("app-{}", count.get())).await;
        let endpoint = world.endpoint_with(&app, |endpoint| endpoint.mode = Mode::Pull).await;
        let consumer = make(&world, &endpoint, "c", None).await.unwrap();
        let (mut published, mut committed, mut handed) = (0, 0, 0);
        let mut lease: Option<(u8, Timestamp)> = None;
        for step in steps {
            let now = world.clock_now();
            lease = lease.filter(|(_, until)| *until > now);
            match step {
                StreamStep::Publish(n) => {
                    world.publish_many(&app, n.into()).await;
                    published += u64::from(n);
                }
                StreamStep::Read(n, who) => {
                    let read = found(&world, &consumer).await;
                    assert_eq!(read.committed.0, committed, "what is done is not read again");
                    let upto = published.min(committed + u64::from(n));
                    if upto == committed {
                        continue;
                    }
                    let asked = lease_to(&world, &read, upto, NAMES[usize::from(who)]).await;
                    let free = lease.is_none_or(|(holder, _)| holder == who && who > 0);
                    assert_eq!(asked.is_ok(), free, "{asked:?} while {lease:?}");
                    if free {
                        handed = if lease.is_some() { handed.max(upto) } else { upto };
                        lease = Some((who, now.after(LEASE)));
                    }
                }
                StreamStep::Commit(n, who) => {
                    let upto = committed + u64::from(n);
                    let done = commit(&world, &consumer, upto, NAMES[usize::from(who)]).await;
                    let allowed = lease.is_none_or(|(holder, _)| holder == who);
                    assert_eq!(done.is_ok(), allowed && (n == 0 || upto <= handed), "{done:?}");
                    if done.is_ok() {
                        committed = upto;
                        lease = lease.filter(|_| committed < handed);
                    }
                }
                StreamStep::Pass(secs) => world.clock.advance(Duration::from_secs(secs.into())),
            }
        }
        // Whoever goes on has everything, once those that crashed are not waited for any more.
        world.clock.advance(LEASE);
        let read = found(&world, &consumer).await;
        if read.committed.0 < published {
            let rest = lease_to(&world, &read, published, "last").await.unwrap();
            commit(&world, &rest, published, "last").await.unwrap();
        }
        assert_eq!(status(&world, &consumer).await.behind, 0);
    });
}

/// Something that is asked of a work queue.
#[derive(Clone, Debug)]
enum WorkStep {
    Publish(u8),
    Take(u8),
    /// Of what was ever taken, one.
    Ack(u8),
    Retry(u8, u8),
    Park(u8),
    Extend(u8),
    Replay,
    /// So many seconds pass.
    Pass(u8),
}

fn work_steps() -> impl Strategy<Value = Vec<WorkStep>> {
    let step = prop_oneof![
        2 => (1_u8..6).prop_map(WorkStep::Publish),
        4 => (1_u8..6).prop_map(WorkStep::Take),
        5 => (0_u8..255).prop_map(WorkStep::Ack),
        2 => (0_u8..255, 0_u8..40).prop_map(|(n, delay)| WorkStep::Retry(n, delay)),
        1 => (0_u8..255).prop_map(WorkStep::Park),
        1 => (0_u8..255).prop_map(WorkStep::Extend),
        1 => Just(WorkStep::Replay),
        3 => (0_u8..40).prop_map(WorkStep::Pass),
    ];
    vec(step, 1..60)
}

/// A work queue as it ought to be.
#[derive(Default)]
struct Model {
    published: u64,
    handed: u64,
    /// When each that is taken, or put off, comes back, in seconds; and how often it was handed out.
    out: BTreeMap<u64, (u64, u32)>,
    parked: BTreeSet<u64>,
    now: u64,
}

impl Model {
    fn undone(&self) -> Option<u64> {
        self.out.keys().chain(&self.parked).min().copied()
    }

    /// Handed out are first those that came back, then new ones.
    fn take(&mut self, max: usize, max_deliver: u32) -> BTreeSet<u64> {
        let mut due: Vec<(u64, u64)> = self
            .out
            .iter()
            .filter(|(_, (at, _))| *at <= self.now)
            .map(|(seq, (at, _))| (*at, *seq))
            .collect();
        due.sort_unstable();
        let mut got = BTreeSet::new();
        for (_, seq) in due {
            if got.len() == max {
                break;
            }
            let delivered = self.out[&seq].1;
            if delivered >= max_deliver {
                self.out.remove(&seq);
                self.parked.insert(seq);
            } else {
                self.out.insert(seq, (self.now + LEASE.as_secs(), delivered + 1));
                got.insert(seq);
            }
        }
        while got.len() < max && self.handed < self.published {
            self.handed += 1;
            self.out.insert(self.handed, (self.now + LEASE.as_secs(), 1));
            got.insert(self.handed);
        }
        got
    }
}

/// Whatever is taken, done, put back, parked and replayed, in whatever order: an item is handed out until it is done,
/// none that is done is handed out again, and the committed seq is never beyond one that is not done.
pub async fn every_item_is_handed_out_until_it_is_done(maker: &impl Maker) {
    const MAX_DELIVER: u32 = 3;
    let world = World::new(maker).await;
    let count = std::cell::Cell::new(0);
    check(work_steps(), async |steps| {
        count.set(count.get() + 1);
        let app = world.app(&format!("app-{}", count.get())).await;
        let endpoint: Arc<Endpoint> = world.endpoint_with(&app, |endpoint| endpoint.mode = Mode::Pull).await;
        let key = key(&endpoint, "c");
        let settings = ConsumerSettings { max_deliver: MAX_DELIVER, ..ConsumerSettings::default() };
        world.store.create_consumer(key.clone(), None, settings).await.unwrap().unwrap();
        let mut model = Model::default();
        for step in steps {
            let pick = |n: u8| (model.handed > 0).then(|| u64::from(n) % model.handed + 1);
            match step {
                WorkStep::Publish(n) => {
                    world.publish_many(&app, n.into()).await;
                    model.published += u64::from(n);
                }
                WorkStep::Take(max) => {
                    let got: BTreeSet<u64> =
                        taken(&world, &key, max.into()).await.iter().map(|(seq, _)| *seq).collect();
                    assert_eq!(got, model.take(max.into(), MAX_DELIVER));
                }
                WorkStep::Ack(n) => {
                    let Some(seq) = pick(n) else { continue };
                    ack(&world, &key, &[seq]).await;
                    model.out.remove(&seq);
                    model.parked.remove(&seq);
                }
                WorkStep::Retry(n, delay) => {
                    let Some(seq) = pick(n) else { continue };
                    let delay = Duration::from_secs(delay.into());
                    let answered = answer_for(&world, &key, nack(seq, Nack::Retry(delay))).await;
                    assert_eq!(answered.lost.is_empty(), model.out.contains_key(&seq));
                    if let Some((at, delivered)) = model.out.get_mut(&seq) {
                        *at = model.now + delay.as_secs();
                        if *delivered >= MAX_DELIVER {
                            model.out.remove(&seq);
                            model.parked.insert(seq);
                        }
                    }
                }
                WorkStep::Park(n) => {
                    let Some(seq) = pick(n) else { continue };
                    answer_for(&world, &key, nack(seq, Nack::Park)).await;
                    if model.out.remove(&seq).is_some() {
                        model.parked.insert(seq);
                    }
                }
                WorkStep::Extend(n) => {
                    let Some(seq) = pick(n) else { continue };
                    let extend = vec![(Seq(seq), LEASE)];
                    answer_for(&world, &key, Answers { extend, ..Answers::default() }).await;
                    if let Some((at, _)) = model.out.get_mut(&seq) {
                        *at = model.now + LEASE.as_secs();
                    }
                }
                WorkStep::Replay => {
                    let replayed = world.store.replay(key.clone(), None).await.unwrap().unwrap();
                    assert_eq!(replayed, model.parked.len() as u64);
                    let now = model.now;
                    model
                        .out
                        .extend(std::mem::take(&mut model.parked).into_iter().map(|seq| (seq, (now, 0))));
                }
                WorkStep::Pass(secs) => {
                    world.clock.advance(Duration::from_secs(secs.into()));
                    model.now += u64::from(secs);
                }
            }
            let status = world.store.consumer_status(key.clone()).await.unwrap().unwrap();
            assert_eq!((status.taken, status.parked), (model.out.len() as u64, model.parked.len() as u64));
            let committed = status.consumer.committed.0;
            assert!(
                model.undone().is_none_or(|undone| committed < undone),
                "{committed}, {:?}",
                model.undone()
            );
            assert!(committed <= model.handed);
        }
        // Whoever goes on until nothing is left has done everything, once it is replayed.
        loop {
            world.clock.advance(Duration::from_mins(1));
            world.store.replay(key.clone(), None).await.unwrap().unwrap();
            let seqs: Vec<u64> = taken(&world, &key, 50).await.iter().map(|(seq, _)| *seq).collect();
            // What was handed out too often is parked by the take, and comes with the next replay.
            let parked = world.store.consumer_status(key.clone()).await.unwrap().unwrap().parked;
            if seqs.is_empty() && parked == 0 {
                break;
            }
            ack(&world, &key, &seqs).await;
        }
        let consumer = world.store.consumer(key).await.unwrap().unwrap();
        assert_eq!(consumer.committed.0, model.published);
    });
}
