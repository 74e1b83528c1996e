//! The environment of a unit, without what is secret.

use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::{Extension, Json};

use super::dto::Environment;
use super::peer::Peer;
use super::refusal::Refusal;
use super::routes::App;
use crate::base::secret::REDACTED;

pub(super) async fn environment(
    State(app): State<App>,
    Extension(peer): Extension<Peer>,
    Path(name): Path<String>,
) -> Result<Json<Environment>, Refusal> {
    let unit = name.clone();
    match app.node.tree.environment(&name).await {
        Some(Ok(mut variables)) => {
            // Variables often are secrets: who may not command may not see them either.
            for variable in variables.iter_mut().filter(|_| !peer.sees_all) {
                (variable.value, variable.redacted) = (REDACTED.into(), true);
            }
            Ok(Json(Environment { unit, variables }))
        }
        Some(Err(why)) => Err(Refusal::new(StatusCode::CONFLICT, "no_environment", format!("`{name}` has no environment: {why}"))),
        None => {
            let refusal = Refusal::new(StatusCode::NOT_FOUND, "not_a_unit", format!("`{name}` is not one unit that is run here"));
            Err(refusal.help("`status` shows the units"))
        }
    }
}
