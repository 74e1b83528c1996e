//! The house rules that a compiler does not know: who may use whom, how long a file may be, what stands at the top of the repository.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// Each module with those it may use. A module further down uses only those above it; what is missing here is forbidden.
const LAYERS: &[(&str, &[&str])] = &[
    ("base", &[]),
    ("event", &["base"]),
    ("spec", &["base"]),
    ("plan", &["base", "spec"]),
    ("policy", &["base", "plan", "event"]),
    ("sim", &["base", "plan", "policy"]),
    ("os", &["base", "plan", "event"]),
    ("store", &["base", "plan", "event"]),
    // The error kernel: nothing of what users write, nothing that decides.
    ("launcher", &["base", "os"]),
    ("actor", &["base", "event", "spec", "plan", "policy", "os", "store", "launcher"]),
    ("sink", &["base", "event", "plan", "os", "store", "actor"]),
    ("api", &["base", "event", "spec", "plan", "policy", "os", "store", "launcher", "actor"]),
    ("cli", &["base", "event", "spec", "plan", "sim", "os", "api"]),
    ("daemon", &["base", "event", "spec", "plan", "policy", "os", "store", "launcher", "actor", "sink", "api", "cli"]),
    ("main", &["base", "os", "launcher", "cli", "daemon"]),
];

/// Modules that decide: no clock, files, sockets, processes, threads or async, and nothing whose order is chance.
const PURE: &[&str] = &["base", "event", "plan", "policy", "sim"];

/// What a pure module must not even name.
const IMPURE: &[&str] = &[
    "std::fs",
    "std::net::Tcp",
    "std::net::Udp",
    "std::os",
    "std::process",
    "std::thread",
    "std::env",
    "HashMap",
    "HashSet",
    "Instant::now",
    "SystemTime",
    "tokio::",
    "ractor::",
    "rustix::",
    "libc::",
    "async fn",
];

/// The longest a file may be, without its tests.
const LINES_MAX: usize = 500;

/// What stands at the top, besides dot-files. Whoever opens the repository sees this and nothing else.
const TOP: &[&str] = &[
    "ARCHITECTURE.md",
    "Cargo.lock",
    "Cargo.toml",
    "LICENSE",
    "README.md",
    "SECURITY.md",
    "benches",
    "deploy",
    "examples",
    "src",
    "supervisors",
    "tests",
    "units",
];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Every source file with its text, by path below the repository.
fn sources(directory: &str) -> BTreeMap<PathBuf, String> {
    let mut found = BTreeMap::new();
    let mut directories = vec![root().join(directory)];
    while let Some(directory) = directories.pop() {
        for entry in fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                directories.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                found.insert(path.strip_prefix(root()).unwrap().to_owned(), fs::read_to_string(path).unwrap());
            }
        }
    }
    found
}

/// Without the tests at its end, comments and documentation.
fn code(text: &str) -> String {
    let body = text.split("#[cfg(test)]\nmod tests {").next().unwrap_or(text);
    body.lines().filter(|line| !line.trim_start().starts_with("//")).map(|line| format!("{line}\n")).collect()
}

/// Whether a file holds the unit tests of the module it stands beside.
fn is_tests_file(path: &Path) -> bool {
    path.starts_with("src") && path.components().any(|part| part.as_os_str() == "tests" || part.as_os_str() == "tests.rs")
}

/// The module of a file: the first directory or file below `src/`. None for the library's root.
fn module(path: &Path) -> Option<String> {
    let name = path.strip_prefix("src").ok()?.components().next()?.as_os_str().to_str()?;
    Some(name.trim_end_matches(".rs").to_owned()).filter(|name| name != "lib")
}

/// The modules of this crate that a text names.
fn used(text: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for prefix in ["crate::", "ms_supervisor::"] {
        for (at, _) in text.match_indices(prefix) {
            let rest = &text[at + prefix.len()..];
            let names: Vec<&str> = match rest.strip_prefix('{') {
                Some(list) => list.split('}').next().unwrap_or("").split(',').map(str::trim).collect(),
                None => vec![rest],
            };
            let name = |text: &str| text.chars().take_while(|c| c.is_ascii_lowercase() || *c == '_').collect::<String>();
            found.extend(names.into_iter().map(name).filter(|name| LAYERS.iter().any(|(module, _)| module == name)));
        }
    }
    found
}

#[test]
fn modules_use_only_what_is_below_them() {
    let mut faults = Vec::new();
    for (path, text) in sources("src") {
        let Some(module) = module(&path) else { continue };
        let Some((_, allowed)) = LAYERS.iter().find(|(name, _)| *name == module) else {
            faults.push(format!("{}: `{module}` has no place in the table of layers", path.display()));
            continue;
        };
        for other in used(&code(&text)) {
            if other != module && !allowed.contains(&other.as_str()) {
                faults.push(format!("{}: `{module}` may not use `{other}`", path.display()));
            }
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn layers_have_no_circle() {
    for (at, (module, allowed)) in LAYERS.iter().enumerate() {
        for other in *allowed {
            assert!(LAYERS[..at].iter().any(|(name, _)| name == other), "`{module}` uses `{other}`, which does not stand above it");
        }
    }
}

#[test]
fn what_decides_touches_nothing() {
    let mut faults = Vec::new();
    for (path, text) in sources("src").iter().filter(|(path, _)| !is_tests_file(path)) {
        if !module(path).is_some_and(|module| PURE.contains(&module.as_str())) {
            continue;
        }
        let code = code(text);
        for word in IMPURE.iter().filter(|word| code.contains(**word)) {
            faults.push(format!("{}: a module that decides names `{word}`", path.display()));
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn files_are_small() {
    let mut faults = Vec::new();
    for (path, text) in sources("src").iter().filter(|(path, _)| !is_tests_file(path)) {
        let body = text.split("#[cfg(test)]\nmod tests {").next().unwrap_or(text);
        let lines = body.lines().count();
        if lines > LINES_MAX {
            faults.push(format!("{}: {lines} lines; split it by what a reader looks for", path.display()));
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn every_file_says_what_it_is_for() {
    let all = sources("src").into_iter().chain(sources("tests")).chain(sources("examples"));
    let silent: Vec<_> = all.filter(|(path, text)| !is_tests_file(path) && !text.starts_with("//!")).map(|(path, _)| path).collect();
    assert!(silent.is_empty(), "without a first comment (`//!`): {silent:?}");
}

#[test]
fn the_top_of_the_repository_is_the_table_of_contents() {
    let entries = fs::read_dir(root()).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let found: BTreeSet<String> = entries.filter(|name| !name.starts_with('.') && name != "target").collect();
    let expected: BTreeSet<String> = TOP.iter().map(|name| (*name).to_owned()).collect();
    let more: Vec<_> = found.difference(&expected).collect();
    assert!(more.is_empty(), "these do not belong at the top: {more:?}");
    let missing: Vec<_> = expected.difference(&found).collect();
    assert!(missing.is_empty(), "these are missing at the top: {missing:?}");
}
