//! From files to declarations.

use std::sync::Arc;

use super::code;
use super::daemon::DaemonSpec;
use super::decode::{Cx, Decode};
use super::diagnostic::{Diagnostic, Diagnostics, SourceFile, Span};
use super::node::{self, Node};
use super::supervisor::SupervisorSpec;
use super::unit::UnitSpec;

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

/// What the documents of a file declare.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    Supervisors,
    Units,
    Daemon,
}

/// Reads declarations. The path of a file says what it declares: `supervisors/…`, `units/…` or `daemon.yaml`.
#[must_use]
pub fn parse(files: Vec<SourceFile>) -> Declared {
    let mut declared = Declared::default();
    for file in files {
        declared.read(file);
    }
    declared.diagnostics.sort();
    declared
}

impl Declared {
    /// Whether nothing was declared and nothing is wrong.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.supervisors.is_empty() && self.units.is_empty()
    }

    /// Takes note of a fault of a file as a whole, which was not read.
    pub(super) fn unreadable(&mut self, code: &'static str, path: String, message: String) {
        let file = self.diagnostics.add_source(SourceFile { path, text: String::new() });
        self.diagnostics.push(Diagnostic::new(code, Span::whole(file), message));
        self.incomplete = true;
    }

    pub(super) fn read(&mut self, source: SourceFile) {
        let place = match source.path.split_once('/') {
            Some(("supervisors", _)) => Place::Supervisors,
            Some(("units", _)) => Place::Units,
            None if source.path == "daemon.yaml" => Place::Daemon,
            _ => {
                let message = "declarations stand in `supervisors/`, `units/` and `daemon.yaml`".to_owned();
                return self.unreadable(code::MISPLACED, source.path, message);
            }
        };
        let file = self.diagnostics.add_source(source);
        let source = Arc::clone(&self.diagnostics.sources[file]);
        let documents = node::read(file, &source.text, &mut self.diagnostics);
        self.incomplete |= documents.lost;
        if place == Place::Daemon
            && let Some(second) = documents.nodes.get(1)
        {
            self.diagnostics.push(Diagnostic::new(code::MISPLACED, second.span, "`daemon.yaml` holds one document only"));
        }
        for document in &documents.nodes {
            self.take(place, document);
        }
    }

    fn take(&mut self, place: Place, document: &Node) {
        if self.is_misplaced(place, document) {
            self.incomplete = true;
            return;
        }
        let mut cx = Cx::new(&mut self.diagnostics);
        match place {
            Place::Supervisors => {
                let spec = SupervisorSpec::decode(document, &mut cx).filter(|spec| spec.supervisor.is_some());
                self.incomplete |= spec.is_none();
                self.supervisors.extend(spec);
            }
            Place::Units => {
                let spec = UnitSpec::decode(document, &mut cx).filter(|spec| spec.unit.is_some());
                self.incomplete |= spec.is_none();
                self.units.extend(spec);
            }
            Place::Daemon => {
                if let Some(spec) = DaemonSpec::decode(document, &mut cx) {
                    self.daemon = spec;
                }
            }
        }
    }

    /// Whether a unit stands among the supervisors or the other way round; one report is better than one for each key.
    fn is_misplaced(&mut self, place: Place, document: &Node) -> bool {
        let (own, other, home) = match place {
            Place::Supervisors => ("supervisor", "unit", "units"),
            Place::Units => ("unit", "supervisor", "supervisors"),
            Place::Daemon => return false,
        };
        let (None, Some(key)) = (document.key(own), document.key(other)) else { return false };
        let message = format!("a {other} is declared in a file of {own}s");
        self.diagnostics.push(Diagnostic::new(code::MISPLACED, key.span, message).help(format!("move it to a file in `{home}/`")));
        true
    }
}
