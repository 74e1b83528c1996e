//! `readiness` of a unit: when it counts as started.

use serde_json::json;

use super::code;
use super::decode::{Cx, Decode, mapping};
use super::diagnostic::{Diagnostic, Spanned, did_you_mean, quote};
use super::node::{Kind, Node};
use super::restart::is_word;
use super::value::{Flag, Int, PositiveTime, Text, schema};

/// How a unit may tell.
const KINDS: [&str; 5] = ["notify", "tcp", "http", "log", "fd"];

mapping! {
    /// When a unit counts as started: exactly one of `notify`, `tcp`, `http`, `log` and `fd`; with a `pid_file` also none of them.
    ReadinessSpec: "`none`, `notify` or a mapping, for example `{http: \"http://127.0.0.1:8080/health\"}`" {
        /// The unit sends `READY=1` to `$NOTIFY_SOCKET`, as with systemd's `Type=notify`. By `MAINPID=` it may name another of its processes as
        /// the main one.
        notify: Flag,
        /// A TCP connection to this `host:port` succeeds.
        tcp: Text,
        /// A GET of this `http:` URL answers with a status from 200 to 399.
        http: Text,
        /// A line of the unit's log matches this regular expression.
        log: Text,
        /// The unit writes a newline to this file descriptor, as with s6.
        fd: Int<3, 1023>,
        /// How long it may take, from the moment in which what the start needs is looked up; then the unit is killed and its start has failed.
        timeout: PositiveTime = "30s",
        /// Whether it may take no longer than four times what starts have taken lately, at least 5s, once five have come up; `timeout` is then
        /// the bound of that. A start that hangs is found sooner; after one that was late the next may take longer.
        learned: Flag = false,
    }
}

schema!(ReadinessSpec, generator => {
    let mut mapping = Self::mapping_schema(generator);
    let kinds = KINDS.map(|kind| json!({"required": [kind]}));
    let none = json!({"not": {"anyOf": kinds}});
    mapping.insert("oneOf".into(), kinds.into_iter().chain([none]).collect());
    json!({"anyOf": [
        {"const": "none", "description": "It is ready as soon as its program runs."},
        {"const": "notify", "description": "It sends `READY=1` to `$NOTIFY_SOCKET`, as with systemd's `Type=notify`."},
        mapping,
    ]})
});

impl Decode for ReadinessSpec {
    const EXPECTED: &'static str = "`none`, `notify` or a mapping";

    fn decode(node: &Node, cx: &mut Cx<'_>) -> Option<Self> {
        if is_word(node) {
            return match node.text() {
                Some("none") => Some(Self::default()),
                Some("notify") => Some(Self { notify: Some(Spanned { value: Flag(true), span: node.span }), ..Self::default() }),
                text => {
                    let message = format!("{} must be `none`, `notify` or a mapping; found {}", cx.subject(), node.describe());
                    let help = did_you_mean(text.unwrap_or(""), ["none", "notify"]);
                    cx.report(Diagnostic::new(code::BAD_VALUE, node.span, message).maybe_help(help));
                    None
                }
            };
        }
        let spec = Self::from_mapping(node, cx)?;
        spec.check(node, cx);
        Some(spec)
    }
}

/// Finds fault with a value whose specifiers are replaced.
type Check = fn(&str) -> Option<String>;

impl ReadinessSpec {
    fn check(&self, node: &Node, cx: &mut Cx<'_>) {
        // The keys as written: a kind whose value is wrong is given all the same.
        let given = |name| node.key(name).map(|key| (name, key.span));
        let mut kinds: Vec<_> = KINDS.into_iter().filter_map(given).collect();
        kinds.sort_by_key(|(_, span)| span.start);
        match kinds[..] {
            // That is for the unit to judge.
            [] => {}
            [(first, first_span), (second, second_span), ..] => {
                let message = format!("a unit tells in one way that it is ready, but `{first}` and `{second}` are given");
                cx.report(Diagnostic::new(code::CONFLICT, second_span, message).related(first_span, "first given here"));
            }
            [_] => {
                if let Some(notify) = self.notify.as_ref().filter(|notify| !notify.0) {
                    let fault = Diagnostic::new(code::CONFLICT, notify.span, "`notify: false` says nothing about readiness");
                    cx.report(fault.help("write `readiness: none`"));
                }
            }
        }
    }

