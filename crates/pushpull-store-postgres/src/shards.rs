//! Which applications this node brings what they are owed: shards, held under a lease that others see run out.
//!
//! An application's shard follows from its number. A node holds its shards as long as it renews its lease in time, by
//! the database's clock; whoever finds a lease run out takes the shards with an epoch that is greater by one, and what
//! was decided under the older one is not written any more. So a node that was paused and wakes changes nothing, and
//! as it looks at its own clock before each attempt, it begins nothing either.

use std::{
    sync::{
        Mutex,
        atomic::{AtomicBool, AtomicI32, AtomicU64, Ordering},
    },
    time::Duration,
};

use pushpull_domain::{AppNo, Timestamp};
use tokio::time::Instant;

/// How many shards there are. Fixed: the migration made them.
pub(crate) const SHARDS: usize = 64;
/// How long a lease lasts that is not renewed.
pub(crate) const LEASE: Duration = Duration::from_secs(4);
/// So much earlier a node takes its own lease for lost: its clock and the database's need not run alike.
const LEASE_MARGIN: Duration = Duration::from_millis(500);
/// A shard that is handed over is kept at most so long after nothing new is begun, for what is in flight and its
/// outcomes: longer than an attempt may take.
const HANDOVER_MAX: Duration = Duration::from_secs(22);
/// And at least so long, as whoever was about to begin may not have been seen yet.
const HANDOVER_MIN: Duration = Duration::from_millis(250);

/// Clocks that differ by more are told of.
const CLOCKS_DIFFER: Duration = Duration::from_secs(1);

/// The shard of an application.
pub(crate) fn shard_of(app: AppNo) -> usize {
    app.0 as usize % SHARDS
}

/// The shards that this node holds.
pub(crate) struct Shards {
    pub(crate) node: AtomicI32,
    /// A bit for each shard that attempts may begin for.
    pub(crate) held: AtomicU64,
    /// Until when the lease holds, in milliseconds after `started`.
    until: AtomicU64,
    started: Instant,
    /// Under which epoch each is held. Those that are being handed over are among them.
    epochs: Mutex<[Option<i64>; SHARDS]>,
    handovers: Mutex<Vec<(usize, Instant)>>,
    /// Whether there was no other node at the last look.
    alone: AtomicBool,
    /// When it was last warned of a clock that is wrong, in minutes after `started`, counted from 1.
    warned: AtomicU64,
}

impl Default for Shards {
    fn default() -> Self {
        Self {
            node: AtomicI32::new(0),
            held: AtomicU64::new(0),
            until: AtomicU64::new(0),
            started: Instant::now(),
            epochs: Mutex::new([None; SHARDS]),
            handovers: Mutex::default(),
            alone: AtomicBool::new(false),
            warned: AtomicU64::new(0),
        }
    }
}

impl Shards {
    /// Which node this is; 0: none yet.
    pub(crate) fn node(&self) -> i32 {
        self.node.load(Ordering::SeqCst)
    }

    /// Whether nobody else has to be told of anything. One that joins looks by itself until it is seen.
    pub(crate) fn is_alone(&self) -> bool {
        self.alone.load(Ordering::Relaxed)
    }

    pub(crate) fn set_alone(&self, alone: bool) {
        self.alone.store(alone, Ordering::Relaxed);
    }

    /// Whether attempts may begin for an application, now.
    pub(crate) fn owns(&self, app: AppNo) -> bool {
        let held = self.held.load(Ordering::Acquire) & (1 << shard_of(app)) != 0;
        held && self.lease_holds()
    }

    /// What is due is due by the clock of the node that took it in, and goes out by that of the node that brings it:
    /// where these differ it goes out late. Told of once a minute.
    pub(crate) fn compare_clocks(&self, own: Timestamp, databases: Timestamp) {
        let off = own.since(databases).max(databases.since(own));
        let minute = 1 + self.started.elapsed().as_secs() / 60;
        if off > CLOCKS_DIFFER && self.warned.swap(minute, Ordering::Relaxed) != minute {
            tracing::warn!(
                own = %own, databases = %databases,
                "the clocks of this machine and of the database differ: what one node takes in may go out late from \
                 another"
            );
        }
    }

