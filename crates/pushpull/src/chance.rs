//! The machine's chance: drawn here and nowhere else.

use std::cell::RefCell;

use aws_lc_rs::rand;
use pushpull_domain::Chance;

/// Bytes drawn at once: enough for the ids of fifty messages.
const POOL: usize = 512;
/// Longest request that is served from the pool; longer ones are secrets or rare, and are drawn by themselves.
const POOLED_MAX: usize = 16;

/// Random bytes of the cryptographic library, which the system seeds.
///
/// Each message and attempt takes a few bytes, and drawing few costs as much as drawing many: so each thread
/// draws a pool. What was handed out is erased from it.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct SystemChance;

struct Pool {
    bytes: [u8; POOL],
    used: usize,
}

thread_local! {
    static HERE: RefCell<Pool> = const { RefCell::new(Pool { bytes: [0; POOL], used: POOL }) };
}

impl Chance for SystemChance {
    fn fill(&self, buffer: &mut [u8]) {
        if buffer.len() > POOLED_MAX {
            return draw(buffer);
        }
        HERE.with_borrow_mut(|pool| {
            if POOL - pool.used < buffer.len() {
                draw(&mut pool.bytes);
                pool.used = 0;
            }
            let taken = &mut pool.bytes[pool.used..pool.used + buffer.len()];
            buffer.copy_from_slice(taken);
            taken.fill(0);
            pool.used += buffer.len();
        });
    }
}

#[expect(clippy::disallowed_methods, reason = "this is where chance comes from")]
fn draw(buffer: &mut [u8]) {
    rand::fill(buffer).expect("the system gives random bytes once it is up");
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn what_is_drawn_never_comes_twice_and_is_never_left_zero() {
        let drawn: HashSet<u64> = (0..10_000).map(|_| SystemChance.word()).collect();
        assert_eq!(drawn.len(), 10_000);
        assert!(!drawn.contains(&0));
    }

    #[test]
    fn long_requests_are_filled_to_their_end() {
        let mut long = [0; 100];
        SystemChance.fill(&mut long);
        assert!(long[..50].iter().any(|b| *b != 0) && long[50..].iter().any(|b| *b != 0));
    }
}
