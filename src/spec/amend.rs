//! Who is amended by which document, and what comes of it.

use std::collections::BTreeMap;
use std::rc::Rc;

use crate::base::tier::Tier;

use super::code;
use super::diagnostic::{Diagnostic, Diagnostics, Span, did_you_mean, quote};
use super::layers::{fits, merge, with_resets, without};
use super::node::{Kind, Node};
use super::profile;
use super::unit::FOR_OUR_OWN;

/// So many documents may amend others. Each is compared with those it may be meant for.
const DROP_INS_MAX: usize = 1_000;

/// How many comparisons of names are made for suggestions.
const COMPARISONS_MAX: usize = 100_000;

/// The keys a document in `health-checks.yaml` may have besides whom it is for.
const CHECK_KEYS: [&str; 2] = ["probes", "watchdog"];

/// Every document of a configuration directory, by what it is.
#[derive(Default)]
pub(super) struct Documents {
    pub(super) supervisors: Vec<Rc<Node>>,
    pub(super) units: Vec<Rc<Node>>,
    pub(super) daemon: Option<Rc<Node>>,
    /// `health-checks.yaml`.
    pub(super) checks: Vec<Rc<Node>>,
    /// What amends others, in the order it applies.
    pub(super) drop_ins: Vec<Rc<Node>>,
    /// Documents that amend the daemon only: `monitoring.yaml`, and `$MS_TIER`, which stands above all.
    pub(super) monitoring: Option<Rc<Node>>,
    pub(super) forced_tier: Option<Rc<Node>>,
    /// Whether something could not be read: then names that are not known may be declared there.
    pub(super) incomplete: bool,
}

/// Every document as it counts.
pub(super) struct Amended {
    pub(super) supervisors: Vec<Rc<Node>>,
    pub(super) units: Vec<Rc<Node>>,
    pub(super) daemon: Option<Rc<Node>>,
}

/// Whom a document amends.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Noun {
    Unit,
    Supervisor,
    Daemon,
}

impl Noun {
    const fn key(self) -> &'static str {
        match self {
            Self::Unit => "unit",
            Self::Supervisor => "supervisor",
            Self::Daemon => "daemon",
        }
    }
}

/// A document that amends others.
struct DropIn {
    noun: Noun,
    /// A name, or a pattern with `*`; empty for the daemon.
    name: String,
    /// Where that is written.
    span: Span,
    /// What it says, without whom it is for.
    node: Rc<Node>,
}

impl DropIn {
    fn is_pattern(&self) -> bool {
        self.name.contains('*')
    }

    fn concerns(&self, noun: Noun, name: &str) -> bool {
        self.noun == noun && if self.is_pattern() { fits(&self.name, name) } else { self.name == name }
    }
}

/// Puts the layers together. What is wrong with a document itself is found when it is decoded.
pub(super) fn amend(mut documents: Documents, out: &mut Diagnostics) -> Amended {
    if let Some(one_too_many) = documents.drop_ins.get(DROP_INS_MAX) {
        let message = format!("more than {DROP_INS_MAX} documents amend others");
        out.push(Diagnostic::new(code::DOCUMENT_LIMIT, one_too_many.span, message));
        documents.drop_ins.truncate(DROP_INS_MAX);
    }
    let drop_ins: Vec<_> = documents.drop_ins.iter().filter_map(|document| drop_in(document, out)).collect();
    find_strangers(&documents, &drop_ins, out);
    let daemon = daemon(&documents, &drop_ins);
    let tier = daemon.as_ref().and_then(|daemon| Tier::named(daemon.value("tier")?.text()?));
    let tier: Vec<_> = tier.map(|tier| profile::documents(tier, out)).unwrap_or_default();
    let tier: Vec<_> = tier.iter().filter_map(|document| drop_in(document, out)).collect();
    let checks = checks(&documents, out);
    Amended {
        supervisors: documents.supervisors.iter().map(|node| layered(Noun::Supervisor, node, &drop_ins, &tier, out)).collect(),
        units: documents.units.iter().map(|node| layered(Noun::Unit, &checked(node, &checks), &drop_ins, &tier, out)).collect(),
        daemon: with_tier(Noun::Daemon, "", daemon, &tier),
    }
}

/// Whom a document amends, and with what.
fn drop_in(document: &Rc<Node>, out: &mut Diagnostics) -> Option<DropIn> {
    if !matches!(document.kind, Kind::Mapping(_)) {
        let message = format!("a drop-in is a mapping; found {}", document.describe());
        out.push(Diagnostic::new(code::WRONG_TYPE, document.span, message));
        return None;
    }
    let noun = match (document.key("unit"), document.key("supervisor")) {
        (Some(unit), Some(supervisor)) => {
            let (first, second) = if unit.span < supervisor.span { (unit, supervisor) } else { (supervisor, unit) };
            let fault = Diagnostic::new(code::CONFLICT, second.span, "a document amends a unit or a supervisor, not both");
            out.push(fault.related(first.span, "first given here").help("write two documents, with `---` between them"));
            return None;
        }
        (Some(_), None) => Noun::Unit,
        (None, Some(_)) => Noun::Supervisor,
        (None, None) => Noun::Daemon,
    };
    let node = with_resets(document);
    if noun == Noun::Daemon {
        return Some(DropIn { noun, name: String::new(), span: document.span, node });
    }
    let Some((name, span)) = document.value(noun.key()).and_then(|value| Some((value.text()?.to_owned(), value.span))) else {
        let span = document.value(noun.key()).map_or(document.span, |value| value.span);
        let message = format!("`{}` must be a name, or a pattern such as `web-*`", noun.key());
        out.push(Diagnostic::new(code::WRONG_TYPE, span, message));
        return None;
    };
    Some(DropIn { noun, name, span, node: without(&node, |key| key == noun.key()) })
}

