//! The last intervals between beats, with their mean and spread.
//!
//! Everything is kept in whole nanoseconds: the mean square less the square of the mean, in floating point, is wrong from a few seconds
//! on (10 s intervals give a negative variance, whose root is no number), and what is taken out of a running sum must be what was put in.

use std::collections::VecDeque;

/// The longest interval that is told from longer ones, in nanoseconds: 78 hours. It keeps the sums within 128 bits.
const INTERVAL_MAX: u64 = 1 << 48;

/// The most intervals a window holds, for the same reason.
const LENGTH_MAX: usize = 1 << 15;

/// The last intervals, and what the last few of them say apart.
#[derive(Clone, Debug)]
pub struct Window {
    intervals: VecDeque<u64>,
    long: Moments,
    short: Moments,
}

impl Window {
    /// A window of the last `long` intervals, with a look at the last `short` ones: 1 to 32768, and `short` at most `long`.
    /// What lies outside is taken as the nearest.
    #[must_use]
    pub fn new(long: usize, short: usize) -> Self {
        let long = long.clamp(1, LENGTH_MAX);
        Self { intervals: VecDeque::with_capacity(long), long: Moments::new(long), short: Moments::new(short.clamp(1, long)) }
    }

    /// Takes in the newest interval, in nanoseconds, and forgets the oldest when the window is full.
    pub fn push(&mut self, interval: u64) {
        let interval = interval.min(INTERVAL_MAX);
        for moments in [&mut self.long, &mut self.short] {
            let oldest = self.intervals.len().checked_sub(moments.length).and_then(|at| self.intervals.get(at));
            moments.push(interval, oldest.copied());
        }
        if self.intervals.len() == self.long.length {
            self.intervals.pop_front();
        }
        self.intervals.push_back(interval);
    }

    /// Forgets every interval.
    pub fn clear(&mut self) {
        self.intervals.clear();
        self.long = Moments::new(self.long.length);
        self.short = Moments::new(self.short.length);
    }

    /// How many intervals it holds.
    #[must_use]
    pub fn len(&self) -> usize {
        self.intervals.len()
    }

    /// Whether it holds none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.intervals.is_empty()
    }

    /// All intervals, and the newest few.
    #[must_use]
    pub const fn both(&self) -> [&Moments; 2] {
        [&self.long, &self.short]
    }
}

/// Sums over the newest intervals, exact.
#[derive(Clone, Debug)]
pub struct Moments {
    length: usize,
    count: u32,
    sum: u128,
    squares: u128,
    /// The oldest interval once, the next twice, and so on.
    ramp: u128,
}

impl Moments {
    const fn new(length: usize) -> Self {
        Self { length, count: 0, sum: 0, squares: 0, ramp: 0 }
    }

    /// `oldest`: what leaves, if all places are taken.
    fn push(&mut self, interval: u64, oldest: Option<u64>) {
        let interval = u128::from(interval);
        match oldest {
            Some(oldest) => {
                let oldest = u128::from(oldest);
                // Every interval moves down by one place, which takes it out of the ramp once.
                self.ramp -= self.sum;
                self.sum -= oldest;
                self.squares -= oldest * oldest;
            }
            None => self.count += 1,
        }
        self.sum += interval;
        self.squares += interval * interval;
        self.ramp += interval * u128::from(self.count);
    }

    /// How many intervals it speaks of.
    #[must_use]
    pub const fn count(&self) -> u32 {
        self.count
    }

    /// The mean in nanoseconds; zero when there is no interval.
    #[must_use]
    pub fn mean(&self) -> f64 {
        float(self.sum) / f64::from(self.count.max(1))
    }

    /// The standard deviation of the population in nanoseconds; zero when there is no interval.
    #[must_use]
    pub fn deviation(&self) -> f64 {
        let scaled = u128::from(self.count) * self.squares - self.sum * self.sum;
        float(scaled).sqrt() / f64::from(self.count.max(1))
    }

