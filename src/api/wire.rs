//! Streams on the wire: lines of JSON, or server-sent events for those who ask for them.

use std::convert::Infallible;

use axum::body::Body;
use axum::http::{HeaderMap, header};
use axum::response::{IntoResponse as _, Response};
use futures_util::{Stream, StreamExt as _};
use serde::Serialize;
use tokio_util::sync::CancellationToken;

/// How a stream is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Format {
    /// One JSON value a line.
    Lines,
    /// `text/event-stream`; the id says where to resume.
    Events,
}

impl Format {
    /// What the client asks for.
    pub(super) fn asked(headers: &HeaderMap) -> Self {
        let accept = headers.get(header::ACCEPT).and_then(|accept| accept.to_str().ok()).unwrap_or_default();
        if accept.contains("text/event-stream") { Self::Events } else { Self::Lines }
    }

    /// One item.
    pub(super) fn frame(self, id: impl std::fmt::Display, item: &impl Serialize) -> String {
        // What is sent are plain structs; they always encode.
        let json = serde_json::to_string(item).unwrap_or_default();
        match self {
            Self::Lines => format!("{json}\n"),
            Self::Events => format!("id: {id}\ndata: {json}\n\n"),
        }
    }

    const fn content_type(self) -> &'static str {
        match self {
            Self::Lines => "application/x-ndjson",
            Self::Events => "text/event-stream",
        }
    }
}

/// The id of the last server-sent event a client has seen.
pub(super) fn last_event_id(headers: &HeaderMap) -> Option<u64> {
    headers.get("last-event-id")?.to_str().ok()?.parse().ok()
}

/// A stream as an answer. It ends when the server does.
pub(super) fn respond(format: Format, frames: impl Stream<Item = String> + Send + 'static, closing: CancellationToken) -> Response {
    let frames = frames.take_until(async move { closing.cancelled().await }).map(Ok::<_, Infallible>);
    let headers = [(header::CONTENT_TYPE, format.content_type()), (header::CACHE_CONTROL, "no-store")];
    (headers, Body::from_stream(frames)).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clients_choose_the_format() {
        let mut headers = HeaderMap::new();
        assert_eq!(Format::asked(&headers), Format::Lines);
        headers.insert(header::ACCEPT, "text/event-stream".parse().unwrap());
        headers.insert("Last-Event-ID", "41".parse().unwrap());
        assert_eq!((Format::asked(&headers), last_event_id(&headers)), (Format::Events, Some(41)));
        assert_eq!(Format::Events.frame(42, &"a\nb"), "id: 42\ndata: \"a\\nb\"\n\n");
        assert_eq!(Format::Lines.frame(42, &"a\nb"), "\"a\\nb\"\n");
    }
}