    pub(crate) fn lease_holds(&self) -> bool {
        #[cfg(feature = "faults")]
        if crate::faults::is_committed(crate::faults::Fault::NoFencing) {
            return true;
        }
        self.started.elapsed() < Duration::from_millis(self.until.load(Ordering::Acquire))
    }

    /// The shards under whose epochs outcomes are written: numbers, and epochs.
    pub(crate) fn fence(&self) -> (Vec<i16>, Vec<i64>) {
        let epochs = self.epochs.lock().expect("nobody panics while holding this lock");
        epochs.iter().enumerate().filter_map(|(no, epoch)| Some((no as i16, (*epoch)?))).unzip()
    }

    pub(crate) fn renewed(&self, asked_at: Instant) {
        let until = (asked_at + LEASE - LEASE_MARGIN).duration_since(self.started);
        self.until.store(until.as_millis() as u64, Ordering::Release);
    }

    /// What the database says this node holds; whether that is something else than before.
    pub(crate) fn learn(&self, holds: &[(i16, i64)]) -> bool {
        let mut now = [None; SHARDS];
        for (no, epoch) in holds {
            now[*no as usize] = Some(*epoch);
        }
        let leaving: u64 = {
            let mut handovers = self.handovers.lock().expect("nobody panics while holding this lock");
            handovers.retain(|(no, _)| now[*no].is_some());
            handovers.iter().map(|(no, _)| 1 << no).sum()
        };
        let mut epochs = self.epochs.lock().expect("nobody panics while holding this lock");
        let changed = *epochs != now;
        *epochs = now;
        let held =
            now.iter().enumerate().filter(|(_, epoch)| epoch.is_some()).map(|(no, _)| 1 << no).sum::<u64>();
        changed | (self.held.swap(held & !leaving, Ordering::AcqRel) != held & !leaving)
    }

    /// These are given back: their handover is over, and whoever takes one, this node too, holds it anew.
    pub(crate) fn given_back(&self, gone: &[i16]) {
        let mut handovers = self.handovers.lock().expect("nobody panics while holding this lock");
        handovers.retain(|(no, _)| !gone.contains(&(*no as i16)));
    }

    /// Sees to it that this node keeps so many of those it holds: hands over what is too many, or keeps some of what it
    /// was about to hand over; whether anything changed.
    pub(crate) fn keep(&self, share: usize, held: usize) -> bool {
        let leaving = self.handovers.lock().expect("nobody panics while holding this lock").len();
        let staying = held.saturating_sub(leaving);
        if staying < share {
            return self.keep_after_all(share - staying);
        }
        self.hand_over(staying - share);
        staying > share
    }

    /// Ends so many handovers: others need them no more. What [`Shards::learn`] is told next takes them up again.
    fn keep_after_all(&self, count: usize) -> bool {
        let mut handovers = self.handovers.lock().expect("nobody panics while holding this lock");
        let rest = handovers.len().saturating_sub(count);
        !handovers.split_off(rest).is_empty()
    }

    /// Begins to hand so many shards over: nothing new is begun for them.
    fn hand_over(&self, count: usize) {
        let mut handovers = self.handovers.lock().expect("nobody panics while holding this lock");
        let mut held = self.held.load(Ordering::Acquire);
        for no in (0..SHARDS).rev().filter(|no| held & (1 << no) != 0).take(count).collect::<Vec<_>>() {
            held &= !(1 << no);
            handovers.push((no, Instant::now()));
        }
        self.held.store(held, Ordering::Release);
    }

