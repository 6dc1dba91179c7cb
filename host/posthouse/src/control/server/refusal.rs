//! The result of a route, and the answer to a request that failed.

use axum::Json;
use axum::extract::rejection::{JsonRejection, QueryRejection};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};

use crate::control::api::ApiFailure;
use host_config::Problem;
use host_spool::PutError;

/// Result of a route: a JSON answer or a refusal.
pub(super) type Handled<T> = Result<Json<T>, Refusal>;

/// Status and problems of a request that failed. The answer's body is an [`ApiFailure`].
pub(super) struct Refusal {
    pub(super) status: StatusCode,
    pub(super) problems: Vec<Problem>,
}

impl Refusal {
    pub(super) fn new(status: StatusCode, text: impl ToString) -> Self {
        Self {
            status,
            problems: vec![Problem::new("", text.to_string())],
        }
    }

    pub(super) fn bad_request(text: impl ToString) -> Self {
        Self::new(StatusCode::BAD_REQUEST, text)
    }

    pub(super) fn internal(error: impl ToString) -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, error)
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let failure = ApiFailure {
            problems: self.problems,
        };
        (self.status, Json(failure)).into_response()
    }
}

impl From<JsonRejection> for Refusal {
    fn from(rejection: JsonRejection) -> Self {
        Self::new(rejection.status(), rejection.body_text())
    }
}

impl From<QueryRejection> for Refusal {
    fn from(rejection: QueryRejection) -> Self {
        Self::new(rejection.status(), rejection.body_text())
    }
}

impl From<PutError> for Refusal {
    fn from(error: PutError) -> Self {
        Self::internal(error)
    }
}
