//! Chance, handed in.

use std::sync::Mutex;

/// Where random bytes come from. Only the binary's draws from the system.
pub trait Chance: Send + Sync + 'static {
    /// Fills a buffer with bytes that nobody can foresee.
    fn fill(&self, buffer: &mut [u8]);

    /// A number in 0..1.
    fn fraction(&self) -> f64 {
        // 53 bits: as many as a double holds.
        (self.word() >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// Eight bytes, as a number.
    fn word(&self) -> u64 {
        let mut bytes = [0; 8];
        self.fill(&mut bytes);
        u64::from_be_bytes(bytes)
    }
}

/// So many bytes of chance.
pub fn bytes<const N: usize>(chance: &dyn Chance) -> [u8; N] {
    let mut bytes = [0; N];
    chance.fill(&mut bytes);
    bytes
}

/// The same bytes each time from the same seed (splitmix64): for tests and demonstrations, never for secrets.
#[derive(Debug)]
pub struct SeededChance(Mutex<u64>);

impl SeededChance {
    /// Starts at a seed.
    pub const fn new(seed: u64) -> Self {
        Self(Mutex::new(seed))
    }
}

impl Chance for SeededChance {
    fn fill(&self, buffer: &mut [u8]) {
        let mut state = self.0.lock().expect("nobody panics while holding this lock");
        for chunk in buffer.chunks_mut(8) {
            *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mut z = *state;
            z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            chunk.copy_from_slice(&(z ^ (z >> 31)).to_be_bytes()[..chunk.len()]);
        }
    }
}
