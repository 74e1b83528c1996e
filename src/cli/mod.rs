//! The commands: one file for each family, and what they share.
//!
//! Everything but `run` is a client of a running daemon, or works on the files alone. `msctl` is the same program by another name.

mod args;
mod chain;
mod control;
mod declarations;
mod doctor;
mod events;
mod exit;
mod graph;
mod health;
mod limits;
mod logs;
mod offline;
mod origin;
mod output;
mod render;
mod set;
mod simulate;
mod status;
mod tier;
mod tools;
mod upgrade;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

pub use args::{Cli, Command, EventsArgs, GraphArgs, GraphFormat, Listen, LogsArgs, Request, RunArgs, SchemaKind, SimulateArgs, Targets};
pub use logs::Since;

use self::exit::{Ending, Exit, Failure};
use self::output::Output;
use crate::api::client::Client;
use crate::os::paths::{self, Directories};

/// The command line of this process. Ends the process with code 2 when it makes no sense, and after `--help` and `--version`.
#[must_use]
pub fn parse() -> Cli {
    <Cli as clap::Parser>::parse()
}

/// Does what a command asks for; `config` is the directory named with `-C`.
#[must_use]
pub fn execute(config: Option<&Path>, request: Request) -> ExitCode {
    let mut session = Session { config: config.map(Path::to_owned), out: Output::new(), is_json: is_json(&request) };
    let ending = run(&mut session, request);
    let ending = ending.and_then(|exit| session.out.flush().map(|()| exit).map_err(Failure::from));
    match ending {
        Ok(exit) => exit.into(),
        Err(failure) => {
            // What was written before it failed is shown; a reader who is gone misses nothing.
            drop(session.out.flush());
            failure.report();
            failure.exit.into()
        }
    }
}

fn run(session: &mut Session, request: Request) -> Ending {
    match request {
        Request::Check { dir, json } => declarations::check(session, dir.as_deref(), json),
        Request::Plan { origin: Some(name), json, .. } => origin::origin(session, &name, json),
        Request::Plan { tier: Some(tier), json, .. } => tier::what_if(session, tier, json),
        Request::Plan { json, .. } => declarations::plan(session, json),
        Request::Tier { tier, other, json } => tier::tier(session, tier, other, json),
        Request::Simulate(args) => simulate::simulate(session, &args),
        Request::CriticalChain { unit, json } => chain::critical_chain(session, unit.as_deref(), json),
        Request::Graph(args) => graph::graph(session, &args),
        Request::Set(args) => set::set(session, args),
        Request::Unset(args) => set::unset(session, args),
        Request::Reload { json } => declarations::reload(session, json),
        Request::Status { units, json } => status::status(session, &units, json),
        Request::Health { timeout } => health::health(session, timeout),
        Request::Environment { unit, json } => status::environment(session, &unit, json),
        Request::Tree { json } => status::tree(session, json),
        Request::Start(targets) => control::ask(session, control::Verb::Start, targets.targets, None),
        Request::Stop { targets, reason } => control::ask(session, control::Verb::Stop, targets.targets, reason),
        Request::Restart(targets) => control::ask(session, control::Verb::Restart, targets.targets, None),
        Request::Pause(targets) => control::pause(session, true, targets.targets),
        Request::Resume(targets) => control::pause(session, false, targets.targets),
        Request::Heartbeat { targets, sequence } => control::heartbeat(session, targets.targets, sequence),
        Request::Signal { signal, targets, whole } => control::signal(session, signal, targets.targets, whole),
        Request::Logs(args) => logs::logs(session, &args),
        Request::Rotate(targets) => control::rotate(session, targets.targets),
        Request::Events(args) => events::events(session, &args),
        Request::Schema { kind } => tools::schema(session, kind),
        Request::Completions { shell } => tools::completions(session, shell),
        Request::Doctor { verbose, json } => doctor::doctor(session, verbose, json),
        Request::VerifyInstall { verbose, json } => doctor::verify_install(session, verbose, json),
        Request::Version { json } => tools::version(session, json),
        Request::Upgrade { binary } => upgrade::upgrade(session, binary),
    }
}

/// Whether JSON is asked for.
const fn is_json(request: &Request) -> bool {
    match request {
        Request::Check { json, .. }
        | Request::Plan { json, .. }
        | Request::Tier { json, .. }
        | Request::CriticalChain { json, .. }
        | Request::Reload { json }
        | Request::Status { json, .. }
        | Request::Environment { json, .. }
        | Request::Tree { json }
        | Request::Doctor { json, .. }
        | Request::VerifyInstall { json, .. }
        | Request::Version { json } => *json,
        Request::Graph(args) => args.json,
        Request::Set(args) => args.json,
        Request::Unset(args) => args.json,
        Request::Logs(args) => args.json,
        Request::Events(args) => args.json,
        Request::Simulate(_)
        | Request::Health { .. }
        | Request::Start(_)
        | Request::Stop { .. }
        | Request::Restart(_)
        | Request::Pause(_)
        | Request::Resume(_)
        | Request::Signal { .. }
        | Request::Heartbeat { .. }
        | Request::Rotate(_)
        | Request::Schema { .. }
        | Request::Completions { .. }
        | Request::Upgrade { .. } => false,
    }
}

/// What every command has at hand.
struct Session {
    config: Option<PathBuf>,
    out: Output,
    /// Whether the output is for programs.
    is_json: bool,
}

impl Session {
    /// A client of the daemon that serves this directory. What it tells is for people, unless JSON is asked for.
    fn client(&self) -> Result<Client, Failure> {
        let client = self.raw_client()?;
        Ok(if self.is_json { client } else { client.for_people() })
    }

    /// The same, with answers as they are.
    fn raw_client(&self) -> Result<Client, Failure> {
        let directories = self.directories()?;
        let socket = directories.control_socket().map_err(|error| Failure::new(Exit::Bad, error.to_string()))?;
        Client::new(&socket).map_err(|error| Failure::new(Exit::Failed, format!("cannot start the client: {error}")))
    }

    /// Where that daemon's files are.
    fn directories(&self) -> Result<Directories, Failure> {
        paths::directories(self.config.as_deref()).map_err(|error| Failure::new(Exit::Bad, error.to_string()))
    }

    /// The directory of the declarations.
    fn config(&self) -> Result<PathBuf, Failure> {
        paths::config_directory(self.config.as_deref()).map_err(|error| Failure::new(Exit::Bad, error.to_string()))
    }
}
