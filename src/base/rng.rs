//! Random streams that can be replayed.
//!
//! A stream is derived from (seed, names), so that adding a unit shifts nobody else's numbers.
//! The generator is SplitMix64 (Steele, Lea, Flood: "Fast splittable pseudorandom number generators", OOPSLA 2014):
//! good enough for jitter, eight bytes of state, and the same everywhere.

/// A replayable stream of random numbers. Not for secrets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rng(u64);

impl Rng {
    /// The stream of `names` under `seed`.
    #[must_use]
    pub fn derive(seed: u64, names: &[&str]) -> Self {
        // FNV-1a over the names, each ended by a byte no name holds.
        let mut hash = 0xcbf2_9ce4_8422_2325_u64 ^ seed;
        for byte in names.iter().flat_map(|name| name.bytes().chain([0xff])) {
            hash = (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
        Self(hash)
    }

    /// The next 64 bits.
    pub fn next_u64(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number in `0.0..1.0`.
    pub fn unit(&mut self) -> f64 {
        #[expect(clippy::cast_precision_loss, reason = "53 bits fit an f64 exactly")]
        let bits = (self.next_u64() >> 11) as f64;
        bits / 9_007_199_254_740_992.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn streams_are_independent_and_replayable() {
        let draw = |names: &[&str]| Rng::derive(7, names).next_u64();
        assert_eq!(draw(&["a", "backoff"]), draw(&["a", "backoff"]));
        assert_ne!(draw(&["a", "backoff"]), draw(&["b", "backoff"]));
        assert_ne!(draw(&["ab", "c"]), draw(&["a", "bc"]));
        let mut rng = Rng::derive(1, &[]);
        assert!((0..1000).all(|_| (0.0..1.0).contains(&rng.unit())));
    }
}
