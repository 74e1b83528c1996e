//! How unlikely a deviation is, on a scale that never ends.

use std::f64::consts::{LN_10, SQRT_2};

/// From here on the probability is computed as its logarithm: it leaves the range of an `f64` at 38.5.
const TAIL: f64 = 25.0;

/// −log₁₀ P(X > `y` standard deviations) of a normal X: 0.3 at 0, 8 at 5.612, 15.2 at 8.
///
/// This is the phi of Hayashibara and others, "The φ accrual failure detector" (SRDS 2004), without the logistic approximation
/// that is in wide use: that one is 0.8 too high at 5 and infinite at 21.6. Exact to 12 digits, always finite, and never
/// smaller for a larger `y`. What is no number gives 0.
#[must_use]
pub fn phi(y: f64) -> f64 {
    if y.is_nan() {
        return 0.0;
    }
    // Adding zero turns -0.0 into 0.0.
    let phi = if y < 0.0 {
        -(-0.5 * libm::erfc(-y / SQRT_2)).ln_1p() / LN_10 + 0.0
    } else if y <= TAIL {
        -(0.5 * libm::erfc(y / SQRT_2)).log10()
    } else {
        tail(y)
    };
    phi.min(f64::MAX)
}

/// The asymptotic series of the tail (Abramowitz and Stegun 26.2.12): P = exp(−y²/2) / (y √2π) · (1 − 1/y² + 3/y⁴ − 15/y⁶ + 105/y⁸ − …).
fn tail(y: f64) -> f64 {
    let z = 1.0 / (y * y);
    let series = z * (-1.0 + z * (3.0 + z * (-15.0 + z * 105.0)));
    // (y²/2 + ln y + ln √2π − ln series) / ln 10
    (0.5 * y * y + y.ln() + 0.918_938_533_204_672_7 - series.ln_1p()) / LN_10
}

/// The deviation `y` at which [`phi`] reaches `threshold`, found by bisection: −30 to 10 000 000, the range being where it matters.
/// What is no number is never reached.
#[must_use]
pub fn reaches(threshold: f64) -> f64 {
    let (mut below, mut above) = (-30.0, 1e7);
    if threshold.is_nan() {
        return above;
    }
    loop {
        let middle = f64::midpoint(below, above);
        if middle <= below || middle >= above {
            return above;
        }
        if phi(middle) < threshold {
            below = middle;
        } else {
            above = middle;
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// By mpmath 1.3 with `mp.dps = 80`:
    /// `nstr(-log1p(-erfc(-y/sqrt(2))/2)/log(10), 17)` for `y` below zero, `nstr(-log10(erfc(y/sqrt(2))/2), 17)` else.
    #[expect(clippy::excessive_precision, clippy::approx_constant, reason = "they stand here as they were computed")]
    const REFERENCE: &[(f64, f64)] = &[
        (-30.0, 2.130_958_782_838_292e-198),
        (-10.0, 3.309_260_121_306_722_3e-24),
        (-5.0, 1.244_912_137_388_291_7e-7),
        (-2.0, 9.994_379_534_108_709e-3),
        (-1.0, 7.502_601_295_781_802e-2),
        (-0.5, 1.602_313_922_778_490_2e-1),
        (0.0, 3.010_299_956_639_812e-1),
        (0.5, 5.106_919_892_652_408e-1),
        (1.0, 7.995_455_414_919_705e-1),
        (2.0, 1.643_016_080_140_937),
        (3.0, 2.869_699_035_929_369),
        (4.0, 4.499_334_907_556_479),
        (5.612, 7.999_996_876_659_293),
        (8.0, 1.520_614_255_101_715_5e1),
        (8.25, 1.610_128_982_625_069_3e1),
        (12.0, 3.275_043_916_118_918e1),
        (21.6, 1.030_466_863_316_613_3e2),
        (24.999, 1.375_038_731_891_219_2e2),
        (25.0, 1.375_147_476_509_955_3e2),
        (25.001, 1.375_256_225_464_753_3e2),
        (26.0, 1.486_062_382_541_502_4e2),
        (30.0, 1.973_092_092_616_609_5e2),
        (38.5, 3.238_513_410_684_794e2),
        (50.0, 5.449_663_358_619_966e2),
        (100.0, 2.173_871_542_869_034_4e3),
        (1000.0, 2.171_506_400_419_944e5),
        (1e6, 2.171_472_409_580_25e11),
    ];

    #[test]
    fn it_is_what_eighty_digits_give() {
        for (y, expected) in REFERENCE {
            let found = phi(*y);
            assert!((found - expected).abs() <= 1e-12 * expected.abs(), "phi({y}) = {found:e}, not {expected:e}");
        }
    }

    #[test]
    fn it_is_always_a_finite_number() {
        for y in [f64::NEG_INFINITY, f64::MIN, -1e3, -38.6, -0.0, f64::MIN_POSITIVE, 38.6, 1e154, 1e200, f64::MAX, f64::INFINITY, f64::NAN]
        {
            let found = phi(y);
            assert!(found.is_finite() && found.is_sign_positive(), "phi({y}) = {found}");
        }
    }

    #[test]
    fn the_deviation_of_a_threshold() {
        assert!((reaches(8.0) - 5.612_001_244).abs() < 1e-6, "{}", reaches(8.0));
        assert!(reaches(0.0) < -29.9 && reaches(-1.0) < -29.9);
        assert!(reaches(f64::NAN) >= 1e7 && reaches(f64::INFINITY) >= 1e7);
    }

    proptest! {
        #[test]
        fn it_never_falls(y in -50.0..60.0_f64, by in 0.0..1.0_f64) {
            prop_assert!(phi(y) <= phi(y + by));
        }

        #[test]
        fn the_threshold_is_reached_there_and_not_before(threshold in 1e-6..1e6_f64) {
            let y = reaches(threshold);
            prop_assert!(phi(y) >= threshold && phi(y - 1e-9 * y.abs().max(1.0)) <= threshold);
        }
    }
}
