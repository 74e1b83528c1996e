//! What is hidden from those who may only read: what is meant for a unit, a server or somebody's webhook, and may be a secret.
//!
//! It goes by the kind of what is declared, and not by names that sound like secrets: what is executed and sent is closed but for its first word, and
//! of what is looked at only the place is open.

use serde_json::Value;

use crate::base::text::{HIDDEN, url_host, url_shown};

/// Words of what is closed that say what something is, and not what it holds.
const OPEN: [&str; 14] =
    ["name", "role", "method", "mode", "restart", "path", "file", "directory", "socket", "ca_file", "user", "database", "exe", "cgroup"];

/// Of a plan as JSON.
pub(super) fn in_plan(plan: &mut Value) {
    for unit in plan["units"].as_object_mut().into_iter().flat_map(|units| units.values_mut()) {
        in_words(&mut unit["exec"]);
        for (key, value) in unit.as_object_mut().into_iter().flatten() {
            match key.as_str() {
                "environment" => every_text(value, &|_| Some(HIDDEN.into())),
                "probes" | "remediation" | "readiness" | "watch" => in_closed(key, value),
                _ => {}
            }
        }
    }
}

/// A program stays, its arguments do not.
pub(super) fn in_words(words: &mut Value) {
    for word in words.as_array_mut().into_iter().flatten().skip(1) {
        *word = HIDDEN.into();
    }
}

/// The same of words that are no JSON yet.
pub(super) fn words(words: &[String]) -> Vec<String> {
    let hidden = |(at, word): (usize, &String)| if at == 0 { word.clone() } else { HIDDEN.to_owned() };
    words.iter().enumerate().map(hidden).collect()
}

fn in_closed(key: &str, value: &mut Value) {
    match value {
        Value::Object(values) => values.iter_mut().for_each(|(key, value)| match key.as_str() {
            "exec" | "command" | "words" | "run" => every_list(value),
            "headers" | "expect_headers" => every_pair(value),
            _ => in_closed(key, value),
        }),
        Value::Array(values) => values.iter_mut().for_each(|value| in_closed(key, value)),
        Value::String(text) => {
            let shown = match key {
                "notify" => url_host(text),
                _ if text.contains("://") => url_shown(text),
                "kind" | "tcp" | "address" | "port" => text.clone(),
                _ if OPEN.contains(&key) => text.clone(),
                _ => HIDDEN.to_owned(),
            };
            *text = shown;
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

/// The first word of each list stays.
fn every_list(value: &mut Value) {
    match value {
        Value::Array(_) => in_words(value),
        Value::Object(values) => values.values_mut().for_each(every_list),
        _ => {}
    }
}

/// Of pairs the names stay.
fn every_pair(value: &mut Value) {
    for pair in value.as_array_mut().into_iter().flatten() {
        in_words(pair);
    }
}

fn every_text(value: &mut Value, shown: &impl Fn(&str) -> Option<String>) {
    match value {
        Value::String(text) => {
            if let Some(shown) = shown(text) {
                *text = shown;
            }
        }
        Value::Array(values) => values.iter_mut().for_each(|value| every_text(value, shown)),
        Value::Object(values) => values.values_mut().for_each(|value| every_text(value, shown)),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::plan_of;

    #[test]
    fn what_is_sent_and_executed_is_hidden_by_its_kind() {
        let unit = "unit: a\nexec: [run, CANARY]\nenvironment: {A: CANARY}\nreadiness: {log: CANARY}\nprobes:\n\
                    - {tcp: {address: \"db:5432\", send: CANARY, expect: CANARY}}\n\
                    - {postgresql: {address: \"db:5432\", user: ann, query: CANARY, expect: CANARY}}\n\
                    - {http: {url: \"https://h/x?k=CANARY\", headers: {X-Key: CANARY}, expect_body: CANARY}}\n\
                    - {command: [check, CANARY]}\n\
                    - {log: {alarm: CANARY}}\n\
                    remediation: {steps: [{run: [mend, CANARY]}, {notify: \"https://hooks/CANARY\"}]}\n";
        let mut plan = serde_json::to_value(plan_of(&[("units/a.yaml", unit)])).unwrap();
        assert_eq!(plan.to_string().matches("CANARY").count(), 14);
        in_plan(&mut plan);
        let text = plan.to_string();
        assert!(!text.contains("CANARY"), "{text}");
        for told in ["\"run\"", "db:5432", "\"ann\"", "https://h/x?(hidden)", "\"check\"", "\"mend\"", "https://hooks/(hidden)", "X-Key"] {
            assert!(text.contains(told), "{told} in {text}");
        }
    }
}
