//! Layers: what is said of one thing in several places becomes one document.
//!
//! From the bottom: the tier's defaults, the declaration itself, `health-checks.yaml` and `monitoring.yaml`, the drop-ins in `conf.d/` in
//! the order of their names, and `$MS_TIER`. Mappings are merged key by key, scalars and lists replace, and nothing (`key: null`) in a
//! drop-in takes back what lower layers say. All of it works on trees of nodes before anything is decoded: keys need not be known here,
//! and every value keeps the place where it is written.

use std::collections::BTreeMap;
use std::rc::Rc;

use super::diagnostic::Span;
use super::node::{Items, Kind, Node};

/// Mappings that may be written as one word, with the key it stands for: it is merged as the mapping it means.
pub(super) const SHORT_FORMS: [(&str, &str); 3] = [("restart", "type"), ("restart.backoff", "kind"), ("logs", "mode")];

/// The key under which a mapping stands for what each item of the list has.
const EACH: &str = "probes";

/// One document of two, where `over` decides.
pub(super) fn merge(under: &Rc<Node>, over: &Rc<Node>) -> Rc<Node> {
    at("", under, over)
}

fn at(path: &str, under: &Rc<Node>, over: &Rc<Node>) -> Rc<Node> {
    let (under, over) = same_form(path, under, over);
    match (&under.kind, &over.kind) {
        // A document stands where it is declared; what is in it, where it was said last.
        (Kind::Mapping(below), Kind::Mapping(above)) => {
            Node::mapping(if path.is_empty() { under.span } else { over.span }, keys(path, below, above))
        }
        (Kind::Mapping(_), Kind::Sequence(items)) if path == EACH => {
            Node::sequence(over.span, items.iter().map(|item| placed(&at("probes[]", &under, item), item.span)).collect())
        }
        (Kind::Sequence(items), Kind::Mapping(_)) if path == EACH => {
            Node::sequence(under.span, items.iter().map(|item| placed(&at("probes[]", item, &over), item.span)).collect())
        }
        _ => over,
    }
}

/// A mapping as if it stood at `span`: a probe stays where it is declared.
fn placed(node: &Rc<Node>, span: Span) -> Rc<Node> {
    let Kind::Mapping(items) = &node.kind else { return Rc::clone(node) };
    Node::mapping(span, items.clone())
}

fn keys(path: &str, below: &Items, above: &Items) -> Items {
    let mut merged = below.clone();
    let mut places: BTreeMap<&str, usize> = BTreeMap::new();
    for (place, (key, _)) in below.iter().enumerate() {
        if let Some(name) = key.text() {
            places.entry(name).or_insert(place);
        }
    }
    let mut seen: BTreeMap<&str, ()> = BTreeMap::new();
    for (key, value) in above {
        // A key that is given twice stays so, and is reported where documents are decoded.
        let place = key.text().filter(|name| seen.insert(name, ()).is_none()).and_then(|name| Some((name, *places.get(name)?)));
        match place {
            Some((name, place)) => {
                let deeper = if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") };
                merged[place] = (Rc::clone(key), at(&deeper, &below[place].1, value));
            }
            None => merged.push((Rc::clone(key), Rc::clone(value))),
        }
    }
    merged
}

/// Both as mappings, if one is and the other is a word that stands for one.
fn same_form(path: &str, under: &Rc<Node>, over: &Rc<Node>) -> (Rc<Node>, Rc<Node>) {
    match (&under.kind, &over.kind) {
        (Kind::Mapping(_), Kind::Scalar { .. }) => (Rc::clone(under), long_form(path, over)),
        (Kind::Scalar { .. }, Kind::Mapping(_)) => (long_form(path, under), Rc::clone(over)),
        _ => (Rc::clone(under), Rc::clone(over)),
    }
}

/// The mapping a word stands for; anything else as it is.
pub(super) fn long_form(path: &str, node: &Rc<Node>) -> Rc<Node> {
    match SHORT_FORMS.iter().find(|(known, _)| *known == path) {
        Some((_, key)) if node.text().is_some() => Node::mapping(node.span, vec![(Node::word(node.span, key), Rc::clone(node))]),
        _ => Rc::clone(node),
    }
}

/// A document of a drop-in: what is nothing in it takes back.
pub(super) fn with_resets(node: &Rc<Node>) -> Rc<Node> {
    match &node.kind {
        Kind::Mapping(items) => {
            let items = items.iter().map(|(key, value)| (Rc::clone(key), with_resets(value)));
            Node::mapping(node.span, items.collect())
        }
        Kind::Scalar { .. } if node.is_null() => Node::reset(node.span),
        Kind::Scalar { .. } | Kind::Sequence(_) | Kind::Reset => Rc::clone(node),
    }
}

