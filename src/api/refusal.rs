//! Errors as answers.

use axum::Json;
use axum::extract::rejection::{JsonRejection, QueryRejection};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};

use super::ReloadRefused;
use super::dto::ApiError;

/// A request that is not fulfilled.
#[derive(Debug)]
pub(super) struct Refusal {
    pub(super) status: StatusCode,
    pub(super) error: ApiError,
}

impl Refusal {
    pub(super) fn new(status: StatusCode, code: &str, message: impl Into<String>) -> Self {
        Self { status, error: ApiError { code: code.into(), message: message.into(), help: None, diagnostics: None } }
    }

    pub(super) fn help(mut self, help: impl Into<String>) -> Self {
        self.error.help = Some(help.into());
        self
    }

    pub(super) fn bad_request(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "bad_request", message)
    }

    pub(super) fn internal(error: impl std::fmt::Display) -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", error.to_string())
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        (self.status, Json(self.error)).into_response()
    }
}

impl From<JsonRejection> for Refusal {
    fn from(rejection: JsonRejection) -> Self {
        Self { status: rejection.status(), ..Self::bad_request(rejection.body_text()) }
    }
}

impl From<QueryRejection> for Refusal {
    fn from(rejection: QueryRejection) -> Self {
        Self { status: rejection.status(), ..Self::bad_request(rejection.body_text()) }
    }
}

impl From<ReloadRefused> for Refusal {
    fn from(refused: ReloadRefused) -> Self {
        let mut refusal = Self::new(StatusCode::UNPROCESSABLE_ENTITY, "bad_declarations", refused.text);
        refusal.error.diagnostics = Some(refused.diagnostics);
        refusal.help("nothing was changed: the old plan runs on")
    }
}

/// Only [`super::targets`] makes bare errors: names nobody has.
impl From<ApiError> for Refusal {
    fn from(error: ApiError) -> Self {
        Self { status: StatusCode::NOT_FOUND, error }
    }
}
