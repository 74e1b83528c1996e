//! README's tour, run as written: every `console` block, in order, in a copy of the repository's declarations.
//!
//! A line `$ command` is run by `sh`; the lines below it are what it must print, where `…` stands for anything within a line and a line of
//! its own for any lines. `ms-supervisor run` goes on in the background.

use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};

/// A command with what it must print.
struct Step {
    command: String,
    expected: Vec<String>,
}

fn steps(readme: &str) -> Vec<Step> {
    let mut steps: Vec<Step> = Vec::new();
    let mut inside = false;
    for line in readme.lines() {
        if line.starts_with("```") {
            inside = line == "```console";
        } else if inside && let Some(command) = line.strip_prefix("$ ") {
            steps.push(Step { command: command.to_owned(), expected: Vec::new() });
        } else if inside && let Some(step) = steps.last_mut() {
            step.expected.push(line.trim_end().to_owned());
        }
    }
    steps
}

/// Whether `text` is `pattern`, where `…` stands for anything.
fn line_matches(pattern: &str, text: &str) -> bool {
    let mut parts = pattern.split('…');
    let first = parts.next().unwrap_or_default();
    let Some(mut rest) = text.strip_prefix(first) else { return false };
    let parts: Vec<_> = parts.collect();
    let Some((last, middle)) = parts.split_last() else { return rest.is_empty() };
    for part in middle {
        match rest.find(part) {
            Some(at) => rest = &rest[at + part.len()..],
            None => return false,
        }
    }
    rest.ends_with(last)
}

fn lines_match(expected: &[String], printed: &[&str]) -> bool {
    match (expected.first().map(String::as_str), printed.first()) {
        (None, None) => true,
        (Some("…"), _) => lines_match(&expected[1..], printed) || (!printed.is_empty() && lines_match(expected, &printed[1..])),
        (Some(pattern), Some(line)) => line_matches(pattern, line.trim_end()) && lines_match(&expected[1..], &printed[1..]),
        (None, Some(_)) | (Some(_), None) => false,
    }
}

struct Tour {
    directory: tempfile::TempDir,
    daemon: Option<Child>,
}

impl Tour {
    fn new() -> Self {
        let directory = tempfile::Builder::new().prefix("t").tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        for name in ["supervisors", "units"] {
            copy(&root.join(name), &directory.path().join(name));
        }
        Self { directory, daemon: None }
    }

    fn shell(&self, command: &str) -> Command {
        let program = Path::new(env!("CARGO_BIN_EXE_ms-supervisor"));
        let links = self.directory.path().join("bin");
        let path = format!("{}:{}:{}", links.display(), program.parent().unwrap().display(), std::env::var("PATH").unwrap());
        let mut shell = Command::new("sh");
        shell.arg("-c").arg(command).current_dir(self.directory.path()).env("PATH", path).stdin(Stdio::null());
        shell
    }

    fn take(&mut self, step: &Step) {
        if step.command == "ms-supervisor run" {
            let log = fs::File::create(self.directory.path().join("run.out")).unwrap();
            self.daemon = Some(self.shell("exec ms-supervisor run --listen 127.0.0.1:8001").stdout(log).spawn().unwrap());
        }
        // What was set in motion may take a moment to show: the command is asked again, as a person would.
        let mut printed = String::new();
        for _ in 0..100 {
            printed = match step.command == "ms-supervisor run" {
                true => fs::read_to_string(self.directory.path().join("run.out")).unwrap(),
                false => {
                    let output = self.shell(&step.command).output().unwrap();
                    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
                }
            };
            if lines_match(&step.expected, &printed.lines().collect::<Vec<_>>()) {
                return;
            }
            if !may_be_asked_again(&step.command) {
                break;
            }
            std::thread::sleep(std::time::Duration::from_millis(100));
        }
        panic!("`{}` printed\n{printed}\nbut README says\n{}", step.command, step.expected.join("\n"));
    }
}

/// Whether a command only looks.
fn may_be_asked_again(command: &str) -> bool {
    ["ms-supervisor run", "msctl status", "msctl tree", "msctl logs", "msctl events", "msctl plan", "curl"]
        .iter()
        .any(|looks| command.starts_with(looks))
}

impl Drop for Tour {
    fn drop(&mut self) {
        if let Some(mut daemon) = self.daemon.take() {
            let pid = nix::unistd::Pid::from_raw(i32::try_from(daemon.id()).unwrap());
            let _ = nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGQUIT);
            drop(daemon.wait());
        }
    }
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        match entry.file_type().unwrap().is_dir() {
            true => copy(&entry.path(), &to.join(entry.file_name())),
            false => drop(fs::copy(entry.path(), to.join(entry.file_name())).unwrap()),
        }
    }
}

#[test]
fn the_readmes_tour_is_true() {
    let mut tour = Tour::new();
    let bin = tour.directory.path().join("bin");
    fs::create_dir(&bin).unwrap();
    std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_ms-supervisor"), bin.join("msctl")).unwrap();
    let readme = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md")).unwrap();
    let steps = steps(&readme);
    assert!(steps.len() >= 8, "README's tour has {} steps", steps.len());
    for step in &steps {
        tour.take(step);
    }
}

#[test]
fn patterns_match_as_the_tour_says() {
    for (pattern, text, matches) in
        [("a…c", "abbbc", true), ("a…c", "abbb", false), ("a…b…", "aXbY", true), ("abc", "abc", true), ("abc", "abcd", false)]
    {
        assert_eq!(line_matches(pattern, text), matches, "{pattern} {text}");
    }
    let expected: Vec<String> = ["a", "…", "z"].map(str::to_owned).into();
    assert!(lines_match(&expected, &["a", "b", "c", "z"]) && lines_match(&expected, &["a", "z"]) && !lines_match(&expected, &["a"]));
}
