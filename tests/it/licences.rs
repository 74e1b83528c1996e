//! What the binary is made of: every dependency comes from crates.io, under a licence that may be passed on with ours.

use std::process::Command;

use serde_json::Value;

/// Licences that ask for no more than to be named. A package under several, joined by `OR`, needs one of these; by `AND`, only these.
const ALLOWED: &[&str] = &[
    "0BSD",
    "Apache-2.0",
    "Apache-2.0 WITH LLVM-exception",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "BSL-1.0",
    "CC0-1.0",
    "ISC",
    "MIT",
    "MIT-0",
    "Unicode-3.0",
    "Unlicense",
    "Zlib",
];

/// Packages that must not come in, with the reason.
const BANNED: &[(&str, &str)] = &[
    ("openssl-sys", "nothing here speaks TLS, and it would be linked from the machine"),
    ("serde_yaml", "archived, and without positions"),
    ("chrono", "jiff is used"),
    ("time", "jiff is used"),
    ("rand", "chance is an input: base::rng"),
    ("async-std", "tokio is used"),
    ("lazy_static", "std::sync::LazyLock"),
    ("once_cell", "std::sync::OnceLock"),
];

/// Whether an SPDX expression can be fulfilled by what is allowed.
fn is_allowed(expression: &str) -> bool {
    let expression = expression.trim().replace('/', " OR ");
    let parts = |separator: &str| split_outside_parentheses(&expression, separator);
    match (parts(" OR "), parts(" AND ")) {
        (any, _) if any.len() > 1 => any.iter().any(|part| is_allowed(part)),
        (_, all) if all.len() > 1 => all.iter().all(|part| is_allowed(part)),
        _ => match expression.strip_prefix('(').and_then(|inner| inner.strip_suffix(')')) {
            Some(inner) => is_allowed(inner),
            None => ALLOWED.contains(&expression.as_str()),
        },
    }
}

fn split_outside_parentheses(text: &str, separator: &str) -> Vec<String> {
    let mut parts = vec![String::new()];
    for word in text.split_inclusive(separator) {
        let last = parts.last_mut().expect("there is always a part");
        last.push_str(word);
        if word.ends_with(separator) && last.matches('(').count() == last.matches(')').count() {
            last.truncate(last.len() - separator.len());
            parts.push(String::new());
        }
    }
    parts
}

/// The packages of the lock file that are built, for any use.
fn packages() -> Vec<Value> {
    let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".into());
    let manifest = concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml");
    let target = "x86_64-unknown-linux-gnu";
    let arguments = ["metadata", "--format-version=1", "--locked", "--offline", "--filter-platform", target, "--manifest-path", manifest];
    let output = Command::new(cargo).args(arguments).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let metadata: Value = serde_json::from_slice(&output.stdout).unwrap();
    metadata["packages"].as_array().unwrap().clone()
}

#[test]
fn every_dependency_may_be_passed_on() {
    let mut faults = Vec::new();
    for package in packages().iter().filter(|package| package["name"] != env!("CARGO_PKG_NAME")) {
        let name = package["name"].as_str().unwrap();
        match package["license"].as_str() {
            Some(licence) if is_allowed(licence) => {}
            licence => faults.push(format!("{name}: the licence {licence:?} is not among those allowed")),
        }
        if package["source"] != "registry+https://github.com/rust-lang/crates.io-index" {
            faults.push(format!("{name}: comes from {}, not from crates.io", package["source"]));
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn nothing_banned_came_in_by_name() {
    let metadata = packages();
    let own = metadata.iter().find(|package| package["name"] == env!("CARGO_PKG_NAME")).unwrap();
    for dependency in own["dependencies"].as_array().unwrap() {
        let banned = BANNED.iter().find(|(name, _)| dependency["name"] == **name);
        assert!(banned.is_none(), "{banned:?}");
    }
}

#[test]
fn expressions_are_read() {
    for (expression, expect) in [
        ("MIT", true),
        ("MIT/Apache-2.0", true),
        ("MIT OR Apache-2.0 OR LGPL-2.1-or-later", true),
        ("GPL-3.0", false),
        ("(MIT OR Apache-2.0) AND Unicode-3.0", true),
        ("(GPL-2.0 OR AGPL-3.0) AND MIT", false),
        ("Apache-2.0 WITH LLVM-exception OR GPL-2.0", true),
        ("MIT AND GPL-2.0", false),
    ] {
        assert_eq!(is_allowed(expression), expect, "{expression}");
    }
}