    /// Finds fault with a mapping that names no way to tell. Only a pid file tells by itself.
    pub(super) fn check_kind(unit: &Node, cx: &mut Cx<'_>) {
        let Some(node) = unit.value("readiness").filter(|node| matches!(node.kind, Kind::Mapping(_))) else { return };
        if KINDS.iter().all(|kind| node.key(kind).is_none()) && unit.key("pid_file").is_none() {
            let message = "`readiness` must have one of `notify`, `tcp`, `http`, `log` and `fd`";
            cx.report(Diagnostic::new(code::CONFLICT, node.span, message).help("write `readiness: none` if nothing tells"));
        }
    }

    /// The text that describes how the unit tells, with what finds fault with it.
    pub(crate) fn target(&self) -> Option<(&Spanned<Text>, Check)> {
        let tcp = self.tcp.as_ref().map(|target| (target, tcp_fault as Check));
        let http = self.http.as_ref().map(|target| (target, http_fault as Check));
        let log = self.log.as_ref().map(|target| (target, regex_fault as Check));
        tcp.or(http).or(log)
    }
}

pub(super) fn tcp_fault(target: &str) -> Option<String> {
    let good = target.rsplit_once(':').is_some_and(|(host, port)| {
        let bare_v6 = host.contains(':') && !(host.starts_with('[') && host.ends_with(']'));
        !host.is_empty() && !bare_v6 && !host.contains([' ', '/']) && port.parse::<u16>().is_ok_and(|port| port > 0)
    });
    (!good).then(|| format!("{} is not a host with a port; write for example `127.0.0.1:8080`", quote(target)))
}

pub(super) fn http_fault(target: &str) -> Option<String> {
    let Ok(uri) = target.parse::<hyper::Uri>() else {
        return Some(format!("{} is not a URL; write for example `http://127.0.0.1:8080/health`", quote(target)));
    };
    match (uri.scheme_str(), uri.authority()) {
        (Some("http"), Some(authority)) if authority.host().is_empty() || authority.port().is_some_and(|port| port.as_str() == "0") => {
            Some(format!("{} names no host and port; write for example `http://127.0.0.1:8080/health`", quote(target)))
        }
        (Some("http"), Some(authority)) if authority.as_str().contains('@') => Some("a URL cannot hold a user name here".into()),
        // The parser of URLs lets any digits stand as a port.
        (Some("http"), Some(authority)) => {
            let after_host = authority.as_str().rsplit(']').next().and_then(|rest| rest.rsplit_once(':')).map(|(_, port)| port);
            let bad = after_host.is_some_and(|port| port.parse::<u16>().is_err());
            bad.then(|| format!("{} has an impossible port", quote(target)))
        }
        _ => Some(format!("{} is not an `http:` URL; only these can be asked", quote(target))),
    }
}

/// Finds fault with a regular expression.
pub(super) fn regex_fault(pattern: &str) -> Option<String> {
    let error = regex::Regex::new(pattern).err()?.to_string();
    let why = error.lines().last().unwrap_or("").trim_start_matches("error: ");
    Some(format!("{} is not a regular expression: {why}", quote(pattern)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_are_checked() {
        let check = |fault: fn(&str) -> Option<String>, good: &[&str], bad: &[&str]| {
            for text in good {
                assert_eq!(fault(text), None, "{text}");
            }
            for text in bad {
                assert!(fault(text).is_some(), "{text}");
            }
        };
        check(tcp_fault, &["127.0.0.1:80", "[::1]:80", "db:5432"], &["", "80", "host:", ":80", "::1:80", "a:0", "a:65536", "a:8\u{660}"]);
        check(
            http_fault,
            &["http://127.0.0.1/health", "http://localhost:8080/a?b=c", "http://[::1]:80/"],
            &["", "localhost", "/health", "https://a/", "http://", "http://a:99999/", "http://a:0/", "http://u@a/", "ftp://a/"],
        );
        check(regex_fault, &["ready", "^listening on \\d+$"], &["(", "[z-a]", "a{9999999}"]);
    }
}
