//! From files to declarations.

use std::rc::Rc;
use std::sync::Arc;

use super::amend::{Amended, Documents, amend};
use super::code;
use super::daemon::DaemonSpec;
use super::decode::{Cx, Decode};
use super::diagnostic::{Diagnostic, Diagnostics, SourceFile, Span};
use super::node::{self, Node};
use super::profile;
use super::supervisor::SupervisorSpec;
use super::unit::UnitSpec;

/// The path under which a tier that comes from the environment is known.
pub const TIER_VARIABLE: &str = "$MS_TIER";

/// The path under which what operators have set is known.
pub const OVERRIDES: &str = "msctl set";

/// Everything that was declared, as far as it could be read, and what is wrong with it.
#[derive(Clone, Debug, Default)]
pub struct Declared {
    /// The supervisors, in order of declaration. Each has a name.
    pub supervisors: Vec<SupervisorSpec>,
    /// The units, in order of declaration. Each has a name.
    pub units: Vec<UnitSpec>,
    /// The daemon's settings.
    pub daemon: DaemonSpec,
    /// What is wrong.
    pub diagnostics: Diagnostics,
    /// Whether something could not be read at all. Names that are not known may be declared there.
    pub incomplete: bool,
}

impl Declared {
    /// Whether nothing was declared and nothing is wrong.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.supervisors.is_empty() && self.units.is_empty()
    }

    /// The files it was read from: what is built in is left out.
    pub fn files(&self) -> impl Iterator<Item = SourceFile> {
        self.diagnostics.sources().filter(|file| !profile::is_profile(&file.path))
    }
}

/// What the documents of a file declare.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    Supervisors,
    Units,
    Daemon,
    HealthChecks,
    Monitoring,
    DropIns,
    ForcedTier,
}

impl Place {
    /// What the path of a file says.
    fn of(path: &str) -> Option<Self> {
        match path.split_once('/') {
            Some(("supervisors", _)) => Some(Self::Supervisors),
            Some(("units", _)) => Some(Self::Units),
            Some(("conf.d", _)) => Some(Self::DropIns),
            Some(_) => None,
            None => match path {
                "daemon.yaml" => Some(Self::Daemon),
                "health-checks.yaml" => Some(Self::HealthChecks),
                "monitoring.yaml" => Some(Self::Monitoring),
                OVERRIDES => Some(Self::DropIns),
                TIER_VARIABLE => Some(Self::ForcedTier),
                _ => None,
            },
        }
    }
}

/// Reads declarations. The path of a file says what it declares: `supervisors/…`, `units/…`, `daemon.yaml`, `health-checks.yaml`,
/// `monitoring.yaml`, or what it amends: `conf.d/…` and what operators have set ([`OVERRIDES`]), in the order given.
#[must_use]
pub fn parse(files: Vec<SourceFile>) -> Declared {
    let mut reader = Reader::default();
    for file in files {
        reader.read(file);
    }
    reader.finish()
}

/// A tier that comes from the environment, as a file.
#[must_use]
pub fn forced_tier(word: &str) -> SourceFile {
    // JSON's strings are YAML's.
    SourceFile { path: TIER_VARIABLE.into(), text: format!("tier: {}\n", serde_json::Value::from(word)) }
}

/// Files on their way to declarations.
#[derive(Default)]
pub(super) struct Reader {
    documents: Documents,
    diagnostics: Diagnostics,
}

impl Reader {
    /// Takes note of a fault of a file as a whole, which was not read.
    pub(super) fn unreadable(&mut self, code: &'static str, path: String, message: String) {
        let file = self.diagnostics.add_source(SourceFile { path, text: String::new() });
        self.diagnostics.push(Diagnostic::new(code, Span::whole(file), message));
        self.documents.incomplete = true;
    }

    pub(super) fn read(&mut self, source: SourceFile) {
        let Some(place) = Place::of(&source.path) else {
            if !profile::is_profile(&source.path) {
                let message =
                    "declarations stand in `supervisors/`, `units/`, `conf.d/`, `daemon.yaml`, `health-checks.yaml` and `monitoring.yaml`";
                self.unreadable(code::MISPLACED, source.path, message.to_owned());
            }
            return;
        };
        let single = matches!(place, Place::Daemon | Place::Monitoring | Place::ForcedTier).then(|| source.path.clone());
        let file = self.diagnostics.add_source(source);
        let source = Arc::clone(&self.diagnostics.sources[file]);
        let documents = node::read(file, &source.text, &mut self.diagnostics);
        self.documents.incomplete |= documents.lost;
        if let (Some(path), Some(second)) = (single, documents.nodes.get(1)) {
            self.diagnostics.push(Diagnostic::new(code::MISPLACED, second.span, format!("`{path}` holds one document only")));
        }
        for document in documents.nodes {
            self.take(place, document);
        }
    }

    fn take(&mut self, place: Place, document: Rc<Node>) {
        if self.is_misplaced(place, &document) {
            self.documents.incomplete = true;
            return;
        }
        let documents = &mut self.documents;
        match place {
            Place::Supervisors => documents.supervisors.push(document),
            Place::Units => documents.units.push(document),
            Place::Daemon => drop(documents.daemon.get_or_insert(document)),
            Place::HealthChecks => documents.checks.push(document),
            Place::Monitoring => drop(documents.monitoring.get_or_insert(document)),
            Place::DropIns => documents.drop_ins.push(document),
            Place::ForcedTier => drop(documents.forced_tier.get_or_insert(document)),
        }
    }

    /// Whether a unit stands among the supervisors or the other way round; one report is better than one for each key.
    fn is_misplaced(&mut self, place: Place, document: &Node) -> bool {
        let (own, other, home) = match place {
            Place::Supervisors => ("supervisor", "unit", "units"),
            Place::Units => ("unit", "supervisor", "supervisors"),
            Place::Daemon | Place::HealthChecks | Place::Monitoring | Place::DropIns | Place::ForcedTier => return false,
        };
        let (None, Some(key)) = (document.key(own), document.key(other)) else { return false };
        let message = format!("a {other} is declared in a file of {own}s");
        self.diagnostics.push(Diagnostic::new(code::MISPLACED, key.span, message).help(format!("move it to a file in `{home}/`")));
        true
    }

    /// The layers of everything, put together.
    pub(super) fn amended(mut self) -> (Amended, Diagnostics, bool) {
        let incomplete = self.documents.incomplete;
        (amend(self.documents, &mut self.diagnostics), self.diagnostics, incomplete)
    }

    pub(super) fn finish(self) -> Declared {
        let (amended, diagnostics, incomplete) = self.amended();
        let mut declared = Declared { diagnostics, incomplete, ..Declared::default() };
        let mut cx = Cx::new(&mut declared.diagnostics);
        for document in &amended.supervisors {
            let spec = SupervisorSpec::decode(document, &mut cx).filter(|spec| spec.supervisor.is_some());
            declared.incomplete |= spec.is_none();
            declared.supervisors.extend(spec);
        }
        for document in &amended.units {
            let spec = UnitSpec::decode(document, &mut cx).filter(|spec| spec.unit.is_some());
            declared.incomplete |= spec.is_none();
            declared.units.extend(spec);
        }
        if let Some(spec) = amended.daemon.and_then(|document| DaemonSpec::decode(&document, &mut cx)) {
            declared.daemon = spec;
        }
        declared.diagnostics.sort();
        declared
    }
}
