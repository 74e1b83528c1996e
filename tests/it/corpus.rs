//! Broken and sound configurations, one directory each, and what is said about them.

use std::path::{Path, PathBuf};

use ms_supervisor::plan::{Plan, resolve};
use ms_supervisor::spec::{Diagnostics, SourceFile, load, parse, schema};
use proptest::prelude::*;

fn cases() -> Vec<(String, PathBuf)> {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/corpus");
    let entries = std::fs::read_dir(corpus).unwrap().map(|entry| entry.unwrap());
    let mut cases: Vec<_> = entries.map(|entry| (entry.file_name().into_string().unwrap(), entry.path())).collect();
    cases.sort();
    cases
}

/// As if the declarations stood in a directory whose path is the same everywhere.
fn judge(directory: &Path) -> (Option<Plan>, Diagnostics) {
    resolve(&load(directory, None), Path::new("/etc/ms-supervisor"))
}

#[test]
fn faults_are_explained() {
    let mut broken = 0;
    for (name, directory) in cases().iter().filter(|(name, _)| !name.starts_with("good_")) {
        let (plan, faults) = judge(directory);
        assert!(plan.is_none() && !faults.is_empty(), "{name} is not broken");
        insta::assert_snapshot!(name.as_str(), faults.render(false));
        broken += 1;
    }
    assert!(broken >= 50, "only {broken} broken cases");
}

#[test]
fn faults_have_a_form_for_programs() {
    for (name, directory) in cases() {
        let (_, faults) = judge(&directory);
        let json = faults.to_json();
        assert_eq!(json.as_array().unwrap().len(), faults.len(), "{name}");
        for fault in json.as_array().unwrap() {
            assert!(
                fault["line"].as_u64() >= Some(1) && fault["column"].as_u64() >= Some(1) && fault["file"].is_string(),
                "{name}: {fault}"
            );
        }
    }
}

#[test]
fn every_code_is_shown_somewhere() {
    // What no directory in a repository can hold; tested where it is reported.
    let elsewhere = ["MS0001", "MS0002", "MS0003", "MS0011", "MS0208", "MS0304"];
    let shown: String = cases().iter().map(|(_, directory)| judge(directory).1.render(false)).collect();
    for (code, meaning) in ms_supervisor::spec::code::ALL {
        assert!(shown.contains(code) || elsewhere.contains(code), "no case shows {code}:{meaning}");
    }
}

#[test]
fn sound_declarations_become_plans() {
    for (name, directory) in cases().iter().filter(|(name, _)| name.starts_with("good_")) {
        let (plan, faults) = judge(directory);
        let plan = plan.unwrap_or_else(|| panic!("{name}: {faults}"));
        insta::assert_snapshot!(name.as_str(), serde_json::to_string_pretty(&plan).unwrap());
    }
}

/// A document as JSON, in the core schema of YAML; enough for the good cases, which alias nothing but scalars and lists.
fn json_of(document: &str) -> serde_json::Value {
    use granit_parser::{Event, Parser, ScalarStyle};
    enum Open {
        List(Vec<serde_json::Value>),
        Map(serde_json::Map<String, serde_json::Value>, Option<String>),
    }
    let mut open = vec![Open::List(Vec::new())];
    for next in Parser::new_from_str(document) {
        let value = match next.unwrap().0 {
            Event::SequenceStart(..) => {
                open.push(Open::List(Vec::new()));
                continue;
            }
            Event::MappingStart(..) => {
                open.push(Open::Map(serde_json::Map::new(), None));
                continue;
            }
            Event::SequenceEnd | Event::MappingEnd => match open.pop().unwrap() {
                Open::List(items) => items.into(),
                Open::Map(items, _) => items.into(),
            },
            Event::Alias(_) => Vec::<String>::new().into(),
            // To YAML this is a number; JSON has none with a leading zero.
            Event::Scalar(text, ScalarStyle::Plain, ..) if text.starts_with('0') && text.parse::<u32>().is_ok() => 0.into(),
            Event::Scalar(text, ScalarStyle::Plain, ..) => serde_json::from_str(&text).unwrap_or_else(|_| text.as_ref().into()),
            Event::Scalar(text, ..) => text.as_ref().into(),
            _ => continue,
        };
        match open.last_mut().unwrap() {
            Open::List(items) => items.push(value),
            Open::Map(items, key) => match key.take() {
                Some(key) => drop(items.insert(key, value)),
                None => *key = Some(value.as_str().unwrap().to_owned()),
            },
        }
    }
    let Some(Open::List(mut documents)) = open.pop() else { panic!("unbalanced") };
    documents.remove(0)
}

