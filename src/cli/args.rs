//! The commands and their arguments: the one definition of parser, help and completions.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};
use serde::{Deserialize, Serialize};

use super::exit;
use crate::base::choice::LogStream;
use crate::base::exit::Signal;
use crate::base::tier::Tier;

/// Supervises programs in an Erlang/OTP supervision tree.
#[derive(Clone, Debug, Parser)]
#[command(name = "ms-supervisor", version, after_help = exit::HELP, max_term_width = 100)]
pub struct Cli {
    /// The directory with `supervisors/` and `units/` [default: $MS_CONFIG_DIR, else the current directory if it has them, else
    /// /etc/ms-supervisor for root and ~/.config/ms-supervisor for others]
    #[arg(short = 'C', long, global = true, value_name = "DIR")]
    pub config: Option<PathBuf>,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Clone, Debug, Subcommand)]
pub enum Command {
    /// Run the tree: start everything in order, keep it running, stop it in order
    Run(RunArgs),
    /// Everything else.
    #[command(flatten)]
    Other(Request),
}

/// Arguments of `run`.
#[derive(Clone, Debug, Args)]
pub struct RunArgs {
    /// Where to serve metrics and health, instead of what daemon.yaml says
    #[arg(long, value_name = "ADDR|none", value_parser = parse_listen)]
    pub listen: Option<Listen>,
    /// Do not print what the units write
    #[arg(long)]
    pub no_logs: bool,
    /// Print neither events nor what the units write
    #[arg(short, long)]
    pub quiet: bool,
}

/// Where metrics and health are served.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Listen {
    /// Nowhere.
    None,
    /// Here.
    Address(SocketAddr),
}

/// What is done by a command that comes to an end.
#[derive(Clone, Debug, Subcommand)]
pub enum Request {
    /// Check declarations and show every fault
    Check {
        /// The directory to check, instead of the one of -C
        dir: Option<PathBuf>,
        /// Write JSON
        #[arg(long)]
        json: bool,
    },
    /// Show what `reload` would change; without a daemon, what `run` would start
    Plan {
        /// Show each value that counts, and which file set it, of one unit or supervisor, of `daemon`, or of all
        #[arg(long, value_name = "NAME", num_args = 0..=1, default_missing_value = "", conflicts_with = "tier")]
        origin: Option<String>,
        /// Show what another tier would change
        #[arg(long, value_name = "TIER", value_parser = parse_tier)]
        tier: Option<Tier>,
        /// Write JSON
        #[arg(long)]
        json: bool,
    },
    /// Show what a tier sets, or what is different in another; without a tier, which one is in force
    Tier {
        /// The tier: tier_1, tier_2 or tier_3; also experimental, validation, operational
        #[arg(value_parser = parse_tier)]
        tier: Option<Tier>,
        /// Another one to compare with
        #[arg(value_parser = parse_tier)]
        other: Option<Tier>,
        /// Write JSON
        #[arg(long)]
        json: bool,
    },
    /// Show what would happen if units failed, in virtual time; or replay a random case of the tests
    #[command(after_help = super::simulate::HELP)]
    Simulate(SimulateArgs),
    /// Show who depends on whom, or what falls if something is stopped
    #[command(after_help = super::graph::HELP)]
    Graph(GraphArgs),
    /// Show what the last start of a unit was waiting for
    CriticalChain {
        /// The unit; the one that came up last if not given
        unit: Option<String>,
        /// Write JSON
        #[arg(long)]
        json: bool,
    },
    /// Read the declarations anew and apply what changed
    Reload {
        /// Write JSON
        #[arg(long)]
        json: bool,
    },
    /// Set values beside the files, for a while or until they are taken back; without arguments show what is set
    Set(SetArgs),
    /// Take back what was set
    Unset(UnsetArgs),
    /// Show how units stand; one unit with everything known of it
    Status {
        /// Units, units with instances, or supervisors
        units: Vec<String>,
        /// Write JSON
        #[arg(long)]
        json: bool,
    },
    /// Say in one line how the node is, for Nagios and its kin and for the health checks of containers
    #[command(after_help = super::health::HELP)]
    Health {
        /// How long the daemon may take to answer
        #[arg(long, value_name = "DURATION", default_value = "10s", value_parser = crate::base::time::parse_duration)]
        timeout: std::time::Duration,
    },
    /// Show the environment of a unit, without what is secret
    Environment {
        /// The unit
        unit: String,
        /// Write JSON
        #[arg(long)]
        json: bool,
    },
    /// Show the supervision tree
    Tree {
        /// Write JSON
        #[arg(long)]
        json: bool,
    },
    /// Start units or supervisors and wait until they are up
    Start(Targets),
    /// Stop units or supervisors, wait until they are down, and keep them stopped
    Stop {
        /// Which
        #[command(flatten)]
        targets: Targets,
        /// Why; `status` shows it to whoever wonders
        #[arg(long, value_name = "TEXT")]
        reason: Option<String>,
    },
    /// Restart units or supervisors and wait until they are up
    Restart(Targets),
    /// Let all processes of units stand still, and wait until they do; a stop or restart ends the pause
    Pause(Targets),
    /// Let units that were paused go on
    Resume(Targets),
    /// Send a signal to units
    Signal {
        /// By name or number: HUP, SIGUSR1, 15
        #[arg(value_parser = parse_signal)]
        signal: Signal,
        /// To which units
        #[command(flatten)]
        targets: Targets,
        /// To every process of the unit, not only its main process
        #[arg(long)]
        whole: bool,
    },
    /// Give a sign of life for units with a `watchdog`, as WATCHDOG=1 does
    Heartbeat {
        /// For which units
        #[command(flatten)]
        targets: Targets,
        /// Its number, one higher than the last
        #[arg(long, value_name = "N")]
        sequence: Option<u64>,
    },
    /// Show what units write
    Logs(LogsArgs),
    /// Rotate the logs of units now
    Rotate(Targets),
    /// Show what has happened
    Events(EventsArgs),
    /// Look at this machine and this configuration: what is wrong, why it matters, and what helps. Nothing is changed
    #[command(after_help = super::doctor::HELP)]
    Doctor {
        /// Show what is fine, too
        #[arg(short, long)]
        verbose: bool,
        /// Write JSON
        #[arg(long)]
        json: bool,
    },
    /// Verify that what was installed is all there, runs, and has the limits it should have
    #[command(after_help = super::doctor::HELP)]
    VerifyInstall {
        /// Show what is fine, too
        #[arg(short, long)]
        verbose: bool,
        /// Write JSON
        #[arg(long)]
        json: bool,
    },
    /// Print the JSON Schema of a kind of declaration
    Schema {
        /// Which kind
        kind: SchemaKind,
    },
    /// Print a completion script for a shell
    Completions {
        /// Which shell
        shell: clap_complete::Shell,
    },
    /// Print the version, and that of the running daemon
    Version {
        /// Write what this program is, as JSON
        #[arg(long)]
        json: bool,
    },
    /// Go over to another program in place: units run on, untouched
    ///
    /// Launcher and brain are replaced under the same process id. If the new one does not come up, the old one goes on.
    Upgrade {
        /// The program [default: this one]
        binary: Option<PathBuf>,
    },
}