/// Reports drop-ins for what is not declared. A pattern may fit nothing here: the same file may serve many machines.
fn find_strangers(documents: &Documents, drop_ins: &[DropIn], out: &mut Diagnostics) {
    if documents.incomplete {
        return;
    }
    let names =
        |nodes: &[Rc<Node>], key: &str| nodes.iter().filter_map(|node| node.value(key)?.text().map(str::to_owned)).collect::<Vec<_>>();
    let (units, supervisors) = (names(&documents.units, "unit"), names(&documents.supervisors, "supervisor"));
    let mut comparisons = COMPARISONS_MAX;
    for drop_in in drop_ins.iter().filter(|drop_in| drop_in.noun != Noun::Daemon && !drop_in.is_pattern()) {
        let (own, others, other) = match drop_in.noun {
            Noun::Unit => (&units, &supervisors, "supervisor"),
            Noun::Supervisor | Noun::Daemon => (&supervisors, &units, "unit"),
        };
        if own.contains(&drop_in.name) {
            continue;
        }
        let noun = drop_in.noun.key();
        let message = format!("there is no {noun} {} to amend", quote(&drop_in.name));
        let help = if others.contains(&drop_in.name) {
            Some(format!("it is a {other}: write `{other}: {}`", drop_in.name))
        } else if let Some((template, _)) = drop_in.name.split_once('@') {
            Some(format!("a unit is amended with all its instances: write `unit: {template}`"))
        } else if drop_in.noun == Noun::Supervisor && drop_in.name == "root" {
            Some("the top is only implied: declare a supervisor called `root`, with its `children`".into())
        } else if own.len() <= comparisons {
            comparisons -= own.len();
            did_you_mean(&drop_in.name, own.iter().map(String::as_str))
        } else {
            None
        };
        let help = help.unwrap_or_else(|| format!("a drop-in changes what is declared; declare a new {noun} in `{noun}s/`"));
        out.push(Diagnostic::new(code::UNKNOWN_NAME, drop_in.span, message).help(help));
    }
}

fn daemon(documents: &Documents, drop_ins: &[DropIn]) -> Option<Rc<Node>> {
    let monitoring = documents.monitoring.as_ref().map(with_resets);
    let own = drop_ins.iter().filter(|drop_in| drop_in.noun == Noun::Daemon).map(|drop_in| Rc::clone(&drop_in.node));
    let layers = documents.daemon.clone().into_iter().chain(monitoring).chain(own).chain(documents.forced_tier.clone());
    layers.reduce(|under, over| merge(&under, &over))
}

/// A unit or supervisor with all that amends it.
fn layered(noun: Noun, node: &Rc<Node>, drop_ins: &[DropIn], tier: &[DropIn], out: &mut Diagnostics) -> Rc<Node> {
    let Some(name) = node.value(noun.key()).and_then(Node::text).map(str::to_owned) else { return Rc::clone(node) };
    let mut layered = Rc::clone(node);
    let mut for_each = None;
    for drop_in in drop_ins.iter().filter(|drop_in| drop_in.concerns(noun, &name)) {
        let over = if drop_in.is_pattern() { fitting(&drop_in.node, &layered) } else { Rc::clone(&drop_in.node) };
        if !drop_in.is_pattern() && layered.key("probes").is_none() && is_mapping(over.value("probes")) {
            for_each = over.value("probes").map(|probes| probes.span);
        }
        layered = merge(&layered, &over);
    }
    layered = with_tier(noun, &name, Some(layered), tier).unwrap_or_else(|| Rc::clone(node));
    if !is_mapping(layered.value("probes")) || is_mapping(node.value("probes")) {
        return layered;
    }
    // What is said of each probe is said of none.
    if let Some(span) = for_each {
        let fault = Diagnostic::new(code::CONFLICT, span, format!("{} has no probes that could be amended", quote(&name)));
        out.push(fault.help("a mapping amends each probe there is; a list declares probes"));
    }
    without(&layered, |key| key == "probes")
}

