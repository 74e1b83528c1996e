//! Whether a program can take this one's place.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use crate::api::dto::About;
use crate::launcher::BOOK;

/// How long a program may take to say what it is.
const PATIENCE: Duration = Duration::from_secs(10);

/// Asks `program` what it is.
///
/// # Errors
/// A sentence that says why it cannot take our place.
pub(super) async fn check(program: &Path) -> Result<(), String> {
    let shown = program.display();
    if !program.is_absolute() {
        return Err(format!("cannot go over to {shown}: its path must be absolute"));
    }
    #[expect(clippy::disallowed_methods, reason = "asked once, for an operator, and gone before anything else happens")]
    let mut question = tokio::process::Command::new(program);
    question.args(["version", "--json"]).stdin(Stdio::null()).stderr(Stdio::null()).kill_on_drop(true);
    let answer = tokio::time::timeout(PATIENCE, question.output()).await;
    let answer = answer.map_err(|_| format!("{shown} does not say what it is within {} s", PATIENCE.as_secs()))?;
    let answer = answer.map_err(|error| format!("cannot execute {shown}: {error}"))?;
    let about: About = serde_json::from_slice(&answer.stdout)
        .ok()
        .filter(|_| answer.status.success())
        .ok_or(format!("{shown} is no ms-supervisor that can be upgraded to"))?;
    if about.program != env!("CARGO_PKG_NAME") {
        return Err(format!("{shown} is {}, not {}", about.program, env!("CARGO_PKG_NAME")));
    }
    if !about.books.contains(&BOOK) {
        return Err(format!(
            "{shown} ({}) cannot take over from {}: it does not know the format in which I keep what runs ({BOOK}); stop the daemon and start that one",
            about.version,
            env!("CARGO_PKG_VERSION")
        ));
    }
    Ok(())
}
