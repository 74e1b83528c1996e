//! Where each value comes from: the document as it counts, key by key, with the place that set it.

use std::rc::Rc;

use serde::Serialize;
use serde_json::Value;

use super::diagnostic::{Diagnostics, SourceFile, Span};
use super::layers::long_form;
use super::node::{Kind, Node};
use super::parse::{OVERRIDES, Reader};
use super::{profile, schema};

/// Who set a value.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "from", rename_all = "snake_case")]
pub enum Source {
    /// A file; also `$MS_TIER`, and `msctl set`.
    File {
        /// Its path relative to the configuration directory.
        file: String,
        /// The line, from 1.
        line: usize,
    },
    /// The profile of a tier.
    Tier {
        /// Which.
        tier: String,
    },
    /// Nobody: what this program assumes.
    Default,
}

impl std::fmt::Display for Source {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::File { file, .. } if file.starts_with('$') || file == OVERRIDES => f.write_str(file),
            Self::File { file, line } => write!(f, "{file}:{line}"),
            Self::Tier { tier } => write!(f, "tier {tier}"),
            Self::Default => f.write_str("default"),
        }
    }
}

/// A value and who set it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Origin {
    /// The keys that lead to it: `restart.backoff.max`, `probes[0].period`.
    pub key: String,
    /// The value as it would be written.
    pub value: String,
    /// Who set it.
    #[serde(flatten)]
    pub source: Source,
}

/// What is traced.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Traced {
    /// The daemon's settings.
    Daemon,
    /// A supervisor.
    Supervisor,
    /// A unit, with all its instances.
    Unit,
}

/// A document as it counts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Trace {
    /// What it is.
    pub kind: Traced,
    /// Its name; `daemon` for the daemon.
    pub name: String,
    /// Its values, those that are set first.
    pub values: Vec<Origin>,
}

/// Every document as it counts, of declarations without faults: the daemon, the supervisors, the units.
#[must_use]
pub fn trace(files: Vec<SourceFile>) -> Vec<Trace> {
    let mut reader = Reader::default();
    for file in files {
        reader.read(file);
    }
    let (amended, sources, _) = reader.amended();
    let of = |kind: Traced, node: &Rc<Node>, schema: &Value| {
        let name = match kind {
            Traced::Daemon => Some("daemon"),
            Traced::Supervisor => node.value("supervisor").and_then(Node::text),
            Traced::Unit => node.value("unit").and_then(Node::text),
        };
        let mut walk = Walk { sources: &sources, set: Vec::new(), assumed: Vec::new() };
        walk.mapping("", Some(node), schema);
        Some(Trace { kind, name: name?.to_owned(), values: walk.set.into_iter().chain(walk.assumed).collect() })
    };
    let daemon = amended.daemon.unwrap_or_else(|| Node::mapping(Span::default(), Vec::new()));
    let (supervisor, unit) = (schema::supervisor(), schema::unit());
    let supervisors = amended.supervisors.iter().filter_map(|node| of(Traced::Supervisor, node, &supervisor));
    let units = amended.units.iter().filter_map(|node| of(Traced::Unit, node, &unit));
    of(Traced::Daemon, &daemon, &schema::daemon()).into_iter().chain(supervisors).chain(units).collect()
}

/// What the profile of a tier says of one key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Setting {
    /// For whom: `daemon`, `unit *`, `supervisor *`.
    pub whom: String,
    /// The keys that lead to it; `probes.…` is said of each probe.
    pub key: String,
    /// The value.
    pub value: String,
    /// What is assumed without the tier, if anything is.
    pub default: Option<String>,
}

/// What the profile of a tier says.
#[must_use]
pub fn profile_of(tier: crate::base::tier::Tier) -> Vec<Setting> {
    let mut sources = Diagnostics::default();
    let mut rows = Vec::new();
    for document in profile::documents(tier, &mut sources) {
        let (whom, selector, schema) = match (document.value("unit"), document.value("supervisor")) {
            (Some(pattern), _) => (format!("unit {}", pattern.text().unwrap_or("*")), "unit", schema::unit()),
            (_, Some(pattern)) => (format!("supervisor {}", pattern.text().unwrap_or("*")), "supervisor", schema::supervisor()),
            (None, None) => ("daemon".into(), "", schema::daemon()),
        };
        let mut walk = Walk { sources: &sources, set: Vec::new(), assumed: Vec::new() };
        walk.mapping("", Some(&document), &schema);
        let set = walk.set.into_iter().filter(|row| row.key != selector);
        rows.extend(set.map(|row| Setting { whom: whom.clone(), default: assumed(&schema, &row.key), key: row.key, value: row.value }));
    }
    rows
}

