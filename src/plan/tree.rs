//! Who is whose child. One name space, one parent each, one root.

use std::collections::BTreeMap;

use crate::spec::supervisor::SupervisorSpec;
use crate::spec::unit::UnitSpec;
use crate::spec::value::Reference;
use crate::spec::{Declared, Diagnostic, Diagnostics, Span, Spanned, code, did_you_mean};

/// The name of the top supervisor.
pub const ROOT: &str = "root";

/// How many comparisons of names are made for suggestions: each unknown name costs one with every name that is known.
const COMPARISONS_MAX: usize = 100_000;

/// A declared name.
#[derive(Clone, Copy)]
pub(super) enum Item<'a> {
    Unit(&'a UnitSpec),
    Supervisor(&'a SupervisorSpec),
}

impl<'a> Item<'a> {
    /// The name where it is declared.
    fn span(self) -> Span {
        let name = match self {
            Self::Unit(spec) => &spec.unit,
            Self::Supervisor(spec) => &spec.supervisor,
        };
        name.as_ref().map_or_else(Span::default, |name| name.span)
    }

    const fn noun(self) -> &'static str {
        match self {
            Self::Unit(_) => "unit",
            Self::Supervisor(_) => "supervisor",
        }
    }
}

/// The tree as declared. With faults it is what could be made of the declarations.
pub(super) struct Tree<'a> {
    /// Everything declared, by name.
    pub(super) items: BTreeMap<&'a str, Item<'a>>,
    /// The children of each supervisor, in order; the root's too if it is implied.
    pub(super) children: BTreeMap<&'a str, Vec<&'a str>>,
    /// Whose child something is.
    pub(super) parent: BTreeMap<&'a str, &'a str>,
    /// Whether supervisors list each other in a circle.
    pub(super) circular: bool,
    /// Whether names that are not known may have been declared where nothing could be read.
    incomplete: bool,
    /// How many more comparisons may be made.
    comparisons: usize,
}

impl<'a> Tree<'a> {
    pub(super) fn build(declared: &'a Declared, out: &mut Diagnostics) -> Self {
        let mut tree = Self {
            items: BTreeMap::new(),
            children: BTreeMap::new(),
            parent: BTreeMap::new(),
            circular: false,
            incomplete: declared.incomplete,
            comparisons: COMPARISONS_MAX,
        };
        tree.name_all(declared, out);
        for supervisor in &declared.supervisors {
            tree.list_children(supervisor, out);
        }
        tree.find_circles(out);
        tree.find_root(declared, out);
        tree
    }

    /// The name a reference means and the instance, where one is meant; reports a name that is not known.
    pub(super) fn look_up(&mut self, reference: &'a Spanned<Reference>, out: &mut Diagnostics) -> Option<(&'a str, Option<u32>, Item<'a>)> {
        let text = reference.0.as_str();
        let (name, instance) = text.split_once('@').map_or((text, None), |(name, number)| (name, number.parse().ok()));
        match self.items.get(name) {
            Some(&item) => Some((name, instance, item)),
            None if self.incomplete => None,
            None => {
                let affordable = self.comparisons.checked_sub(self.items.len());
                self.comparisons = affordable.unwrap_or(self.comparisons);
                let help = affordable.and_then(|_| did_you_mean(name, self.items.keys().copied()));
                let message = format!("there is no unit or supervisor `{name}`");
                out.push(Diagnostic::new(code::UNKNOWN_NAME, reference.span, message).label("not declared anywhere").maybe_help(help));
                None
            }
        }
    }

    /// Whether `name` is `ancestor` or below it.
    pub(super) fn is_within(&self, name: &str, ancestor: &str) -> bool {
        std::iter::successors(Some(name), |name| self.parent.get(name).copied()).any(|name| name == ancestor)
    }

    fn name_all(&mut self, declared: &'a Declared, out: &mut Diagnostics) {
        let supervisors = declared.supervisors.iter().filter_map(|spec| Some((&spec.supervisor.as_ref()?.0, Item::Supervisor(spec))));
        let units = declared.units.iter().filter_map(|spec| Some((&spec.unit.as_ref()?.0, Item::Unit(spec))));
        for (name, item) in supervisors.chain(units) {
            if matches!(item, Item::Unit(_)) && name == ROOT {
                let message = "`root` is the name of the top supervisor; a unit cannot have it";
                out.push(Diagnostic::new(code::BAD_NAME, item.span(), message));
            } else if let Some(first) = self.items.get(name.as_str()) {
                let message = format!("the name `{name}` is declared twice; units and supervisors share one name space");
                let fault = Diagnostic::new(code::DUPLICATE_NAME, item.span(), message).label("declared again here");
                out.push(fault.related(first.span(), format!("first declared here, as a {}", first.noun())));
            } else {
                self.items.insert(name, item);
            }
        }
    }