/// Every document of the good cases, with the schema it must match.
fn good_documents() -> Vec<(String, &'static str, String)> {
    let mut documents = Vec::new();
    for (name, directory) in cases().iter().filter(|(name, _)| name.starts_with("good_")) {
        for (file, kind) in [
            ("units/u.yaml", "unit"),
            ("supervisors/s.yaml", "supervisor"),
            ("daemon.yaml", "daemon"),
            ("monitoring.yaml", "daemon"),
            ("health-checks.yaml", "health_checks"),
            ("conf.d/10-all.yaml", "drop_in"),
            ("conf.d/20-web.yaml", "drop_in"),
        ] {
            let Ok(text) = std::fs::read_to_string(directory.join(file)) else { continue };
            documents.extend(text.split("---\n").map(|document| (format!("{name}/{file}"), kind, document.to_owned())));
        }
    }
    documents
}

fn validator(kind: &str) -> jsonschema::Validator {
    let schema = match kind {
        "unit" => schema::unit(),
        "supervisor" => schema::supervisor(),
        "drop_in" => schema::drop_in(),
        "health_checks" => schema::health_checks(),
        _ => schema::daemon(),
    };
    jsonschema::validator_for(&schema).unwrap()
}

#[test]
fn schemas_accept_what_is_sound() {
    for (name, kind, document) in good_documents() {
        let json = json_of(&document);
        let faults: Vec<_> = validator(kind).iter_errors(&json).map(|fault| fault.to_string()).collect();
        assert!(faults.is_empty(), "{name}: {faults:?}\n{json:#}");
    }
}

#[test]
fn schemas_refuse_what_is_not() {
    for (kind, document) in [
        ("unit", "unit: a"),
        ("unit", "unit: a\nexec: x\nreadyness: notify"),
        ("unit", "unit: a\nexec: x\nrestart: {type: sometimes}"),
        ("unit", "unit: a\nexec: x\nreadiness: {notify: true, fd: 3}"),
        ("unit", "unit: a\nexec: x\nnice: 20"),
        ("supervisor", "supervisor: a\nchildren: [x]\nstrategy: one"),
        ("daemon", "listen: [8001]"),
        ("daemon", "tier: tier_4"),
        ("drop_in", "unit: a\nnicee: 5"),
        ("drop_in", "supervisor: a\nstrategy: one"),
        ("health_checks", "probes: []"),
    ] {
        assert!(!validator(kind).is_valid(&json_of(document)), "{document}");
    }
}

/// Reads, resolves and prints; whatever the text is, this must end without a panic.
fn exercise(place: &str, text: String) {
    let declared = parse(vec![SourceFile { path: place.into(), text }]);
    let (plan, faults) = resolve(&declared, Path::new("/c"));
    assert_eq!(plan.is_some(), faults.is_empty());
    let _ = (faults.render(true), faults.to_json());
}

/// Pieces that mean something to YAML or to the decoder, separated by spaces; `␤` is a line break, `␣` a space.
const PIECES: &str = "---␤ ...␤ &a␣ *a <<:␣ !t␣ [ ] { } :␣ -␣ ␤ ␤␣␣ \t ' \" |␤ >␤ # %i @2 \0 \u{feff} ä null ~ 99999999999999999999 -1 10s \
                      infinity unit:␣a␤ exec:␣x␤ children:␣[a]␤ root";

fn pieces() -> Vec<String> {
    PIECES.split(' ').map(|piece| piece.replace('␤', "\n").replace('␣', " ")).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_bytes_are_read_without_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        exercise("units/u.yaml", String::from_utf8_lossy(&bytes).into_owned());
    }

    #[test]
    fn any_mutation_is_read_without_panic(
        which in any::<prop::sample::Index>(),
        edits in proptest::collection::vec((any::<prop::sample::Index>(), 0usize..20, proptest::sample::select(pieces())), 1..6),
    ) {
        let documents = good_documents();
        let (_, kind, mut text) = which.get(&documents).clone();
        for (at, length, piece) in edits {
            let floor = |offset: usize| (0..=offset.min(text.len())).rev().find(|&at| text.is_char_boundary(at)).unwrap_or(0);
            let start = floor(at.index(text.len() + 1));
            let end = floor(start + length).max(start);
            text.replace_range(start..end, &piece);
        }
        let place = match kind {
            "unit" => "units/u.yaml",
            "supervisor" => "supervisors/s.yaml",
            "drop_in" => "conf.d/10-all.yaml",
            "health_checks" => "health-checks.yaml",
            _ => "daemon.yaml",
        };
        exercise(place, text);
    }
}

#[test]
fn a_flood_of_faults_is_still_answered() {
    let documents = |fault: &str| (0..5_000).map(|number| format!("---\nunit: u{number}\n{fault}\n")).collect::<String>();
    for text in
        [documents("exec: x\nrequires: nobody"), documents("exce: x"), "- ".repeat(50_000), "[".repeat(1 << 20), "a: {b: ".repeat(50_000)]
    {
        exercise("units/u.yaml", text);
    }
    let circle = (0..5_000).map(|number| format!("---\nunit: u{number}\nexec: x\nrequires: u{}\n", (number + 1) % 5_000)).collect();
    exercise("units/u.yaml", circle);
}
