//! Runs a scenario of the comparison with Erlang/OTP and prints its trace, one JSON object a line.
//!
//! ```console
//! $ cargo run --example otp_trace -- tests/otp/scenarios/basic-001.jsonl
//! ```
//!
//! What scenarios and traces look like is in `tests/otp/README.md`; Erlang's side of the comparison is `tests/otp/otp_trace.erl`. Time
//! is virtual: a scenario that lets hours pass takes no time.

#![expect(clippy::disallowed_methods, reason = "reads the scenario it is told to")]

#[path = "otp_trace/children.rs"]
mod children;
#[path = "otp_trace/run.rs"]
mod run;
#[path = "otp_trace/scenario.rs"]
mod scenario;
#[path = "otp_trace/world.rs"]
mod world;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    // Crashes are part of what is tried.
    std::panic::set_hook(Box::new(|_| {}));
    let file = std::env::args().nth(1).ok_or("which scenario? cargo run --example otp_trace -- FILE")?;
    let text = std::fs::read_to_string(&file).map_err(|error| format!("cannot read {file}: {error}"))?;
    for line in run::trace(&scenario::Scenario::parse(&text)?)? {
        println!("{line}");
    }
    Ok(())
}