/// What is assumed where `key` is not given.
fn assumed(schema: &Value, key: &str) -> Option<String> {
    let mut here = schema.clone();
    for part in key.split('.') {
        // What is said of each item of a list.
        let list = here.get("items").cloned();
        here = fields(&list.unwrap_or(here))?.get(part)?.clone();
    }
    here.get("default").map(plain)
}

struct Walk<'a> {
    sources: &'a Diagnostics,
    set: Vec<Origin>,
    assumed: Vec<Origin>,
}

impl Walk<'_> {
    fn mapping(&mut self, path: &str, node: Option<&Rc<Node>>, schema: &Value) {
        let given = node.and_then(|node| node.entries()).into_iter().flatten();
        let mut known = Vec::new();
        for (key, value) in given {
            let Some(name) = key.text() else { continue };
            known.push(name.to_owned());
            let schema = fields(schema).and_then(|fields| fields.get(name)).cloned().unwrap_or_default();
            self.value(&join(path, name), value, &schema);
        }
        for (name, schema) in fields(schema).into_iter().flatten().filter(|(name, _)| !known.contains(name)) {
            self.missing(&join(path, name), schema);
        }
    }

    fn value(&mut self, path: &str, node: &Rc<Node>, schema: &Value) {
        let node = &long_form(path, node);
        match &node.kind {
            Kind::Mapping(items) => {
                // That it is given at all says something: everything in it is assumed.
                if items.is_empty() {
                    let source = self.source(node.span);
                    self.set.push(Origin { key: path.to_owned(), value: "{}".into(), source });
                }
                self.mapping(path, Some(node), schema);
            }
            Kind::Sequence(items) if items.iter().any(|item| matches!(item.kind, Kind::Mapping(_))) => {
                let schema = items_of(schema);
                for (place, item) in items.iter().enumerate() {
                    self.value(&format!("{path}[{place}]"), item, &schema);
                }
            }
            Kind::Scalar { .. } | Kind::Sequence(_) | Kind::Reset => {
                let source = self.source(node.span);
                self.set.push(Origin { key: path.to_owned(), value: written(node), source });
            }
        }
    }

    /// What is assumed of a key that is not given.
    fn missing(&mut self, path: &str, schema: &Value) {
        let Some(default) = schema.get("default") else { return };
        let word_of = |fields: &serde_json::Map<String, Value>| {
            default.is_object() || fields.values().any(|field| field.get("default") == Some(default) && default.is_string())
        };
        match fields(schema) {
            Some(inner) if word_of(inner) => self.mapping(path, None, schema),
            _ => self.assumed.push(Origin { key: path.to_owned(), value: plain(default), source: Source::Default }),
        }
    }

    fn source(&self, span: Span) -> Source {
        let (file, line, _) = self.sources.locate(span);
        match file.strip_prefix("tier ").filter(|_| profile::is_profile(file)) {
            Some(tier) => Source::Tier { tier: tier.to_owned() },
            None => Source::File { file: file.to_owned(), line },
        }
    }
}

fn join(path: &str, name: &str) -> String {
    if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") }
}

/// The keys of a mapping, by its schema: of the variant that is one.
fn fields(schema: &Value) -> Option<&serde_json::Map<String, Value>> {
    let own = schema.get("properties").and_then(Value::as_object);
    own.or_else(|| schema.get("anyOf")?.as_array()?.iter().find_map(fields))
}

/// The schema of a list's items.
fn items_of(schema: &Value) -> Value {
    let own = schema.get("items").cloned();
    own.or_else(|| schema.get("anyOf")?.as_array()?.iter().find_map(|one| one.get("items").cloned())).unwrap_or_default()
}

