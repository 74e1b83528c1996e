//! What a plugin prints: one line for people, and numbers for machines.
//!
//! Nagios' way is `text | 'label'=value[unit];warn;crit;min;max …` (Monitoring Plugins Development Guidelines, "Performance data"). A plugin
//! that prints a JSON object instead is understood, too: `message` or `text` is the line, each number a value.

use crate::base::outcome::{Limits, Value};

/// The most numbers that are taken of one run.
const VALUES_MAX: usize = 64;

/// The longest line that is shown, in bytes.
const TEXT_MAX: usize = 300;

/// The line and the numbers in what a plugin printed.
pub(super) fn read(printed: &str) -> (String, Vec<Value>) {
    let printed = printed.trim();
    if printed.starts_with('{')
        && let Ok(serde_json::Value::Object(object)) = serde_json::from_str(printed)
    {
        let text = ["message", "text"].iter().find_map(|key| object.get(*key)?.as_str()).unwrap_or_default();
        let number = |(name, value): (&String, &serde_json::Value)| Some(Value::new(name.as_str(), value.as_f64()?, ""));
        return (shortened(text), object.iter().filter_map(number).take(VALUES_MAX).collect());
    }
    let first = printed.lines().next().unwrap_or_default();
    let (text, data) = first.split_once('|').unwrap_or((first, ""));
    (shortened(text.trim()), values(data))
}

fn shortened(text: &str) -> String {
    text[..text.floor_char_boundary(TEXT_MAX)].to_owned()
}

fn values(mut data: &str) -> Vec<Value> {
    let mut found = Vec::new();
    while found.len() < VALUES_MAX {
        data = data.trim_start();
        // A label in quotes may hold blanks and `=`; a quote in it is doubled.
        let (label, rest) = if let Some(quoted) = data.strip_prefix('\'') {
            let Some(end) = closing_quote(quoted) else { break };
            (quoted[..end].replace("''", "'"), &quoted[end + 1..])
        } else {
            let Some(end) = data.find('=') else { break };
            (data[..end].to_owned(), &data[end..])
        };
        let Some(rest) = rest.strip_prefix('=') else { break };
        let (item, after) = rest.split_once(char::is_whitespace).unwrap_or((rest, ""));
        let mut parts = item.split(';');
        let number = parts.next().unwrap_or_default();
        let digits = number.find(|c: char| !(c.is_ascii_digit() || matches!(c, '.' | '-' | '+'))).unwrap_or(number.len());
        if let Ok(value) = number[..digits].parse::<f64>() {
            // Whichever is given; the warning comes first.
            let limits = parts.take(2).map(limits).find(Limits::is_some).unwrap_or_default();
            found.push(Value { limits, ..Value::new(label, value, &number[digits..]) });
        }
        data = after;
    }
    found
}

/// A range outside of which something is wrong: `max`, `min:`, `min:max` or `~:max`. One that must not be met (`@`) is no limit.
fn limits(range: &str) -> Limits {
    if range.starts_with('@') {
        return Limits::default();
    }
    let number = |text: &str| text.parse::<f64>().ok().filter(|number| number.is_finite());
    match range.split_once(':') {
        None => Limits { min: None, max: number(range) },
        Some((min, max)) => Limits { min: number(min), max: number(max) },
    }
}

fn closing_quote(text: &str) -> Option<usize> {
    let mut at = 0;
    loop {
        at += text.get(at..)?.find('\'')?;
        if text[at + 1..].starts_with('\'') { at += 2 } else { return Some(at) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(name: &str, value: f64, unit: &str) -> Value {
        Value::new(name, value, unit)
    }

    #[test]
    fn nagios_performance_data_is_read() {
        let line = "DISK OK - free space: / 3326 MB (56%) | /=2643MB;5948;5958;0;5968 'it''s =odd'=-1.5% bad=U time=0.2s\nmore | x=1\n";
        let (text, values) = read(line);
        assert_eq!(text, "DISK OK - free space: / 3326 MB (56%)");
        let plain = values.iter().map(|found| value(&found.name, found.value, &found.unit)).collect::<Vec<_>>();
        assert_eq!(plain, [value("/", 2643.0, "MB"), value("it's =odd", -1.5, "%"), value("time", 0.2, "s")]);
        let bounds = |data: &str| read(&format!("x | a=1{data}")).1.first().map(|value| (value.limits.min, value.limits.max));
        assert_eq!(values[0].limits, Limits { min: None, max: Some(5948.0) });
        assert_eq!(bounds(";;90;0;100"), Some((None, Some(90.0))), "the critical one, for want of a warning");
        assert_eq!((bounds(";10:20"), bounds(";5:;2:")), (Some((Some(10.0), Some(20.0))), Some((Some(5.0), None))));
        assert_eq!((bounds(";~:7"), bounds(";@3:4"), bounds("")), (Some((None, Some(7.0))), Some((None, None)), Some((None, None))));
        assert_eq!(read("just text"), ("just text".into(), vec![]));
        assert_eq!(read("a | 'open=1"), ("a".into(), vec![]));
    }

    #[test]
    fn a_json_object_is_read() {
        let (text, values) = read(r#"{"message": "fine", "queue": 7, "rate": 0.5, "on": true}"#);
        assert_eq!((text.as_str(), values), ("fine", vec![value("queue", 7.0, ""), value("rate", 0.5, "")]));
        assert_eq!(read("{not json").0, "{not json");
    }

    #[test]
    fn too_much_is_cut() {
        assert_eq!(read(&"ä".repeat(1000)).0.len(), TEXT_MAX);
        let many = (0..1000).map(|number| format!("v{number}={number}")).collect::<Vec<_>>().join(" ");
        assert_eq!(read(&format!("x|{many}")).1.len(), VALUES_MAX);
    }
}