/// Units and supervisors.
#[derive(Clone, Debug, Args)]
pub struct Targets {
    /// Units, units with instances (all of them), or supervisors
    #[arg(required = true, value_name = "TARGET")]
    pub targets: Vec<String>,
}

/// Arguments of `set`.
#[derive(Clone, Debug, Args)]
pub struct SetArgs {
    /// The unit or supervisor, as it is declared; `daemon` for daemon.yaml
    pub target: Option<String>,
    /// What to set: limits.memory_max=1GiB
    #[arg(value_name = "KEY=VALUE", value_parser = parse_value, requires = "target")]
    pub values: Vec<(String, String)>,
    /// For how long; then it is as before
    #[arg(long = "for", value_name = "DURATION", value_parser = crate::base::time::parse_duration)]
    pub duration: Option<std::time::Duration>,
    /// Why; `set` shows it to whoever wonders
    #[arg(long, value_name = "TEXT")]
    pub reason: Option<String>,
    /// Write JSON
    #[arg(long)]
    pub json: bool,
}

/// Arguments of `unset`.
#[derive(Clone, Debug, Args)]
pub struct UnsetArgs {
    /// The unit or supervisor, as it is declared; `daemon` for daemon.yaml
    pub target: String,
    /// Which keys, with all that is below them [default: all that is set of it]
    #[arg(value_name = "KEY")]
    pub keys: Vec<String>,
    /// Write JSON
    #[arg(long)]
    pub json: bool,
}

/// Arguments of `graph`.
#[derive(Clone, Debug, Args)]
pub struct GraphArgs {
    /// Ask the running daemon, and show systemd's units around it and who is connected to whom, too (see below)
    #[arg(long)]
    pub live: bool,
    /// How to write it
    #[arg(long, value_enum, default_value_t, conflicts_with = "stop")]
    pub format: GraphFormat,
    /// Tell what falls if this unit or supervisor, or with --live this unit of systemd, is stopped; may be given several times
    #[arg(long, value_name = "NAME")]
    pub stop: Vec<String>,
    /// Write JSON
    #[arg(long, conflicts_with = "format")]
    pub json: bool,
}

/// How a graph is written.
#[derive(Clone, Copy, Debug, Default, clap::ValueEnum)]
pub enum GraphFormat {
    /// A tree, each unit with what it depends on
    #[default]
    Text,
    /// For Graphviz, which draws it
    Dot,
    /// For Mermaid, which Markdown viewers draw
    Mermaid,
    /// A picture; needs Graphviz
    Svg,
}

