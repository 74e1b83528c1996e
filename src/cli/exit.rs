//! Exit codes, and failures on their way to becoming one.

use std::path::Path;
use std::process::ExitCode;

use serde_json::Value;

use super::output::Output;
use crate::api::client::ClientError;
use crate::api::dto::ApiError;
use crate::os::paths::SAFE_MODE;

/// What the exit codes mean, for `--help`.
pub(super) const HELP: &str = "Exit codes:
  0  done
  1  it was tried and failed
  2  bad usage, or bad declarations
  3  no daemon is running here
  4  there is no such unit or supervisor
  5  not permitted
  6  done, but not remembered: a restart of the daemon would forget it
`health`, `doctor` and `verify-install` have codes of their own: see their help.";

/// How a command ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Exit {
    /// Done.
    Done,
    /// It was tried and failed.
    Failed,
    /// Bad usage, or bad declarations.
    Bad,
    /// No daemon is running here.
    NoDaemon,
    /// There is no such unit or supervisor.
    Unknown,
    /// Not permitted.
    NotPermitted,
    /// Done, but not remembered.
    NotRemembered,
    /// What was found decides; the command's own help says what its codes mean.
    Judged(u8),
}

impl Exit {
    const fn code(self) -> u8 {
        match self {
            Self::Done => 0,
            Self::Failed => 1,
            Self::Bad => 2,
            Self::NoDaemon => 3,
            Self::Unknown => 4,
            Self::NotPermitted => 5,
            Self::NotRemembered => 6,
            Self::Judged(code) => code,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.code())
    }
}

/// Why a command did not do what it was to do.
#[derive(Debug)]
pub(super) struct Failure {
    pub(super) exit: Exit,
    /// Empty: everything is said already.
    message: String,
    help: Option<String>,
    /// The message is a report that stands for itself.
    report: bool,
}

impl Failure {
    pub(super) fn new(exit: Exit, message: impl Into<String>) -> Self {
        Self { exit, message: message.into(), help: None, report: false }
    }

    /// For those that have said everything already.
    pub(super) fn silent(exit: Exit) -> Self {
        Self::new(exit, "")
    }

    /// With a report that stands for itself.
    pub(super) fn report_of(exit: Exit, text: String) -> Self {
        Self { report: true, ..Self::new(exit, text) }
    }

    pub(super) fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    /// What went wrong, in words.
    pub(super) fn message(&self) -> &str {
        &self.message
    }

    /// Says on standard error what went wrong.
    pub(super) fn report(&self) {
        if !self.message.is_empty() {
            eprintln!("{}{}", if self.report { "" } else { "error: " }, self.message.trim_end());
            if let Some(help) = &self.help {
                eprintln!("  help: {help}");
            }
        }
    }
}

impl From<ClientError> for Failure {
    fn from(error: ClientError) -> Self {
        let message = error.to_string();
        match error {
            ClientError::NoDaemon(socket) => match safe_mode(&socket) {
                Some(why) => Self::new(Exit::NoDaemon, format!("{message}\n{why}"))
                    .help("what the daemon prints (`journalctl -u ms-supervisor`) and its directory `incidents` say why; units can be signalled by process id"),
                None => Self::new(Exit::NoDaemon, message)
                    .help("start one with `ms-supervisor run`, or name the directory of another one with `-C DIR`"),
            },
            ClientError::NotPermitted(_) => {
                Self::new(Exit::NotPermitted, message).help("root, the daemon's user and the group of the socket may talk to it")
            }
            ClientError::Refused { status, error } => Self::refused(status.as_u16(), *error),
            ClientError::Broken(_) => Self::new(Exit::Failed, message),
        }
    }
}

/// What the launcher says of a brain that cannot be asked because it keeps dying.
#[expect(clippy::disallowed_methods, reason = "beside the socket; commands may block")]
fn safe_mode(socket: &Path) -> Option<String> {
    let text = std::fs::read_to_string(socket.with_file_name(SAFE_MODE)).ok()?;
    Some(text.trim_end().to_owned())
}

impl Failure {
    fn refused(status: u16, error: ApiError) -> Self {
        let exit = match status {
            403 => Exit::NotPermitted,
            404 => Exit::Unknown,
            400 | 415 | 422 => Exit::Bad,
            _ => Exit::Failed,
        };
        let report = error.diagnostics.as_ref().and_then(Value::as_array).is_some_and(|list| !list.is_empty());
        Self { exit, message: error.message, help: error.help, report }
    }
}

/// What is read by nobody need not be written: the reader has seen enough.
impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Self {
        if error.kind() == std::io::ErrorKind::BrokenPipe {
            Self::silent(Exit::Done)
        } else {
            Self::new(Exit::Failed, format!("cannot write the output: {error}"))
        }
    }
}

/// What commands return.
pub(super) type Ending = Result<Exit, Failure>;

/// Prints a value as JSON.
pub(super) fn json(out: &mut Output, value: &impl serde::Serialize) -> Ending {
    let text = serde_json::to_string_pretty(value).map_err(|error| Failure::new(Exit::Failed, format!("cannot write JSON: {error}")))?;
    out.line(&text)?;
    Ok(Exit::Done)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_have_their_codes() {
        let error = |code: &str| ApiError { code: code.into(), message: "m".into(), help: None, diagnostics: None };
        for (status, exit) in [(400, 2), (403, 5), (404, 4), (422, 2), (500, 1)] {
            assert_eq!(Failure::refused(status, error("x")).exit.code(), exit);
        }
        assert_eq!(Failure::from(ClientError::NoDaemon("/s".into())).exit.code(), 3);
        assert_eq!(Failure::from(ClientError::NotPermitted("/s".into())).exit.code(), 5);
        assert_eq!(Failure::from(std::io::Error::from(std::io::ErrorKind::BrokenPipe)).exit.code(), 0);
    }
}
