//! The supervisor beside Erlang/OTP: the same scenarios must leave the same traces. `tests/otp/README.md` says how.

mod canon;
#[path = "../../../examples/otp_trace/children.rs"]
mod children;
mod generate;
#[path = "../../../examples/otp_trace/run.rs"]
mod run;
#[path = "../../../examples/otp_trace/scenario.rs"]
mod scenario;
#[path = "../../../examples/otp_trace/world.rs"]
mod world;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use serde_json::Value;

use self::canon::canonical;
use self::scenario::Scenario;

/// How many random scenarios are compared with the Erlang that is installed.
const SCENARIOS: usize = 3000;

/// How many of them Erlang runs at once: they mostly wait.
const AT_ONCE: usize = 256;

fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/otp").join(name)
}

/// Crashes are part of what is tried; they need not be seen.
fn quiet_panics() {
    let usual = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        if panic.payload().downcast_ref::<&str>() != Some(&"start crashed") {
            usual(panic);
        }
    }));
}

fn parse_trace(text: &str) -> Vec<Value> {
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// The first difference between OTP's trace and the library's, if there is one.
fn difference(text: &str, otp: &str) -> Option<String> {
    let scenario = Scenario::parse(text).unwrap();
    let ours = match run::trace(&scenario) {
        Ok(trace) => canonical(&scenario, trace),
        Err(why) => return Some(format!("it did not run: {why}\n{text}")),
    };
    let otps = canonical(&scenario, parse_trace(otp));
    let at = (0..ours.len().max(otps.len())).find(|&at| ours.get(at) != otps.get(at))?;
    let show = |trace: &[Value]| -> String {
        let line = |(number, line): (usize, &Value)| format!("  {} {line}\n", if number == at { '>' } else { ' ' });
        trace.iter().enumerate().skip(at.saturating_sub(6)).take(10).map(line).collect()
    };
    Some(format!("{text}OTP:\n{}ours:\n{}", show(&otps), show(&ours)))
}

#[test]
fn the_conformance_table_names_tests_that_exist() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut sources = String::new();
    let mut folders = vec![root.join("src/policy"), root.join("tests/it")];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                sources.push_str(&std::fs::read_to_string(path).unwrap());
            }
        }
    }
    let table = std::fs::read_to_string(folder("RULES.md")).unwrap();
    let rows: Vec<_> = table.lines().filter_map(|line| line.strip_prefix("| ")?.strip_suffix(" |")).skip(1).collect();
    assert!(rows.len() > 40, "{} rows", rows.len());
    for row in rows {
        let test = row.rsplit('|').next().unwrap().trim();
        let name = test.trim_matches('`');
        assert!(test == "–" || (name != test && sources.contains(&format!("fn {name}("))), "there is no test called {test}: {row}");
    }
}

#[test]
fn recorded_scenarios_leave_otps_traces() {
    quiet_panics();
    let mut compared = 0;
    for entry in std::fs::read_dir(folder("scenarios")).unwrap() {
        let path = entry.unwrap().path();
        let golden = folder("golden").join(path.file_name().unwrap());
        let (scenario, golden) = (std::fs::read_to_string(&path).unwrap(), std::fs::read_to_string(golden).unwrap());
        if let Some(difference) = difference(&scenario, &golden) {
            panic!("{}:\n{difference}", path.display());
        }
        compared += 1;
    }
    assert!(compared >= 50, "only {compared} scenarios");
    println!("{compared} recorded scenarios, 0 differences");
}

#[test]
fn random_scenarios_leave_the_traces_of_a_real_erlang() {
    if Command::new("erlc").arg("-version").output().is_err() {
        eprintln!("SKIPPED: erlang is not installed (apt-get install erlang-base)");
        return;
    }
    quiet_panics();
    let number = |name: &str, default: usize| std::env::var(name).map_or(default, |value| value.parse().unwrap());
    let (seed, count) = (number("OTP_SEED", 1) as u64, number("OTP_SCENARIOS", SCENARIOS));
    let directory = tempfile::tempdir().unwrap();
    let scenarios: Vec<_> = (0..count).map(|number| generate::scenario(seed, number)).collect();
    let everything: Vec<_> = (0..count).collect();
    let begin = Instant::now();
    record(directory.path(), &scenarios, &everything, AT_ONCE);
    let recorded = begin.elapsed();
    let compare = |number: usize| {
        let golden = std::fs::read_to_string(directory.path().join(format!("out/{number}.jsonl"))).unwrap();
        difference(&scenarios[number], &golden)
    };
    let differing: Vec<_> = everything.into_iter().filter(|number| compare(*number).is_some()).collect();
    // Erlang's side knows by looking that nothing moves any more; alone it cannot be misled by the load the others make.
    record(directory.path(), &scenarios, &differing, 1);
    let differences: Vec<_> = differing.iter().filter_map(|number| compare(*number)).collect();
    let lines: usize = scenarios.iter().map(|scenario| scenario.lines().count() - 1).sum();
    println!(
        "seed {seed}: {count} scenarios with {lines} operations, recorded in {recorded:.1?}, {} recorded again, {} differences",
        differing.len(),
        differences.len()
    );
    let smallest = differences.iter().min_by_key(|difference| difference.len());
    assert!(differences.is_empty(), "{} of {count} scenarios differ; the smallest:\n{}", differences.len(), smallest.unwrap());
}

/// Has Erlang run the scenarios with these numbers and write their traces.
fn record(directory: &Path, scenarios: &[String], numbers: &[usize], at_once: usize) {
    let file = |number: &usize| directory.join(format!("{number}.jsonl"));
    for number in numbers {
        std::fs::write(file(number), &scenarios[*number]).unwrap();
    }
    let out = directory.join("out");
    std::fs::create_dir_all(&out).unwrap();
    let list: String = numbers.iter().map(|number| format!("{}\n", file(number).display())).collect();
    std::fs::write(directory.join("files"), list).unwrap();
    let compiled = Command::new("erlc").arg("-o").arg(directory).arg(folder("otp_trace.erl")).status().unwrap();
    assert!(compiled.success());
    let call = format!(
        r#"{{ok, B}} = file:read_file("{0}/files"),
           Files = [binary_to_list(F) || F <- binary:split(B, <<"\n">>, [global]), F =/= <<>>],
           otp_trace:main("{0}/out", {at_once}, Files), halt(0)."#,
        directory.display()
    );
    // One scheduler: an exit and the message that follows from it then arrive in the order they were sent.
    let erl = Command::new("erl")
        .args(["+S", "1:1", "-noshell", "-noinput", "-pa"])
        .arg(directory)
        .args(["-eval", &call])
        .env("ERL_CRASH_DUMP", "/dev/null")
        .output()
        .unwrap();
    assert!(erl.status.success(), "{}{}", String::from_utf8_lossy(&erl.stdout), String::from_utf8_lossy(&erl.stderr));
}
