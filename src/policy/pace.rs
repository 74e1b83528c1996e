//! Whether what a probe measures is near a limit, or soon will be: then it is worth a closer look.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::base::outcome::Value;
use crate::base::time::Mono;

/// A value is near its limit within such a part of the limit.
const NEAR: f64 = 0.1;

/// A value that would be beyond its limit after so many of the longest periods, if it went on as it does, is soon.
const AHEAD: u32 = 3;

/// The most values that are watched of one probe; others are only compared with their limits.
const WATCHED_MAX: usize = 64;

/// Where a value was, and how fast it has changed lately.
#[derive(Clone, Copy, Debug)]
struct Course {
    at: Mono,
    value: f64,
    /// Per second, averaged over about the longest period: what only flickers goes nowhere.
    slope: f64,
}

/// Watches the values of one probe.
#[derive(Clone, Debug, Default)]
pub struct Watch {
    courses: BTreeMap<String, Course>,
}

impl Watch {
    /// Takes note of what was measured at `now`: whether any of it is near its limit or soon beyond it. `longest`: the longest period.
    pub fn is_tense(&mut self, now: Mono, longest: Duration, values: &[Value]) -> bool {
        self.courses.retain(|name, _| values.iter().any(|value| value.name == *name));
        let mut is_tense = false;
        for value in values.iter().filter(|value| value.limits.is_some() && value.value.is_finite()) {
            let slope = self.slope(now, longest, value);
            let then = value.value + slope * longest.saturating_mul(AHEAD).as_secs_f64();
            is_tense |= is_near(value) || value.limits.are_passed_by(then);
        }
        is_tense
    }

    fn slope(&mut self, now: Mono, longest: Duration, value: &Value) -> f64 {
        let Some(course) = self.courses.get_mut(&value.name) else {
            if self.courses.len() < WATCHED_MAX {
                self.courses.insert(value.name.clone(), Course { at: now, value: value.value, slope: 0.0 });
            }
            return 0.0;
        };
        let passed = (now - course.at).as_secs_f64();
        if passed > 0.0 {
            let weight = passed / (passed + longest.as_secs_f64());
            let slope = (value.value - course.value) / passed;
            *course = Course { at: now, value: value.value, slope: course.slope + weight * (slope - course.slope) };
        }
        course.slope
    }
}

/// A limit of nothing has no tenth.
fn is_near(value: &Value) -> bool {
    let margin = |limit: f64| limit.abs() * NEAR;
    let from_below = value.limits.max.is_some_and(|max| max != 0.0 && value.value >= max - margin(max));
    let from_above = value.limits.min.is_some_and(|min| min != 0.0 && value.value <= min + margin(min));
    from_below || from_above
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::outcome::Limits;

    const LONGEST: Duration = Duration::from_secs(30);

    fn watch(limits: Limits, period: u64, values: impl IntoIterator<Item = f64>) -> Vec<bool> {
        let (mut watch, mut now) = (Watch::default(), Mono(0));
        let look = |value| {
            now = now + Duration::from_secs(period);
            let value = Value { limits, ..Value::new("v", value, "") };
            watch.is_tense(now, LONGEST, &[value, Value::new("other", 1e9, "")])
        };
        values.into_iter().map(look).collect()
    }

    const MOST: Limits = Limits { min: None, max: Some(100.0) };
    const LEAST: Limits = Limits { min: Some(5.0), max: None };

    #[test]
    fn a_tenth_of_the_limit_is_near() {
        assert_eq!(watch(MOST, 30, [0.0, 50.0, 50.0]), [false, true, false], "a leap is, until it turns out to be none");
        assert_eq!(watch(MOST, 30, [89.0, 89.0, 90.0]), [false, false, true]);
        assert_eq!(watch(LEAST, 30, [5.6, 5.6, 5.5, 80.0]), [false, false, true, false]);
        assert_eq!(watch(Limits { min: None, max: Some(0.0) }, 30, [0.0, 0.0]), [false, false]);
        assert_eq!(watch(Limits::default(), 30, [1.0, 1e9]), [false, false]);
    }

    #[test]
    fn what_rises_is_seen_before_it_is_near_and_what_flickers_is_not() {
        let first = |looks: Vec<bool>| looks.iter().position(|tense| *tense);
        let rises = |by: u32| first(watch(MOST, 30, (0_u32..120).map(|look| f64::from(look * by))));
        assert_eq!(rises(1), Some(90), "a slow leak is near before it is three periods away");
        assert_eq!(rises(10), Some(8), "a fast one is three periods away before it is near");
        assert_eq!(first(watch(LEAST, 30, (0_u32..9).map(|look| 80.0 - f64::from(look) * 10.0))), Some(5));
        let flickers = watch(MOST, 2, (0_u32..1000).map(|look| if look % 2 == 0 { 40.0 } else { 50.0 }));
        assert!(!flickers.into_iter().any(|tense| tense));
    }

    #[test]
    fn more_values_than_are_watched_do_no_harm() {
        let mut watch = Watch::default();
        let values: Vec<_> = (0..500).map(|at| Value { limits: MOST, ..Value::new(format!("v{at}"), 1.0, "") }).collect();
        assert!(!watch.is_tense(Mono(1), LONGEST, &values));
        assert_eq!(watch.courses.len(), WATCHED_MAX);
        assert!(!watch.is_tense(Mono(2), LONGEST, &[Value { limits: MOST, ..Value::new("v", f64::NAN, "") }]));
        assert!(watch.courses.is_empty());
    }
}
