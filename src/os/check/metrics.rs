//! An application's own metrics: whether its series are as they should be.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};

use super::exposition::{Sample, samples};
use super::found::Found;
use super::http;
use super::memory::Memory;
use crate::base::outcome::{Outcome, Value};
use crate::base::quantity::format_size;
use crate::base::text::url_shown;
use crate::base::time::Mono;
use crate::os::clock;
use crate::plan::{MetricsProbe, SeriesProbe};

/// The longest page, in bytes.
const PAGE_MAX: usize = 1 << 20;

/// What the look before has found: when, and for each of the declared series the number of each that matched, by the hash of its name and labels.
pub(super) type Before = Option<(Mono, Vec<BTreeMap<u64, f64>>)>;

/// Gets the page once, and judges it.
pub(super) async fn check(probe: &MetricsProbe, memory: &mut Memory) -> Outcome {
    let page = match http::page(&probe.page, PAGE_MAX).await {
        Ok(page) => page,
        Err(why) => return Outcome::failed(why),
    };
    if !page.is_whole {
        return Outcome::unknown(format!(
            "the page {} is longer than {}: it is not looked at",
            url_shown(&probe.page.url),
            format_size(PAGE_MAX as u64)
        ));
    }
    let outcome = judge(&probe.series, &String::from_utf8_lossy(&page.body), clock::mono(), &mut memory.series);
    page.connection.judge(outcome)
}

/// What the page that was read `now` says of these series.
fn judge(wanted: &[SeriesProbe], page: &str, now: Mono, before: &mut Before) -> Outcome {
    let mut numbers = vec![BTreeMap::new(); wanted.len()];
    let mut is_odd = false;
    for sample in samples(page) {
        let Some(sample) = sample else {
            is_odd = true;
            continue;
        };
        for (series, numbers) in wanted.iter().zip(&mut numbers) {
            if matches(series, &sample) {
                *numbers.entry(hash(sample.series)).or_insert(0.0) += sample.value;
            }
        }
    }
    let old = before.take();
    let mut found = Found::default();
    for (at, (series, numbers)) in wanted.iter().zip(&numbers).enumerate() {
        let old = old.as_ref().and_then(|(then, numbers)| Some((now - *then, numbers.get(at)?)));
        if numbers.is_empty() {
            let odd = if is_odd { ", and some lines of the page are no metrics" } else { "" };
            found.faults.push(format!("there is no series {}{odd}", series.title()));
            continue;
        }
        let number =
            if series.rate { rate(numbers, old.map(|(passed, old)| (passed.as_secs_f64(), old))) } else { Ok(numbers.values().sum()) };
        judge_number(series, number, &mut found);
    }
    *before = Some((now, numbers));
    found.outcome()
}

fn matches(series: &SeriesProbe, sample: &Sample<'_>) -> bool {
    let has = |(name, value): &(String, String)| sample.labels.iter().any(|(key, found)| key == name && found == value);
    sample.name == series.name.as_str() && series.labels.iter().all(has)
}

fn hash(series: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    series.hash(&mut hasher);
    hasher.finish()
}

/// By how much the numbers grow, in all, in a second. What is new or gone says nothing; what went back was set back.
fn rate(numbers: &BTreeMap<u64, f64>, before: Option<(f64, &BTreeMap<u64, f64>)>) -> Result<f64, Cow<'static, str>> {
    let Some((passed, before)) = before.filter(|(passed, _)| *passed > 0.0) else {
        return Err("has no rate before the second look".into());
    };
    let grown: Vec<f64> = numbers.iter().filter_map(|(series, number)| Some(number - before.get(series)?)).collect();
    if grown.iter().any(|grown| *grown < 0.0) {
        return Err("was set back".into());
    }
    if grown.is_empty() { Err("is another one than before".into()) } else { Ok(grown.iter().sum::<f64>() / passed) }
}

fn judge_number(series: &SeriesProbe, number: Result<f64, Cow<'static, str>>, found: &mut Found) {
    let title = series.title();
    let number = number.and_then(|number| if number.is_finite() { Ok(number) } else { Err(format!("is {number}").into()) });
    let number = match number {
        Ok(number) => number,
        Err(why) => return found.unknown.push(format!("{title} {why}")),
    };
    let per = if series.rate { " a second" } else { "" };
    let name = if series.rate { format!("rate({title})") } else { title.clone() };
    found.values.push(Value::new(name, number, "").at_least(series.min).at_most(series.max));
    if let Some(most) = series.max.filter(|most| number > *most) {
        found.faults.push(format!("{title} is {}{per}, more than {most}", shown(number)));
    }
    if let Some(least) = series.min.filter(|least| number < *least) {
        found.faults.push(format!("{title} is {}{per}, less than {least}", shown(number)));
    }
}