/// A value as it would be written.
fn written(node: &Node) -> String {
    match &node.kind {
        Kind::Reset => "null".into(),
        Kind::Scalar { text, plain } if *plain || is_word(text) => text.clone(),
        Kind::Scalar { text, .. } => serde_json::Value::from(text.as_str()).to_string(),
        Kind::Sequence(items) => format!("[{}]", items.iter().map(|item| written(item)).collect::<Vec<_>>().join(", ")),
        Kind::Mapping(items) => {
            let items: Vec<_> = items.iter().map(|(key, value)| format!("{}: {}", written(key), written(value))).collect();
            format!("{{{}}}", items.join(", "))
        }
    }
}

/// Whether text needs no quotes.
fn is_word(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_alphabetic()) && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-./".contains(&byte))
}

/// A default as it would be written.
fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(files: &[(&str, &str)], name: &str) -> Vec<String> {
        let files = files.iter().map(|(path, text)| SourceFile { path: (*path).into(), text: (*text).into() }).collect();
        let traces = trace(files);
        let found = traces.into_iter().find(|trace| trace.name == name).unwrap();
        found.values.into_iter().map(|row| format!("{} = {}  {}", row.key, row.value, row.source)).collect()
    }

    #[test]
    fn every_value_knows_who_set_it() {
        let files = [
            ("units/web.yaml", "unit: web\nexec: [./web, -v]\nrestart: transient\nprobes:\n  - tcp: 127.0.0.1:80\n    period: 7s\n"),
            ("daemon.yaml", "tier: validation\nlisten: none\n"),
            ("conf.d/10-web.yaml", "unit: web\nlogs: {keep: 9}\nnice: null\n---\nstart_limit: 7\n"),
        ];
        let web = rows(&files, "web");
        for expect in [
            "exec = [./web, -v]  units/web.yaml:2",
            "restart.type = transient  units/web.yaml:3",
            "restart.backoff.reset_after = 2m  tier tier_2",
            "restart.backoff.max = 30s  default",
            "probes[0].period = 7s  units/web.yaml:6",
            "probes[0].timeout = 2s  tier tier_2",
            "probes[0].success_threshold = 1  default",
            "logs.keep = 9  conf.d/10-web.yaml:2",
            "logs.max_size = 10MiB  tier tier_2",
            "logs.mode = direct  default",
            "nice = 0  default",
            "readiness = none  default",
        ] {
            assert!(web.iter().any(|row| row == expect), "{expect} is missing in {web:#?}");
        }
        let daemon = rows(&files, "daemon");
        for expect in ["listen = none  daemon.yaml:2", "start_limit = 7  conf.d/10-web.yaml:5", "logs.max_total = 4GiB  tier tier_2"] {
            assert!(daemon.iter().any(|row| row == expect), "{expect} is missing in {daemon:#?}");
        }
    }

    #[test]
    fn the_environment_stands_above_the_files() {
        let forced = super::super::forced_tier("tier_3");
        let files = [("units/a.yaml", "unit: a\nexec: x\n"), ("daemon.yaml", "tier: tier_1\n"), (&forced.path, &forced.text)];
        assert!(rows(&files, "daemon").contains(&"tier = tier_3  $MS_TIER".to_owned()), "{:#?}", rows(&files, "daemon"));
        assert!(rows(&files, "a").contains(&"logs.keep = 20  tier tier_3".to_owned()));
    }

    #[test]
    fn a_profile_is_compared_with_what_is_assumed() {
        let rows = profile_of(crate::base::tier::Tier::Tier3);
        let row = |whom: &str, key: &str| {
            rows.iter().find(|row| row.whom == whom && row.key == key).cloned().unwrap_or_else(|| panic!("{key}: {rows:#?}"))
        };
        assert_eq!(row("unit *", "probes.period").default.as_deref(), Some("10s"));
        assert_eq!(row("unit *", "restart.backoff.max").default.as_deref(), Some("30s"));
        assert_eq!(row("daemon", "logs.max_total").value, "16GiB");
        assert_eq!(row("daemon", "degradation").value, "{}");
    }
}
