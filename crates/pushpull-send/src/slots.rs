//! Places for attempts: how many there are at once in all, and whose turn it is when all are taken.
//!
//! A place is held for a moment only ([`FAST`]); an attempt that takes longer goes on in a slow place, of which
//! there are many more. So endpoints that hang fill slow places and leave the others to those that answer.
//! When places are short they go round by application first, then by endpoint.

use std::{
    collections::{HashMap, VecDeque},
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use pushpull_domain::AppNo;

/// How long an attempt may hold a fast place.
pub(crate) const FAST: Duration = Duration::from_millis(200);
/// Attempts in fast places at once.
pub(crate) const FAST_MAX: usize = 512;
/// Attempts in slow places at once: each holds a descriptor and a payload.
pub(crate) const SLOW_MAX: usize = 4_096;

/// Something that waits for its turn.
pub(crate) trait Waiter: Send + Sync {
    /// Whose turn is taken when it is served.
    fn app(&self) -> AppNo;
    /// It is its turn: the place is its own now.
    fn serve(self: Arc<Self>, slot: Slot);
}

struct Ring<W> {
    free: usize,
    apps: VecDeque<AppNo>,
    waiting: HashMap<AppNo, VecDeque<Arc<W>>>,
}

/// The places.
pub(crate) struct Slots<W> {
    ring: Mutex<Ring<W>>,
    slow: AtomicUsize,
}

/// A place that is taken. To be given back with [`Slots::give_back`].
#[derive(Debug)]
#[must_use]
pub(crate) enum Slot {
    /// For a moment.
    Fast,
    /// For as long as it takes.
    Slow,
}

impl<W: Waiter> Slots<W> {
    pub(crate) fn new() -> Self {
        Self::with(FAST_MAX)
    }

    fn with(free: usize) -> Self {
        let ring = Ring { free, apps: VecDeque::new(), waiting: HashMap::new() };
        Self { ring: Mutex::new(ring), slow: AtomicUsize::new(0) }
    }

    fn ring(&self) -> std::sync::MutexGuard<'_, Ring<W>> {
        self.ring.lock().expect("nobody panics while holding this lock")
    }

    /// A place now, or this waiter's turn later.
    pub(crate) fn take(&self, waiter: &Arc<W>) -> Option<Slot> {
        let mut ring = self.ring();
        if ring.free > 0 {
            ring.free -= 1;
            return Some(Slot::Fast);
        }
        ring.enqueue(waiter);
        None
    }

    /// Whether somebody waits for a place.
    pub(crate) fn contended(&self) -> bool {
        !self.ring().apps.is_empty()
    }

    /// Goes on in a slow place, if there is one; the fast one goes to whose turn it is.
    pub(crate) fn slow_down(&self, slot: &mut Slot) {
        if matches!(slot, Slot::Slow) {
            return;
        }
        let taken =
            self.slow.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |n| (n < SLOW_MAX).then_some(n + 1));
        if taken.is_ok() {
            self.give_back(std::mem::replace(slot, Slot::Slow));
        }
    }

    /// Gives a place back.
    #[expect(clippy::needless_pass_by_value, reason = "a place that is given back is gone")]
    pub(crate) fn give_back(&self, slot: Slot) {
        match slot {
            Slot::Slow => {
                self.slow.fetch_sub(1, Ordering::Relaxed);
            }
            Slot::Fast => {
                let next = {
                    let mut ring = self.ring();
                    let next = ring.dequeue();
                    if next.is_none() {
                        ring.free += 1;
                    }
                    next
                };
                if let Some(waiter) = next {
                    waiter.serve(Slot::Fast);
                }
            }
        }
    }
}

impl<W: Waiter> Ring<W> {
    fn enqueue(&mut self, waiter: &Arc<W>) {
        let app = waiter.app();
        let line = self.waiting.entry(app).or_default();
        if line.is_empty() {
            self.apps.push_back(app);
        }
        line.push_back(Arc::clone(waiter));
    }

    fn dequeue(&mut self) -> Option<Arc<W>> {
        let app = self.apps.pop_front()?;
        let line = self.waiting.get_mut(&app)?;
        let waiter = line.pop_front();
        if line.is_empty() {
            self.waiting.remove(&app);
        } else {
            self.apps.push_back(app);
        }
        waiter
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Named(AppNo, &'static str, Arc<Mutex<Vec<&'static str>>>);

    impl Waiter for Named {
        fn app(&self) -> AppNo {
            self.0
        }

        fn serve(self: Arc<Self>, slot: Slot) {
            assert!(matches!(slot, Slot::Fast));
            self.2.lock().unwrap().push(self.1);
        }
    }

    #[test]
    fn places_go_round_by_application() {
        let served = Arc::new(Mutex::new(Vec::new()));
        let slots = Slots::with(1);
        let waiter = |app, name| Arc::new(Named(AppNo(app), name, Arc::clone(&served)));
        let slot = slots.take(&waiter(1, "first")).unwrap();
        for (app, name) in [(1, "a1"), (1, "a2"), (1, "a3"), (2, "b1"), (3, "c1")] {
            assert!(slots.take(&waiter(app, name)).is_none());
        }
        slots.give_back(slot);
        for _ in 0..5 {
            slots.give_back(Slot::Fast);
        }
        assert_eq!(*served.lock().unwrap(), ["a1", "b1", "c1", "a2", "a3"]);
        assert!(!slots.contended());
        assert_eq!(slots.ring().free, 1);
    }

    #[test]
    fn a_slow_attempt_makes_room() {
        let served = Arc::new(Mutex::new(Vec::new()));
        let slots = Slots::with(1);
        let waiter = Arc::new(Named(AppNo(1), "next", Arc::clone(&served)));
        let mut slot = slots.take(&waiter).unwrap();
        assert!(slots.take(&waiter).is_none());
        slots.slow_down(&mut slot);
        assert!(matches!(slot, Slot::Slow));
        assert_eq!(*served.lock().unwrap(), ["next"]);
        slots.give_back(slot);
        assert_eq!(slots.slow.load(Ordering::Relaxed), 0);
    }
}