/// Arguments of `simulate`.
#[derive(Clone, Debug, Args)]
pub struct SimulateArgs {
    /// What goes wrong, for example "web exits 1 every 3s" (see below); may be given several times
    #[arg(long = "fault", value_name = "FAULT", conflicts_with = "seed")]
    pub faults: Vec<String>,
    /// For how long
    #[arg(long = "for", value_name = "DURATION", default_value = "10m", value_parser = crate::base::time::parse_duration)]
    pub duration: std::time::Duration,
    /// Replay the random tree and faults of this number, and check the rules of supervision
    #[arg(long, value_name = "N")]
    pub seed: Option<u64>,
}

/// Arguments of `logs`.
#[derive(Clone, Debug, Args)]
pub struct LogsArgs {
    /// Units, units with instances, or supervisors [default: all units]
    pub units: Vec<String>,
    /// Go on with what comes
    #[arg(short, long)]
    pub follow: bool,
    /// How many past lines of each unit [default: 100; all with --grep or --until]
    #[arg(short = 'n', long, value_name = "N", conflicts_with = "since")]
    pub lines: Option<usize>,
    /// Lines since a time (2026-11-22T10:00:00Z) or for so long (10m)
    #[arg(long, value_name = "TIME", value_parser = super::logs::parse_since)]
    pub since: Option<super::logs::Since>,
    /// Lines until a time, or until so long ago
    #[arg(long, value_name = "TIME", value_parser = super::logs::parse_since, conflicts_with = "follow")]
    pub until: Option<super::logs::Since>,
    /// Only lines that match a regular expression; (?i) at its beginning ignores case
    #[arg(short, long, value_name = "REGEX", value_parser = super::logs::parse_grep)]
    pub grep: Option<String>,
    /// Only one of the streams, of units that keep them apart
    #[arg(long, value_name = "stdout|stderr", value_parser = super::logs::parse_stream)]
    pub stream: Option<LogStream>,
    /// Show when each line came: to a millisecond with `logs: {timestamps: true}`, else to a second or so
    #[arg(short, long)]
    pub timestamps: bool,
    /// Write a JSON object for each line
    #[arg(long)]
    pub json: bool,
}

/// Arguments of `events`.
#[derive(Clone, Debug, Args)]
pub struct EventsArgs {
    /// Go on with what comes
    #[arg(short, long)]
    pub follow: bool,
    /// Begin with this sequence number
    #[arg(long, value_name = "SEQ", conflicts_with = "last")]
    pub from: Option<u64>,
    /// How many past events
    #[arg(short = 'n', long = "last", value_name = "N")]
    pub last: Option<usize>,
    /// Only what concerns this unit or supervisor
    #[arg(long, value_name = "NAME")]
    pub unit: Option<String>,
    /// Write a JSON object (CloudEvents 1.0) for each event
    #[arg(long)]
    pub json: bool,
}

/// Kinds of declarations.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum SchemaKind {
    /// Files in units/
    Unit,
    /// Files in supervisors/
    Supervisor,
    /// daemon.yaml and monitoring.yaml
    Daemon,
    /// Files in conf.d/
    DropIn,
    /// health-checks.yaml
    HealthChecks,
    /// What the script or webhook of a remediation is told
    Remedy,
}

fn parse_listen(text: &str) -> Result<Listen, String> {
    if text == "none" {
        return Ok(Listen::None);
    }
    text.parse().map(Listen::Address).map_err(|_| "it is neither `none` nor an address such as 127.0.0.1:8001".into())
}

fn parse_tier(text: &str) -> Result<Tier, String> {
    Tier::named(text).ok_or_else(|| format!("there is no such tier; known are {}", Tier::names().collect::<Vec<_>>().join(", ")))
}

fn parse_value(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once('=').ok_or_else(|| format!("`{text}` has no `=`: write for example limits.memory_max=1GiB"))?;
    Ok((key.trim().to_owned(), value.trim().to_owned()))
}

fn parse_signal(text: &str) -> Result<Signal, String> {
    let help = || format!("there is no such signal; known are {}, SIGRTMIN+n and numbers", Signal::names().collect::<Vec<_>>().join(", "));
    Signal::parse(text).ok_or_else(help)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_are_well_defined() {
        use clap::CommandFactory as _;
        Cli::command().debug_assert();
    }

    #[test]
    fn commands_parse() {
        let parse = |line: &str| Cli::try_parse_from(line.split(' ')).map(|cli| cli.command).map_err(|error| error.to_string());
        assert!(
            matches!(parse("msctl stop redis web"), Ok(Command::Other(Request::Stop { targets, .. })) if targets.targets == ["redis", "web"])
        );
        assert!(matches!(parse("msctl run --listen none"), Ok(Command::Run(RunArgs { listen: Some(Listen::None), .. }))));
        assert!(matches!(parse("msctl signal hup web"), Ok(Command::Other(Request::Signal { signal: Signal(1), .. }))));
        for bad in
            ["msctl stop", "msctl run --listen x", "msctl signal SIGFOO web", "msctl logs --since soon", "msctl events --from 1 -n 2"]
        {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }
}