/// A mapping without the keys for which `is_out` holds.
pub(super) fn without(node: &Rc<Node>, is_out: impl Fn(&str) -> bool) -> Rc<Node> {
    let Kind::Mapping(items) = &node.kind else { return Rc::clone(node) };
    let kept = items.iter().filter(|(key, _)| !key.text().is_some_and(&is_out)).cloned();
    Node::mapping(node.span, kept.collect())
}

/// Whether `name` fits a pattern, in which `*` stands for any text.
pub(super) fn fits(pattern: &str, name: &str) -> bool {
    let mut parts = pattern.split('*');
    let Some(mut rest) = parts.next().and_then(|first| name.strip_prefix(first)) else { return false };
    let mut parts: Vec<_> = parts.collect();
    let Some(last) = parts.pop() else { return rest.is_empty() };
    for part in parts {
        match rest.split_once(part) {
            Some((_, after)) => rest = after,
            None => return false,
        }
    }
    rest.ends_with(last)
}

#[cfg(test)]
mod tests {
    use super::super::diagnostic::Diagnostics;
    use super::super::node;
    use super::*;

    fn document(text: &str) -> Rc<Node> {
        let mut out = Diagnostics::default();
        let documents = node::read(0, text, &mut out);
        assert!(out.is_empty(), "{out}");
        Rc::clone(&documents.nodes[0])
    }

    fn check(under: &str, over: &str, expect: &str) {
        let merged = merge(&document(under), &with_resets(&document(over)));
        assert_eq!(node::tests::show(&merged), expect, "{under} | {over}");
    }

    #[test]
    fn mappings_merge_and_the_rest_replaces() {
        check("{a: 1, b: {c: 2, d: 3}}", "{b: {d: 4, e: 5}, f: 6}", "{a: 1, b: {c: 2, d: 4, e: 5}, f: 6}");
        check("{a: [1, 2], b: {c: 2}}", "{a: [3], b: 4}", "{a: [3], b: 4}");
        check("{a: 1}", "{a: {b: 2}}", "{a: {b: 2}}");
    }

    #[test]
    fn nothing_takes_back() {
        check("{a: 1, b: {c: 2}}", "{a: null, b: ~, d: {e: }}", "{a: reset, b: reset, d: {e: reset}}");
        check("{a: [1]}", "{a: [null]}", "{a: [null]}");
        let merged = merge(&document("{a: 1, b: 2}"), &with_resets(&document("a: null")));
        assert!(merged.value("a").is_none() && merged.key("a").is_none() && merged.value("b").is_some());
        assert_eq!(merged.entries().unwrap().count(), 1);
    }

    #[test]
    fn short_forms_merge_as_what_they_stand_for() {
        check("restart: transient", "restart: {backoff: {max: 5m}}", r#"{restart: {"type": transient, backoff: {max: 5m}}}"#);
        check("restart: {type: permanent, backoff: none}", "restart: transient", r#"{restart: {"type": transient, backoff: none}}"#);
        check("logs: {max_size: 1MiB}", "logs: pipe", r#"{logs: {max_size: 1MiB, "mode": pipe}}"#);
        check("shutdown: {timeout: 5s}", "shutdown: brutal_kill", "{shutdown: brutal_kill}");
    }

    #[test]
    fn a_mapping_stands_for_each_probe() {
        check(
            "probes: [{tcp: a}, {http: b, period: 1s}]",
            "probes: {period: 5s}",
            "{probes: [{tcp: a, period: 5s}, {http: b, period: 5s}]}",
        );
        check("probes: {period: 5s, timeout: 2s}", "probes: [{tcp: a, period: 1s}]", "{probes: [{period: 1s, timeout: 2s, tcp: a}]}");
        check("probes: [{tcp: a}]", "probes: [{tcp: b}]", "{probes: [{tcp: b}]}");
    }

    #[test]
    fn what_is_given_twice_stays_so() {
        check("{a: 1, a: 2}", "b: 3", "{a: 1, a: 2, b: 3}");
        check("{a: 1}", "{a: 2, a: 3}", "{a: 2, a: 3}");
    }

    #[test]
    fn patterns_fit() {
        for (pattern, name, expect) in [
            ("*", "web", true),
            ("web", "web", true),
            ("web", "webs", false),
            ("web-*", "web-1", true),
            ("web-*", "web", false),
            ("*-db", "main-db", true),
            ("a*b*c", "aXbYc", true),
            ("a*b*c", "aXcYb", false),
            ("a*a", "a", false),
        ] {
            assert_eq!(fits(pattern, name), expect, "{pattern} {name}");
        }
    }
}
