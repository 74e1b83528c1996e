//! `simulate`: replays by number, and tells what becomes of the tree that is shipped.

use std::path::Path;
use std::process::{Command, Output};

fn simulate(arguments: &[&str]) -> Output {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    Command::new(env!("CARGO_BIN_EXE_ms-supervisor")).arg("-C").arg(root).arg("simulate").args(arguments).output().unwrap()
}

fn text(output: &Output) -> String {
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout.clone()).unwrap()
}

#[test]
fn a_number_replays_byte_for_byte() {
    for seed in ["0", "7", "18446744073709551615"] {
        let (first, second) = (simulate(&["--seed", seed]), simulate(&["--seed", seed]));
        assert_eq!(first, second);
        let text = text(&first);
        assert!(text.starts_with(&format!("case {seed}\ntree\n  root ")) && text.ends_with("every rule holds\n"), "{text}");
    }
}

#[test]
fn a_forecast_says_when_a_supervisor_gives_up() {
    let output = simulate(&["--fault", "planner exits 1 every 3s", "--for", "2m"]);
    assert_eq!(output, simulate(&["--fault", "planner exits 1 every 3s", "--for", "2m"]));
    let text = text(&output);
    assert!(text.contains("orchestration  restarts planner: 1 of 10 restarts within 1m\n"), "{text}");
    assert!(text.contains("root           restarts orchestration: 1 of 10 restarts within 1m\n"), "{text}");
    assert!(text.contains("\norchestration gives up after "), "{text}");
    assert!(text.lines().all(|line| line.chars().count() <= 100), "{text}");
}

#[test]
fn a_forecast_without_faults_is_calm() {
    let text = text(&simulate(&[]));
    assert!(text.ends_with("10 units are never disturbed\n\nnothing gives up within 10m\n"), "{text}");
}

#[test]
fn faults_are_checked() {
    for (fault, error, help) in [
        ("planer exits 1", "there is no unit called `planer`", "did you mean `planner`?"),
        ("workr exits 1", "there is no unit called `workr`", "did you mean `worker`?"),
        ("planner explodes", "`planner explodes` is no fault: write `UNIT exits CODE`", "simulate --help"),
        ("planner exits 1 every 3", "`3` has no unit", "simulate --help"),
    ] {
        let output = simulate(&["--fault", fault]);
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{fault}: {said}");
        assert!(said.contains(error) && said.contains(help), "{fault}: {said}");
    }
}