    /// When the next beat is expected, in nanoseconds after the last one, from a sender that beats every `period`: the mean of the
    /// arrivals, each shifted by the periods since (Chen, Toueg, Aguilera, IEEE ToC 51(5), 2002, NFD-E). Zero if that is past.
    ///
    /// With intervals x₁ … xₘ between m + 1 arrivals it is `period · (m + 2) / 2 − Σ j·xⱼ / (m + 1)`: no arrival need be kept.
    #[must_use]
    pub fn expected(&self, period: u64) -> f64 {
        let count = u128::from(self.count);
        let nominal = u128::from(period.min(INTERVAL_MAX)) * (count + 1) * (count + 2) / 2;
        float(nominal.saturating_sub(self.ramp)) / f64::from(self.count + 1)
    }
}

#[expect(clippy::cast_precision_loss, reason = "it is rounded once, at the end, and by less than a part in 10^15")]
const fn float(exact: u128) -> f64 {
    exact as f64
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn filled(long: usize, short: usize, intervals: &[u64]) -> Window {
        let mut window = Window::new(long, short);
        intervals.iter().for_each(|interval| window.push(*interval));
        window
    }

    #[test]
    fn long_intervals_in_nanoseconds_lose_nothing() {
        // Deviations of 1 and 2 ns around 10 s: in floating point this is a variance of -16384.
        let ten = 10_000_000_000;
        let window = filled(4, 4, &[ten - 1, ten + 1, ten - 1, ten + 1]);
        assert_eq!((window.long.mean(), window.long.deviation()), (1e10, 1.0));
        let window = filled(4, 2, &[ten; 9]);
        assert_eq!((window.long.mean(), window.long.deviation()), (1e10, 0.0));
    }

    #[test]
    fn the_oldest_leave() {
        let window = filled(3, 2, &[1000, 10, 20, 60]);
        let [long, short] = window.both();
        assert_eq!((long.mean(), long.count(), window.len()), (30.0, 3, 3));
        assert_eq!((short.mean(), short.deviation(), short.count()), (40.0, 20.0, 2));
    }

    #[test]
    fn nothing_known_is_no_fault() {
        let mut window = filled(3, 2, &[5, 6]);
        window.clear();
        assert!(window.is_empty());
        assert_eq!((window.long.mean(), window.long.deviation(), window.long.expected(7)), (0.0, 0.0, 7.0));
    }

    #[test]
    fn the_largest_intervals_in_the_largest_window_do_not_overflow() {
        let mut window = Window::new(usize::MAX, usize::MAX);
        (0..70_000).for_each(|_| window.push(u64::MAX));
        assert_eq!((window.long.mean(), window.long.deviation()), (281_474_976_710_656.0, 0.0));
    }

    proptest! {
        #[test]
        fn running_sums_are_the_sums(intervals in prop::collection::vec(0..30_000_000_000_u64, 1..60), long in 1..40_usize, short in 1..40_usize) {
            let window = filled(long, short, &intervals);
            for (moments, length) in window.both().into_iter().zip([long, short.min(long)]) {
                let last = &intervals[intervals.len().saturating_sub(length)..];
                let (count, sum) = (last.len() as u128, last.iter().map(|x| u128::from(*x)).sum::<u128>());
                prop_assert_eq!((u128::from(moments.count), moments.sum), (count, sum));
                prop_assert_eq!(moments.squares, last.iter().map(|x| u128::from(*x).pow(2)).sum::<u128>());
                // The deviation from sums of differences, which loses nothing either.
                let mean = moments.mean();
                let variance = last.iter().map(|x| (*x as f64 - mean).powi(2)).sum::<f64>() / last.len() as f64;
                prop_assert!((moments.deviation() - variance.sqrt()).abs() <= 1e-9 * mean.max(1.0));
            }
        }

        #[test]
        fn the_expected_arrival_is_the_mean_of_shifted_arrivals(intervals in prop::collection::vec(900_000_000..1_100_000_000_u64, 1..60), long in 1..40_usize) {
            let period = 1_000_000_000_u64;
            let window = filled(long, 1, &intervals);
            let last = &intervals[intervals.len().saturating_sub(long)..];
            let mut arrivals = vec![0.0];
            for interval in last {
                arrivals.push(arrivals[arrivals.len() - 1] + *interval as f64);
            }
            let next = arrivals.len();
            let shifted = arrivals.iter().enumerate().map(|(i, at)| at + ((next - i) as f64) * period as f64).sum::<f64>() / next as f64;
            let expected = shifted - arrivals[next - 1];
            prop_assert!((window.long.expected(period) - expected.max(0.0)).abs() < 1.0, "{} {expected}", window.long.expected(period));
        }
    }
}
