//! What health costs, and how long it takes to find and mend what is not well.
//!
//! ```text
//! cargo bench --bench health                     everything; about five minutes
//! cargo bench --bench health -- probes hung      these only
//! cargo bench --bench health -- --seconds 20     shorter
//! cargo bench --bench health -- soak             half an hour; only when it is named
//! cargo bench --bench health -- spans            a minute; only when it is named
//! ```
//!
//! | part | shows |
//! |---|---|
//! | `probes` | 1,000 units with an HTTP probe every 5 s: processor time of the supervisor, probes that began late |
//! | `storm`  | a dependency that flaps without end, and its 20 dependents: starts per minute |
//! | `loop`   | a unit that uses 300 ms of processor time and fails, under the adaptive policy: what share of one core that costs |
//! | `hung`   | a unit that stands still (SIGSTOP): found, looked at, killed, started again, and after how long |
//! | `soak`   | 150 units that fail every two seconds, 30 times as long as the others take: memory of brain and launcher minute by minute, and whether it is flat after the tenth |
//! | `spans`  | a child of the library that is restarted 1,000,000 times under a `tracing` registry and then stopped in order: spans, time, memory |
#![expect(clippy::disallowed_methods, reason = "it stands outside: makes files, runs programs, looks at the clock")]

mod node;
mod parts;
mod server;
mod soak;
mod spans;

use std::process::ExitCode;
use std::time::Duration;

/// Whatever goes wrong: text for people.
type Fault = Box<dyn std::error::Error>;

/// A part, and its name.
type Part = (&'static str, fn(Duration) -> Result<String, Fault>);

const PARTS: [Part; 6] = [
    ("probes", parts::probes),
    ("storm", parts::storm),
    ("loop", parts::crash_loop),
    ("hung", parts::hung),
    ("soak", soak::soak),
    ("spans", spans::spans),
];

/// Those that are only made when they are named.
const LONG: [&str; 2] = ["soak", "spans"];

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(fault) => {
            eprintln!("health: {fault}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<(), Fault> {
    let (mut seconds, mut names) = (60, Vec::new());
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        match word.as_str() {
            // Said by cargo.
            "--bench" => {}
            "--seconds" => seconds = words.next().ok_or("a number is missing")?.parse::<u64>()?.max(1),
            name if PARTS.iter().any(|(part, _)| *part == name) => names.push(word),
            _ => return Err(format!("`{word}` is neither an option nor a part").into()),
        }
    }
    for (name, part) in PARTS {
        let usual = names.is_empty() && !LONG.contains(&name);
        if usual || names.iter().any(|wanted| wanted == name) {
            println!("{name}: {}", part(Duration::from_secs(seconds))?);
        }
    }
    Ok(())
}
