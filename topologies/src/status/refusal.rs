//! Refusals: a status, and one sentence that says what to do. What a request brings is taken by extractors that refuse so.

use axum::Json;
use axum::extract::{FromRequest, FromRequestParts, Path, Query, Request};
use axum::http::StatusCode;
use axum::http::request::Parts;
use axum::response::{IntoResponse, Response};
use serde::de::DeserializeOwned;
use serde_json::json;
use topo_core::log::LogError;

use super::api::Unknown;

/// A refusal as JSON.
pub(super) fn refuse(status: StatusCode, sentence: impl Into<String>) -> Response {
    (status, Json(json!({ "error": sentence.into() }))).into_response()
}

/// What the log says.
pub(super) fn log_refuses(error: &LogError) -> Response {
    let status = match error {
        LogError::UnknownTopic(_) | LogError::UnknownPartition(_) => StatusCode::NOT_FOUND,
        LogError::Invalid(_) | LogError::OffsetOutOfRange { .. } => StatusCode::BAD_REQUEST,
        LogError::Fenced(_) | LogError::CommitFailed(_) | LogError::TopicExists(_) => StatusCode::CONFLICT,
        LogError::Unavailable(_) | LogError::Closed => StatusCode::SERVICE_UNAVAILABLE,
        _ => StatusCode::INTERNAL_SERVER_ERROR,
    };
    refuse(status, error.to_string())
}

impl IntoResponse for Unknown {
    fn into_response(self) -> Response {
        (StatusCode::NOT_FOUND, Json(self)).into_response()
    }
}

/// JSON that is sent with a request.
pub(super) struct InBody<T>(pub(super) T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequest<S> for InBody<T> {
    type Rejection = Response;

    async fn from_request(request: Request, state: &S) -> Result<Self, Response> {
        let read = Json::from_request(request, state).await;
        read.map(|Json(body)| Self(body)).map_err(|wrong| refuse(StatusCode::BAD_REQUEST, wrong.body_text()))
    }
}

/// What is behind a path's question mark.
pub(super) struct InQuery<T>(pub(super) T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequestParts<S> for InQuery<T> {
    type Rejection = Response;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Response> {
        let read = Query::from_request_parts(parts, state).await;
        read.map(|Query(query)| Self(query)).map_err(|wrong| refuse(wrong.status(), wrong.body_text()))
    }
}

/// The parts of a path that a route names.
pub(super) struct InPath<T>(pub(super) T);

impl<S: Send + Sync, T: DeserializeOwned + Send> FromRequestParts<S> for InPath<T> {
    type Rejection = Response;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Response> {
        let read = Path::from_request_parts(parts, state).await;
        read.map(|Path(path)| Self(path)).map_err(|wrong| refuse(wrong.status(), wrong.body_text()))
    }
}