    fn list_children(&mut self, spec: &'a SupervisorSpec, out: &mut Diagnostics) {
        let Some(name) = &spec.supervisor else { return };
        let Some(children) = &spec.children else {
            // What it would list is not known.
            self.incomplete = true;
            return;
        };
        if children.0.is_empty() {
            out.push(Diagnostic::new(code::NO_CHILDREN, children.span, format!("the supervisor `{}` has no children", name.0)));
        }
        for reference in &children.value.0 {
            let Some((child, instance, item)) = self.look_up(reference, out) else { continue };
            if child == ROOT {
                let message = "`root` is the top of the tree and cannot be a child";
                out.push(Diagnostic::new(code::BAD_CHILD, reference.span, message));
            } else if instance.is_some() {
                let message = format!("`{}` is one instance; children are whole units", reference.0);
                out.push(Diagnostic::new(code::BAD_CHILD, reference.span, message).help(format!("write `{child}`")));
                self.parent.entry(child).or_insert(&name.0);
            } else if let Some(first) = self.parent.get(child) {
                let message = format!("the {} `{child}` is already a child of `{first}`", item.noun());
                let fault = Diagnostic::new(code::LISTED_TWICE, reference.span, message).label("listed again here");
                out.push(match self.listing(first, child) {
                    Some(span) => fault.related(span, "first listed here"),
                    None => fault,
                });
            } else {
                self.parent.insert(child, &name.0);
                self.children.entry(&name.0).or_default().push(child);
            }
        }
    }

    /// Where `supervisor` lists `child`.
    fn listing(&self, supervisor: &str, child: &str) -> Option<Span> {
        let Item::Supervisor(spec) = self.items.get(supervisor)? else { return None };
        spec.children.as_ref()?.value.0.iter().find(|reference| reference.0 == child).map(|reference| reference.span)
    }

    /// Reports supervisors above themselves. With one parent each, circles do not touch.
    fn find_circles(&mut self, out: &mut Diagnostics) {
        // In which walk upwards a name was seen.
        let mut seen: BTreeMap<&str, usize> = BTreeMap::new();
        let names: Vec<_> = self.children.keys().copied().collect();
        for (walk, &start) in names.iter().enumerate() {
            let mut name = start;
            while !seen.contains_key(name) {
                seen.insert(name, walk);
                match self.parent.get(name) {
                    Some(parent) => name = parent,
                    None => break,
                }
            }
            if seen.get(name) == Some(&walk) && self.parent.contains_key(name) {
                self.circular = true;
                self.report_circle(name, out);
            }
        }
    }

    fn report_circle(&self, start: &'a str, out: &mut Diagnostics) {
        let mut circle = vec![start];
        let mut name = start;
        while let Some(&parent) = self.parent.get(name) {
            if parent == start {
                break;
            }
            circle.push(parent);
            name = parent;
        }
        circle.reverse();
        let least = circle.iter().enumerate().min_by_key(|(_, name)| **name).map_or(0, |(at, _)| at);
        circle.rotate_left(least);
        let first = circle[0];
        let chain: Vec<_> = circle.iter().chain([&first]).map(|name| format!("`{name}`")).collect();
        let child = circle.get(1).copied().unwrap_or(first);
        let span = self.listing(first, child).unwrap_or_default();
        let message = format!("supervisors list each other in a circle: {}", chain.join(" → "));
        out.push(Diagnostic::new(code::SUPERVISOR_CYCLE, span, message));
    }

    /// Settles what is at the top, and reports what cannot be reached from there.
    fn find_root(&mut self, declared: &'a Declared, out: &mut Diagnostics) {
        let orphans: Vec<_> = self.in_order().filter(|(name, _)| !self.parent.contains_key(name)).collect();
        let has_root = self.items.contains_key(ROOT);
        for (name, item) in orphans {
            let adopted = match item {
                Item::Supervisor(_) => !has_root,
                Item::Unit(_) => declared.supervisors.is_empty(),
            };
            if name == ROOT {
                continue;
            } else if adopted {
                self.parent.insert(name, ROOT);
                self.children.entry(ROOT).or_default().push(name);
            } else if !self.incomplete {
                let message = format!("the {} `{name}` is unreachable: no supervisor lists it", item.noun());
                let help = format!("add `{name}` to the children of a supervisor");
                out.push(Diagnostic::new(code::UNREACHABLE, item.span(), message).help(help));
            }
        }
    }

    /// Everything that has a name of its own, in order of declaration, supervisors first.
    fn in_order(&self) -> impl Iterator<Item = (&'a str, Item<'a>)> {
        let mut all: Vec<_> = self.items.iter().map(|(name, item)| (*name, *item)).collect();
        all.sort_by_key(|(_, item)| (matches!(item, Item::Unit(_)), item.span()));
        all.into_iter()
    }
}
