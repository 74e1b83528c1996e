//! Speed and size beside other supervisors, in one run.
//!
//! ```text
//! cargo bench --bench peers                          everything; about ten minutes
//! cargo bench --bench peers -- --quick               200 units, one round, the fast supervisors only
//! cargo bench --bench peers -- ours up stop          these columns and these rows only
//! cargo bench --bench peers -- --units 500 --rounds 5
//! cargo bench --bench peers -- survival              who and what survives a killed supervisor; gets Circus and PM2; seven minutes
//! cargo bench --bench peers -- survival ours s6      the same for these only
//! ```
//!
//! Every supervisor gets the same child, a static program that notes on a shared page when its `main` began, so that times end where
//! they should. Absolute times drift on most machines: what counts is the ratio to `reference`, a mode of this program that
//! only forks, execs and reaps, and that runs in the same round. A peer that is not installed is named and left out.
//!
//! | row | measures |
//! |---|---|
//! | `alone`  | one child killed → `main` of its successor, with one unit |
//! | `among`  | the same with all units around |
//! | `up`     | supervisor executed → `main` of the last unit |
//! | `killed` | every child killed at once → `main` of the last successor |
//! | `status` | the command that tells how every unit stands |
//! | `stop`   | the signal to the supervisor → no process left |
//! | `memory` | PSS of every process that is not a child |
//! | `idle`   | processor time of the same while nothing happens |
//! | `log`    | lines a child writes in two seconds into its log, and what that costs, beside a plain file and s6-log |
//! | `flooded`| a restart under the reference and us, while fifty other units write 1 MB/s each into their logs |
#![expect(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "it stands outside: makes files, runs programs, looks at the clock"
)]

mod dinit;
mod flood;
mod log;
mod measure;
mod options;
mod ours;
mod peer;
mod reference;
mod runit;
mod s6;
mod site;
mod supervisord;
mod survival;
mod table;

use std::process::ExitCode;

/// Whatever goes wrong: text for people.
type Fault = Box<dyn std::error::Error>;

fn main() -> ExitCode {
    let mut words = std::env::args().skip(1).peekable();
    let result = if words.next_if(|word| word == reference::MODE).is_some() {
        reference::run(words)
    } else {
        options::Options::parse(words).and_then(|options| bench(&options))
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(fault) => {
            eprintln!("peers: {fault}");
            ExitCode::FAILURE
        }
    }
}

fn bench(options: &options::Options) -> Result<(), Fault> {
    rustix::process::set_child_subreaper(Some(rustix::process::getpid()))?;
    let ground = site::Ground::new()?;
    if options.survival {
        return survival::run(&ground, options);
    }
    let mut peers = peer::all();
    peers.retain(|peer| options.wants_peer(peer.name()));
    peers.retain(|peer| match peer.missing() {
        None => true,
        Some(what) => {
            println!("SKIPPED: {}: there is no {what} on this machine", peer.name());
            false
        }
    });
    let mut table = table::Table::new(peers.iter().map(|peer| peer.name()).collect());
    for round in 0..options.rounds {
        for peer in &peers {
            eprintln!("round {} of {}: {}", round + 1, options.rounds, peer.name());
            let alone = measure::alone(peer.as_ref(), &ground, options, &mut table);
            let many = measure::many(peer.as_ref(), &ground, options, round == 0, &mut table);
            // What one of them cannot do does not keep the others from being measured.
            for fault in [alone, many].into_iter().filter_map(Result::err) {
                println!("FAILED: {}: {fault}", peer.name());
            }
        }
    }
    println!("{} units, medians of {} rounds; in brackets the ratio to the reference", options.units, options.rounds);
    print!("{table}");
    if options.wants_row("log") {
        print!("{}", log::measure(&ground, options)?);
    }
    if options.wants_row("flooded") {
        print!("{}", flood::measure(&ground, options)?);
    }
    Ok(())
}
