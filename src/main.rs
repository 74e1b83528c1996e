//! The `ms-supervisor` command.

use std::process::ExitCode;

use ms_supervisor::{daemon, launcher};

fn main() -> ExitCode {
    let arguments = std::env::args_os().skip(1);
    match std::env::args().nth(1).as_deref() {
        Some("launcher") => match launcher::Options::from_argv(arguments) {
            Ok(options) => launcher::run(options),
            Err(why) => usage(&why),
        },
        Some("brain") => match std::env::args().nth(2).map(|settings| serde_json::from_str(&settings)) {
            Some(Ok(settings)) => daemon::brain(settings),
            _ => usage("the brain is started by the launcher; use `ms-supervisor run`"),
        },
        _ => {
            let directories = ms_supervisor::os::paths::directories(std::env::args().nth(2).as_deref().map(std::path::Path::new)).unwrap();
            daemon::launch(&daemon::Settings { directories, listen: None, events: true, plain: false, logs: true })
        }
    }
}

fn usage(why: &str) -> ExitCode {
    eprintln!("ms-supervisor: {why}");
    ExitCode::from(2)
}
