//! What supervision costs beside Erlang/OTP and beside ractor without a supervisor, in one run.
//!
//! ```text
//! cargo bench --bench otp                            everything, 100,000 children; some minutes
//! cargo bench --bench otp -- --quick                 10,000 children, one round
//! cargo bench --bench otp -- task erlang start stop  these columns and these rows only
//! cargo bench --bench otp -- --rounds 5 --children 50000 --threads 4
//! cargo bench --bench otp -- measure task many 100000 2     one measurement in this process, for a profiler
//! ```
//!
//! Every measurement has a process of its own. Erlang gets as many schedulers as tokio gets worker threads; without Erlang its columns
//! are left out. Nobody logs: there is no tracing subscriber, and Erlang's logger is off. What counts is the ratio to the like of it in
//! Erlang, in brackets:
//!
//! | column | children | like |
//! |---|---|---|
//! | `task`       | futures, `ChildSpec::task` | `erlang` |
//! | `actor`      | ractor actors, `ChildSpec::actor` | `gen_server` |
//! | `dynamic`    | futures, each started by `DynamicSupervisor::start_child` | `simple` |
//! | `erlang`     | processes by `spawn_link`, under OTP's `supervisor` | |
//! | `gen_server` | `gen_server:start_link`, under the same | |
//! | `simple`     | processes by `spawn_link`, each started by `supervisor:start_child` under `simple_one_for_one` | |
//! | `ractor`     | the same ractor actors, linked to an actor that starts them again and does nothing else | `gen_server` |
//!
//! | row | measures |
//! |---|---|
//! | `one-1k`, `one-20k` | restarts per second of one child that fails as soon as it is up, that many times |
//! | `all-1k`, `all-20k` | restarts per second when that many children fail at once, until the last successor runs |
//! | `start`  | specifications made → every child is up |
//! | `memory` | growth of the resident set by that, per child |
//! | `stop`   | order to stop → no child is left |
//! | `call`   | question → answer, with a timeout of 5 seconds; by `Name`, by registered name, in `ractor` by reference |
//! | `ref`    | the same by reference and without a timeout |
//!
//! Restarts are one_for_one, with an intensity that just allows them and a period of an hour. ractor keeps no intensity, no order and no
//! shutdown times, and kills its children rather than ask them: the difference to it is what supervision costs.
#![expect(clippy::disallowed_methods, reason = "it stands outside: makes files, runs programs, looks at the clock")]

mod column;
mod erlang;
mod options;
mod ours;
mod plain;
mod run;
mod stage;
mod table;
mod worker;

use std::process::ExitCode;

/// Whatever goes wrong: text for people.
type Fault = Box<dyn std::error::Error + Send + Sync>;

fn main() -> ExitCode {
    let mut words = std::env::args().skip(1).peekable();
    let result = if words.next_if(|word| word == run::MODE).is_some() {
        run::inside(words)
    } else {
        options::Options::parse(words).and_then(|options| bench(&options))
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(fault) => {
            eprintln!("otp: {fault}");
            ExitCode::FAILURE
        }
    }
}

fn bench(options: &options::Options) -> Result<(), Fault> {
    let mut columns = column::ALL.to_vec();
    columns.retain(|column| options.wants_column(column.name()));
    let erlang = if columns.iter().any(|column| column.is_erlang()) { erlang::Erlang::compile()? } else { None };
    if erlang.is_none() {
        columns.retain(|column| !column.is_erlang());
    }
    let mut table = table::Table::new(columns.clone());
    for round in 0..options.rounds {
        for &column in &columns {
            eprintln!("round {} of {}: {}", round + 1, options.rounds, column.name());
            for job in column.jobs(options.children).into_iter().filter(|job| options.wants_any(job)) {
                // What one of them cannot do does not keep the others from being measured.
                match run::outside(column, job, options.threads, erlang.as_ref()) {
                    Ok(results) => results.into_iter().for_each(|(row, value)| table.add(row, column, value)),
                    Err(fault) => println!("FAILED: {}: {}: {fault}", column.name(), job.mode.name()),
                }
            }
        }
    }
    println!(
        "{} children, {} threads, medians of {} rounds; in brackets the ratio to the like of it in Erlang",
        options.children, options.threads, options.rounds
    );
    print!("{}", table.only(options));
    Ok(())
}
