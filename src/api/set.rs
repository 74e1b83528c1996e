//! Values that are set beside the files: `GET` and `POST /v1/overrides`.

use std::time::Duration;

use axum::extract::State;
use axum::extract::rejection::JsonRejection;
use axum::http::StatusCode;
use axum::{Extension, Json};

use super::dto::{Changes, REASON_MAX, SetBody};
use super::peer::Peer;
use super::refusal::Refusal;
use super::routes::{App, changes_of};
use super::{ReloadRefused, SetRefused, SetRequest};
use crate::event::Override;

pub(super) async fn list(State(app): State<App>, Extension(peer): Extension<Peer>) -> Json<Vec<Override>> {
    let overrides = app.node.daemon.overrides().await;
    Json(if peer.sees_all { overrides } else { overrides.into_iter().map(Override::told).collect() })
}

pub(super) async fn set(
    State(app): State<App>,
    Extension(peer): Extension<Peer>,
    body: Result<Json<SetBody>, JsonRejection>,
) -> Result<Json<Changes>, Refusal> {
    let Json(body) = body?;
    if body.reason.as_ref().is_some_and(|reason| reason.len() > REASON_MAX) {
        return Err(Refusal::bad_request(format!("the reason has more than {REASON_MAX} bytes")));
    }
    if body.values.is_empty() && body.unset.is_empty() && !body.unset_all {
        return Err(Refusal::bad_request("nothing is to be set or taken back"));
    }
    let command = if body.values.is_empty() { "unset" } else { "set" };
    app.node.context.bus.tell(peer.asked(command, &body.target));
    let SetBody { target, values, unset, unset_all, milliseconds, reason } = body;
    let duration = milliseconds.map(Duration::from_millis);
    let request = SetRequest { target, values, unset, unset_all, duration, reason, uid: peer.uid };
    match app.node.daemon.set(request).await {
        Ok(diff) => changes_of(&diff),
        Err(SetRefused::NotFound(target)) => {
            let refusal = Refusal::new(StatusCode::NOT_FOUND, "not_found", format!("nothing is declared as `{target}`"));
            Err(refusal.help("name a unit or a supervisor as its file does, without an instance's number, or `daemon`"))
        }
        Err(SetRefused::Bad(why)) => Err(Refusal::bad_request(why)),
        Err(SetRefused::Faulty(diagnostics)) => {
            Err(ReloadRefused { diagnostics: diagnostics.to_json(), text: diagnostics.render(false) }.into())
        }
        Err(SetRefused::NotRemembered(why)) => {
            Err(Refusal::new(StatusCode::INSUFFICIENT_STORAGE, "not_remembered", why).help("nothing was changed"))
        }
    }
}