fn with_tier(noun: Noun, name: &str, node: Option<Rc<Node>>, tier: &[DropIn]) -> Option<Rc<Node>> {
    let concerned = tier.iter().filter(|drop_in| drop_in.concerns(noun, name));
    let under = concerned.map(|drop_in| Rc::clone(&drop_in.node)).reduce(|under, over| merge(&under, &over));
    match (under, node) {
        (Some(under), Some(node)) => {
            let merged = merge(&fitting(&under, &node), &node);
            // It stands where it is declared, whatever it gets from elsewhere.
            let Kind::Mapping(items) = &merged.kind else { return Some(merged) };
            let (own, other): (Vec<_>, Vec<_>) = items.iter().cloned().partition(|(key, _)| key.span.file == node.span.file);
            Some(Node::mapping(node.span, own.into_iter().chain(other).collect()))
        }
        (under, node) => node.or(under),
    }
}

/// What may be said of all units, of one that may be only watched.
fn fitting(over: &Rc<Node>, node: &Node) -> Rc<Node> {
    if node.key("watch").is_some() { without(over, |key| FOR_OUR_OWN.contains(&key)) } else { Rc::clone(over) }
}

fn is_mapping(node: Option<&Node>) -> bool {
    node.is_some_and(|node| matches!(node.kind, Kind::Mapping(_)))
}

/// What `health-checks.yaml` says, by unit.
type Checks<'a> = BTreeMap<String, Vec<&'a Rc<Node>>>;

/// Finds out for which units the documents in `health-checks.yaml` are.
fn checks<'a>(documents: &'a Documents, out: &mut Diagnostics) -> Checks<'a> {
    let (mut checks, mut targets) = (Checks::new(), Vec::new());
    for document in documents.checks.iter().take(DROP_INS_MAX) {
        let Some(target) = drop_in(document, out) else { continue };
        let units = match target.noun {
            Noun::Unit => documents
                .units
                .iter()
                .filter_map(|node| node.value("unit")?.text())
                .filter(|name| target.concerns(Noun::Unit, name))
                .map(str::to_owned)
                .collect(),
            Noun::Supervisor => below(documents, &target.name),
            Noun::Daemon => {
                let fault = Diagnostic::new(code::MISSING_KEY, document.span, "`unit` or `supervisor` must be given");
                out.push(fault.help("say whose health is checked: a unit, or all units of a supervisor"));
                continue;
            }
        };
        let Kind::Mapping(items) = &document.kind else { continue };
        for (key, _) in items {
            if let Some(name) = key.text().filter(|name| *name != target.noun.key() && !CHECK_KEYS.contains(name)) {
                let fault =
                    Diagnostic::new(code::UNKNOWN_KEY, key.span, format!("there is no key {} in `health-checks.yaml`", quote(name)));
                out.push(
                    fault.help("the keys are unit, supervisor, probes, watchdog; others stand in `units/`, or in a drop-in in `conf.d/`"),
                );
            }
        }
        targets.push(target);
        for unit in units {
            checks.entry(unit).or_default().push(document);
        }
    }
    find_strangers(documents, &targets, out);
    checks
}

/// The units below a supervisor, by what is written; circles and unknown names are reported elsewhere.
fn below(documents: &Documents, name: &str) -> Vec<String> {
    let children = |node: &Node| match node.value("children").map(|children| &children.kind) {
        Some(Kind::Sequence(items)) => items.iter().filter_map(|item| item.text().map(str::to_owned)).collect(),
        Some(Kind::Scalar { text, .. }) => vec![text.clone()],
        _ => Vec::new(),
    };
    let supervisors: BTreeMap<&str, Vec<String>> =
        documents.supervisors.iter().filter_map(|node| Some((node.value("supervisor")?.text()?, children(node)))).collect();
    let units = || documents.units.iter().filter_map(|node| node.value("unit")?.text());
    let root = name == "root" && !supervisors.contains_key("root");
    if root {
        return units().map(str::to_owned).collect();
    }
    let (mut found, mut open, mut seen) = (Vec::new(), vec![name.to_owned()], std::collections::BTreeSet::new());
    while let Some(name) = open.pop() {
        match supervisors.get(name.as_str()) {
            Some(children) if seen.insert(name.clone()) => open.extend(children.iter().cloned()),
            Some(_) => {}
            None if units().any(|unit| unit == name) => found.push(name),
            None => {}
        }
    }
    found
}

/// A unit with the probes that `health-checks.yaml` adds to its own.
fn checked(node: &Rc<Node>, checks: &Checks<'_>) -> Rc<Node> {
    let mut node = Rc::clone(node);
    let name = node.value("unit").and_then(Node::text).map(str::to_owned);
    for document in name.iter().flat_map(|name| checks.get(name)).flatten() {
        let own = node.value("probes").map(|probes| &probes.kind);
        let over = match (own, document.value("probes").map(|probes| (&probes.kind, probes.span))) {
            (Some(Kind::Sequence(own)), Some((Kind::Sequence(more), span))) => {
                let all = own.iter().chain(more).cloned().collect();
                let list = (Node::word(span, "probes"), Node::sequence(span, all));
                let Kind::Mapping(items) = &without(document, |key| key == "probes").kind else { continue };
                Node::mapping(document.span, items.iter().cloned().chain([list]).collect())
            }
            _ => Rc::clone(document),
        };
        let over = without(&with_resets(&over), |key| !CHECK_KEYS.contains(&key));
        node = merge(&node, &over);
    }
    node
}
