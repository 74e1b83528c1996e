//! What operators have set beside the files (`msctl set`): on the disk before it is acknowledged, each with its own time, on top of all declarations.
#![expect(clippy::disallowed_methods, reason = "a file of its own, read and written on threads that may block")]

use std::io;
use std::path::Path;
use std::time::Duration;

use crate::base::time::Mono;
use crate::event::Override;
use crate::os::{clock, private};
use crate::plan::Plan;
use crate::spec::{OVERRIDES, SourceFile};

/// So many may be in force; more are refused.
pub(super) const OVERRIDES_MAX: usize = 500;

/// The target that is the daemon itself.
pub(super) const DAEMON: &str = "daemon";

/// The file in the state directory.
const FILE: &str = "overrides.json";

/// One that is in force, and when it ends on the clock that nobody sets and that goes on while the machine sleeps.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Held {
    pub(super) set: Override,
    pub(super) ends: Option<Mono>,
}

impl Held {
    /// One that is set now, or was by a daemon before: from then on a clock that is set anew changes nothing.
    pub(super) fn new(set: Override) -> Self {
        let left = |until: i64| Duration::from_millis(u64::try_from(until - clock::wall().0).unwrap_or(0));
        let ends = set.until.map(|until| clock::boottime() + left(until.0));
        Self { set, ends }
    }

    pub(super) fn is_over(&self, now: Mono) -> bool {
        self.ends.is_some_and(|ends| ends <= now)
    }
}

/// Those in force when the daemon ended. A file that cannot be read says nothing: what was set is not in force then. Blocks.
///
/// # Errors
/// Why it cannot be read.
pub(super) fn load(state: &Path) -> Result<Vec<Held>, String> {
    let path = state.join(FILE);
    let text = match std::fs::read(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(format!("cannot read {}: {error}", path.display())),
    };
    let list: Vec<Override> = serde_json::from_slice(&text).map_err(|error| format!("cannot read {}: {error}", path.display()))?;
    Ok(list.into_iter().map(Held::new).collect())
}

/// Writes them down. Blocks.
///
/// # Errors
/// Why they cannot be; what was written before still is.
pub(super) fn save(state: &Path, list: &[Held]) -> io::Result<()> {
    let list: Vec<_> = list.iter().map(|held| &held.set).collect();
    private::replace(&state.join(FILE), &serde_json::to_vec_pretty(&list)?)
}

/// Whether there is something called `target` to set a value of.
pub(super) fn is_known(plan: &Plan, target: &str) -> bool {
    target == DAEMON || plan.supervisors.contains_key(target) || plan.units.keys().any(|unit| declared_as(unit.as_str()) == target)
}

/// The name under which a unit is declared: that of an instance without its number.
fn declared_as(unit: &str) -> &str {
    unit.rsplit_once('@').map_or(unit, |(name, _)| name)
}

/// As a file of drop-ins, one document for each that is not over and has something to be set of.
pub(super) fn source(plan: &Plan, list: &[Held]) -> Option<SourceFile> {
    let now = clock::boottime();
    let counts = list.iter().filter(|held| !held.is_over(now) && is_known(plan, &held.set.target));
    let documents: Vec<_> = counts.map(|held| document(plan, &held.set)).collect();
    (!documents.is_empty()).then(|| SourceFile { path: OVERRIDES.into(), text: documents.join("---\n") })
}

fn document(plan: &Plan, set: &Override) -> String {
    let mut text = match set.target.as_str() {
        DAEMON => String::new(),
        target if plan.supervisors.contains_key(target) => format!("supervisor: {target}\n"),
        target => format!("unit: {target}\n"),
    };
    let keys: Vec<_> = set.key.split('.').collect();
    for (depth, key) in keys.iter().enumerate() {
        let value = if depth + 1 == keys.len() { format!(" {}", set.value) } else { String::new() };
        text.push_str(&format!("{:indent$}{key}:{value}\n", "", indent = depth * 2));
    }
    text
}

/// Why a key or a value cannot be written into a document.
pub(super) fn fault(key: &str, value: &str) -> Option<String> {
    let is_word = |word: &str| !word.is_empty() && word.chars().all(|letter| letter.is_ascii_alphanumeric() || letter == '_');
    if !key.split('.').all(is_word) {
        return Some(format!("`{key}` is no key: names with points between them, for example `limits.memory_max`"));
    }
    value.chars().any(char::is_control).then(|| format!("the value of `{key}` has more than one line, or control characters"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::time::Wall;
    use crate::plan::resolve;
    use crate::spec;

    fn set(target: &str, key: &str, value: &str) -> Held {
        let (target, key, value) = (target.into(), key.into(), value.into());
        Held::new(Override { target, key, value, set: Wall(0), until: None, uid: 0, reason: None })
    }

    fn files() -> Vec<SourceFile> {
        let file = |path: &str, text: &str| SourceFile { path: path.into(), text: text.into() };
        vec![
            file("supervisors/root.yaml", "supervisor: root\nchildren: [web]\n"),
            file("units/web.yaml", "unit: web\nexec: x\ninstances: 2\nnice: 1\n"),
        ]
    }

    #[test]
    fn what_is_set_stands_above_the_files() {
        let plan = |files| resolve(&spec::parse(files), Path::new("/"));
        let (base, _) = plan(files());
        let base = base.unwrap();
        let list = [set("web", "nice", "7"), set("root", "intensity", "9"), set("daemon", "start_limit", "3")];
        let source = source(&base, &list).unwrap();
        assert_eq!(source.text, "unit: web\nnice: 7\n---\nsupervisor: root\nintensity: 9\n---\nstart_limit: 3\n");
        let (set, diagnostics) = plan(files().into_iter().chain([source]).collect());
        let set = set.unwrap_or_else(|| panic!("{diagnostics}"));
        assert_eq!((set.units["web@2"].nice, set.daemon.start_limit), (7, 3));
        assert!(is_known(&base, "web") && is_known(&base, "root") && !is_known(&base, "web@1") && !is_known(&base, "x"));
    }

    #[test]
    fn keys_and_values_are_one_line() {
        assert_eq!(
            document(&resolve(&spec::parse(files()), Path::new("/")).0.unwrap(), &set("web", "a.b.c", "[1]").set),
            "unit: web\na:\n  b:\n    c: [1]\n"
        );
        assert!(fault("limits.memory_max", "1GiB").is_none());
        for (key, value) in [("", "1"), ("a..b", "1"), ("a: 1\nb", "1"), ("a", "1\nb: 2")] {
            assert!(fault(key, value).is_some(), "{key} {value}");
        }
    }

    #[test]
    fn what_is_written_down_is_found_again() {
        let directory = tempfile::tempdir().unwrap();
        assert_eq!(load(directory.path()), Ok(Vec::new()));
        let mut held = set("web", "nice", "7");
        held.set.until = Some(Wall(clock::wall().0 + 3_600_000));
        save(directory.path(), &[held.clone()]).unwrap();
        let found = load(directory.path()).unwrap();
        assert_eq!(found[0].set, held.set);
        assert!(!found[0].is_over(clock::boottime()) && found[0].is_over(clock::boottime() + Duration::from_secs(3601)));
        std::fs::write(directory.path().join(FILE), "{").unwrap();
        assert!(load(directory.path()).unwrap_err().contains("overrides.json"));
    }
}