/// A number for people: thousandths are enough of one that is not small.
fn shown(number: f64) -> f64 {
    if number.abs() < 1.0 { number } else { (number * 1e3).round() / 1e3 }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::base::outcome::Verdict;

    fn series(name: &str, labels: &[(&str, &str)], (min, max): (Option<f64>, Option<f64>), rate: bool) -> SeriesProbe {
        let labels = labels.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect();
        SeriesProbe { name: name.into(), labels, min, max, rate }
    }

    fn at(seconds: u64) -> Mono {
        Mono(0) + Duration::from_secs(seconds)
    }

    #[test]
    fn numbers_are_summed_and_judged() {
        let page = "queue{name=\"mail\",shard=\"1\"} 600\nqueue{shard=\"2\",name=\"mail\"} 500.25\nqueue{name=\"sms\"} 7\nup 1\nage NaN\n";
        let look = |wanted: SeriesProbe| judge(&[wanted], page, at(1), &mut None);
        let mail = |limits| series("queue", &[("name", "mail")], limits, false);
        let outcome = look(mail((Some(1.0), Some(2000.0))));
        assert_eq!((outcome.verdict, outcome.text.as_str()), (Verdict::Ok, ""));
        assert_eq!(outcome.values, [Value::new("queue{name=\"mail\"}", 1100.25, "").at_least(Some(1.0)).at_most(Some(2000.0))]);
        assert_eq!(look(mail((None, Some(1000.0)))).text, "queue{name=\"mail\"} is 1100.25, more than 1000");
        assert_eq!(look(mail((Some(2e3), None))).text, "queue{name=\"mail\"} is 1100.25, less than 2000");
        assert_eq!(look(series("queue", &[], (None, None), false)).values[0].value, 1107.25);
        let missing = look(series("queue", &[("name", "fax")], (None, None), false));
        assert_eq!((missing.verdict, missing.text.as_str()), (Verdict::Failed, "there is no series queue{name=\"fax\"}"));
        let outcome = look(series("age", &[], (None, Some(1.0)), false));
        assert_eq!((outcome.verdict, outcome.text.as_str(), outcome.values.len()), (Verdict::Unknown, "age is NaN", 0));
        let html = judge(&[mail((None, None))], "<html>\n", at(1), &mut None);
        assert!(html.text.ends_with(", and some lines of the page are no metrics"), "{html:?}");
    }

    #[test]
    fn rates_survive_what_is_set_back() {
        let wanted = [series("n", &[], (Some(1.0), Some(50.0)), true)];
        let mut before = None;
        let mut look = |page: &str, second| {
            let outcome = judge(&wanted, page, at(second), &mut before);
            (outcome.verdict, outcome.text, outcome.values.first().map(|value| value.value))
        };
        let unknown = |why: &str| (Verdict::Unknown, format!("n {why}"), None);
        assert_eq!(look("n{a=\"1\"} 1e9\nn{a=\"2\"} 5\n", 10), unknown("has no rate before the second look"));
        assert_eq!(look("n{a=\"1\"} 1000000100\nn{a=\"2\"} 5\n", 20), (Verdict::Ok, String::new(), Some(10.0)));
        // What is new has not grown by all it has.
        assert_eq!(look("n{a=\"1\"} 1000000200\nn{a=\"3\"} 7e9\n", 30), (Verdict::Ok, String::new(), Some(10.0)));
        // One set back among others that grow.
        assert_eq!(look("n{a=\"1\"} 3\nn{a=\"3\"} 9e9\n", 40), unknown("was set back"));
        assert_eq!(look("n{a=\"1\"} 3\nn{a=\"3\"} 9e9\n", 50), (Verdict::Failed, "n is 0 a second, less than 1".into(), Some(0.0)));
        assert_eq!(look("n{a=\"4\"} 3\n", 60), unknown("is another one than before"));
        assert_eq!(look("n{a=\"4\"} 1003\n", 70), (Verdict::Failed, "n is 100 a second, more than 50".into(), Some(100.0)));
        assert_eq!(look("", 80).0, Verdict::Failed);
        assert_eq!(look("n{a=\"4\"} 1003\n", 90), unknown("is another one than before"));
    }
}