    /// Those whose handover is over: nothing is under way for them any more, or it takes too long.
    pub(crate) fn handed_over(&self, is_busy: impl Fn(usize) -> bool) -> Vec<i16> {
        let handovers = self.handovers.lock().expect("nobody panics while holding this lock").clone();
        let is_over = |(no, since): &(usize, Instant)| match since.elapsed() {
            early if early < HANDOVER_MIN => false,
            late => late >= HANDOVER_MAX || !is_busy(*no),
        };
        handovers.iter().filter(|handover| is_over(handover)).map(|(no, _)| *no as i16).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_handed_over_is_not_begun_any_more_and_given_back_later() {
        let shards = Shards::default();
        shards.renewed(Instant::now());
        assert!(shards.learn(&[(0, 1), (1, 1), (2, 5)]));
        assert!(!shards.learn(&[(0, 1), (1, 1), (2, 5)]), "nothing new");
        assert!((0..3).all(|no| shards.owns(AppNo(no))) && !shards.owns(AppNo(3)));
        assert!(shards.owns(AppNo(64 + 2)), "an application's number says which shard it is of");
        shards.hand_over(1);
        assert!(!shards.owns(AppNo(2)));
        assert_eq!(shards.fence(), (vec![0, 1, 2], vec![1, 1, 5]), "outcomes are still written");
        assert_eq!(shards.handed_over(|_| false), [] as [i16; 0]);
        assert!(shards.learn(&[(0, 1), (1, 1)]));
        assert_eq!(shards.fence(), (vec![0, 1], vec![1, 1]));
        assert!(shards.learn(&[(0, 1), (1, 1), (2, 7)]), "it may come back");
        assert!(shards.owns(AppNo(2)));
    }

    #[tokio::test(start_paused = true)]
    async fn a_shard_that_comes_back_is_held_and_a_handover_that_nobody_needs_ends() {
        let shards = Shards::default();
        shards.renewed(Instant::now());
        shards.learn(&[(0, 1), (1, 1), (2, 1)]);
        assert!(shards.keep(1, 3), "two are too many");
        assert!(shards.owns(AppNo(0)) && !shards.owns(AppNo(1)) && !shards.owns(AppNo(2)));
        tokio::time::advance(HANDOVER_MIN).await;
        let gone = shards.handed_over(|shard| shard == 1);
        assert_eq!(gone, [2]);
        shards.given_back(&gone);
        // Whom they were for has gone: this one takes back what it gave, and keeps what it was about to give.
        assert!(shards.keep(3, 3));
        assert!(shards.learn(&[(0, 1), (1, 1), (2, 3)]));
        assert!((0..3).all(|no| shards.owns(AppNo(no))));
        assert!(!shards.keep(3, 3) && !shards.learn(&[(0, 1), (1, 1), (2, 3)]), "all is quiet");
    }

    #[tokio::test(start_paused = true)]
    async fn a_shard_is_kept_as_long_as_attempts_are_under_way_for_it() {
        let shards = Shards::default();
        shards.learn(&[(0, 1), (1, 1)]);
        shards.hand_over(2);
        tokio::time::advance(HANDOVER_MIN).await;
        assert_eq!(shards.handed_over(|shard| shard == 1), [0]);
        tokio::time::advance(HANDOVER_MAX).await;
        assert_eq!(shards.handed_over(|_| true), [1, 0], "not for ever");
    }

    #[tokio::test(start_paused = true)]
    async fn a_lease_that_was_not_renewed_is_lost_before_others_may_take_it() {
        let shards = Shards::default();
        shards.learn(&[(0, 1)]);
        assert!(!shards.owns(AppNo(0)), "not yet");
        shards.renewed(Instant::now());
        tokio::time::advance(Duration::from_millis(3_499)).await;
        assert!(shards.owns(AppNo(0)));
        tokio::time::advance(Duration::from_millis(1)).await;
        assert!(!shards.owns(AppNo(0)));
    }
}
