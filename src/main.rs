//! The `ms-supervisor` command: one binary that is launcher, brain and client.

use std::path::Path;
use std::process::ExitCode;

use ms_supervisor::os::{inherited, paths};
use ms_supervisor::{cli, daemon, launcher};

fn main() -> ExitCode {
    let mut arguments = std::env::args_os().skip(1);
    // The launcher and the brain are started by the program itself, with arguments no person writes.
    match arguments.next().as_deref().and_then(|word| word.to_str()) {
        Some("launcher") => match launcher::Options::from_argv(std::env::args_os().skip(1)) {
            Ok(options) => launcher::run(options),
            Err(why) => refuse(&why),
        },
        Some("keep") => match arguments.next() {
            Some(path) => launcher::keeper::keep(Path::new(&path)),
            None => refuse("the keeper is started by the launcher; use `ms-supervisor run`"),
        },
        Some("brain") => match arguments.next().and_then(|settings| serde_json::from_str(settings.to_str()?).ok()) {
            Some(settings) => daemon::brain(settings),
            None => refuse("the brain is started by the launcher; use `ms-supervisor run`"),
        },
        _ => {
            let cli = cli::parse();
            match cli.command {
                cli::Command::Run(args) => run(cli.config.as_deref(), &args),
                cli::Command::Other(request) => cli::execute(cli.config.as_deref(), request),
            }
        }
    }
}

fn run(config: Option<&Path>, args: &cli::RunArgs) -> ExitCode {
    let directories = match paths::directories(config) {
        Ok(directories) => directories,
        Err(error) => return refuse(&error.to_string()),
    };
    let journald = inherited::is_in_journal();
    let quiet = args.quiet || journald;
    daemon::launch(&daemon::Settings {
        directories,
        listen: args.listen,
        events: !quiet,
        journald,
        plain: inherited::no_color(),
        logs: !quiet && !args.no_logs,
    })
}

fn refuse(why: &str) -> ExitCode {
    eprintln!("ms-supervisor: {why}");
    ExitCode::from(2)
}
