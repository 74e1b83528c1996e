//! `schema`, `completions` and `version`.

use clap::CommandFactory as _;

use super::Session;
use super::args::{Cli, SchemaKind};
use super::exit::{Ending, Exit, json};
use crate::api::client::ClientError;
use crate::api::dto::{About, Status};
use crate::event::RemedyContext;
use crate::spec::schema as schemas;

pub(super) fn schema(session: &mut Session, kind: SchemaKind) -> Ending {
    let schema = match kind {
        SchemaKind::Unit => schemas::unit(),
        SchemaKind::Supervisor => schemas::supervisor(),
        SchemaKind::Daemon => schemas::daemon(),
        SchemaKind::DropIn => schemas::drop_in(),
        SchemaKind::HealthChecks => schemas::health_checks(),
        SchemaKind::Remedy => RemedyContext::schema(),
    };
    json(&mut session.out, &schema)
}

/// For the name this program was called by.
pub(super) fn completions(session: &mut Session, shell: clap_complete::Shell) -> Ending {
    let name = std::env::args_os().next().map(std::path::PathBuf::from);
    let name = name.as_deref().and_then(|path| path.file_name()).and_then(|name| name.to_str()).unwrap_or("ms-supervisor");
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), name, &mut script);
    session.out.text(&String::from_utf8_lossy(&script))?;
    Ok(Exit::Done)
}

pub(super) fn version(session: &mut Session, as_json: bool) -> Ending {
    if as_json {
        // Of this program alone: a daemon that is asked what it is must not be kept waiting by another one.
        return json(&mut session.out, &About::own());
    }
    session.out.line(&format!("ms-supervisor {}", env!("CARGO_PKG_VERSION")))?;
    // Whoever only wants to know what this program is needs neither a directory nor a daemon.
    let Ok(client) = session.client() else { return Ok(Exit::Done) };
    let status: Result<Status, ClientError> = client.get("/v1/status");
    if let Ok(status) = status {
        session.out.line(&format!("daemon {} in {}", status.daemon.version, status.daemon.config.display()))?;
    }
    Ok(Exit::Done)
}
