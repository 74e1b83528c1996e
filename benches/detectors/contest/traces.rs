//! What is heard of a sender that beats once a second and never dies, by seeded chance.

use ms_supervisor::base::rng::Rng;
use ms_supervisor::base::time::Mono;

/// The time between two beats, in seconds.
pub(crate) const PERIOD: f64 = 1.0;

/// One beat. Its number is its place in the trace.
pub(crate) struct Beat {
    pub(crate) sent: Mono,
    /// When it came; None if it was lost. Beats do not overtake one another.
    pub(crate) heard: Option<Mono>,
}

/// The kinds of senders and links.
#[derive(Clone, Copy)]
pub(crate) enum Link {
    /// Losses in bursts, by Gilbert and Elliott: one in 100 beats begins a bad time of four beats on average, four in five of which are
    /// lost. Transit spreads by 20 ms.
    Bursts,
    /// Ten bad minutes in each hour: a spread of 350 ms instead of 20, and a loss of one in twenty.
    Regimes,
    /// A sender that stops at one in 500 beats, for a log-normal time with a median of 2 s (sigma 0.7), and goes on from there.
    Pauses,
    /// Transit times that are normal, with this deviation in seconds.
    Normal(f64),
    /// Transit times that are log-normal (sigma 1) and have this deviation in seconds: most come early and a few very late.
    LongTail(f64),
}

/// `beats` beats over `link`. The mean transit time is left out: it adds to every detector's time alike.
pub(crate) fn trace(link: Link, beats: usize, seed: u64) -> Vec<Beat> {
    let mut rng = Rng::derive(seed, &["trace"]);
    let (mut sent, mut heard, mut bad) = (1000.0, 0.0, false);
    let mut beat = |number: usize| {
        sent += PERIOD;
        let (transit, lost) = match link {
            Link::Bursts => {
                bad = rng.unit() < if bad { 0.75 } else { 0.01 };
                (0.02 * normal(&mut rng), rng.unit() < if bad { 0.8 } else { 0.0 })
            }
            Link::Regimes => {
                let bad = number % 3600 >= 3000;
                (if bad { 0.35 } else { 0.02 } * normal(&mut rng), bad && rng.unit() < 0.05)
            }
            Link::Pauses => {
                if rng.unit() < 1.0 / 500.0 {
                    sent += 2.0 * (0.7 * normal(&mut rng)).exp();
                }
                (0.005 * normal(&mut rng), false)
            }
            Link::Normal(deviation) => (deviation * normal(&mut rng), false),
            // With sigma 1 the mean is e^0.5 and the deviation e^0.5 · (e − 1)^0.5 = 2.1612 times the median.
            Link::LongTail(deviation) => (deviation / 2.1612 * (normal(&mut rng).exp() - 1.6487), false),
        };
        heard = (sent + transit).max(heard);
        Beat { sent: at(sent), heard: (!lost).then(|| at(heard)) }
    };
    (0..beats).map(&mut beat).collect()
}

/// A point in time from seconds.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "such a cast saturates, as it should")]
pub(crate) fn at(seconds: f64) -> Mono {
    Mono((seconds * 1e9) as u64)
}

/// A point in time as seconds.
#[expect(clippy::cast_precision_loss, reason = "nanoseconds are not needed here")]
pub(crate) fn seconds(at: Mono) -> f64 {
    at.0 as f64 / 1e9
}

/// A number from the standard normal distribution (Box and Muller).
pub(crate) fn normal(rng: &mut Rng) -> f64 {
    let radius = (-2.0 * (1.0 - rng.unit()).ln()).sqrt();
    radius * (std::f64::consts::TAU * rng.unit()).cos()
}
