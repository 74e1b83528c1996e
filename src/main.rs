//! The `ms-supervisor` command.

use std::process::ExitCode;

use ms_supervisor::launcher;

fn main() -> ExitCode {
    let arguments = std::env::args_os().skip(1);
    if std::env::args_os().nth(1).is_some_and(|word| word == "launcher") {
        return match launcher::Options::from_argv(arguments) {
            Ok(options) => launcher::run(options),
            Err(why) => {
                eprintln!("{why}");
                ExitCode::from(2)
            }
        };
    }
    ExitCode::SUCCESS
}
