//! The health of a gRPC server: `grpc.health.v1.Health/Check` (the GRPC Health Checking Protocol).

use http_body_util::{BodyExt, Full, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http2;
use hyper::{HeaderMap, Request, Response, header};
use hyper_util::rt::{TokioExecutor, TokioIo};

use super::stream::connect;
use crate::base::outcome::Outcome;
use crate::plan::GrpcProbe;

/// More than an answer can be, in bytes.
const ANSWER_MAX: usize = 64 << 10;

/// Asks once.
pub(super) async fn check(probe: &GrpcProbe) -> Outcome {
    ask(probe).await.unwrap_or_else(Outcome::failed)
}

async fn ask(probe: &GrpcProbe) -> Result<Outcome, String> {
    let address = &probe.address;
    let mut connection = connect(address, probe.tls.as_ref(), &[b"h2"]).await?;
    let fail = |error: &dyn std::fmt::Display| format!("cannot ask {address}: {error}");
    let scheme = if probe.tls.is_some() { "https" } else { "http" };
    let authority = if address.starts_with('/') { "localhost" } else { address };
    let request = Request::post(format!("{scheme}://{authority}/grpc.health.v1.Health/Check"))
        .header(header::CONTENT_TYPE, "application/grpc")
        .header(header::TE, "trailers")
        .header(header::USER_AGENT, concat!("ms-supervisor/", env!("CARGO_PKG_VERSION")))
        .body(Full::new(Bytes::from(question(&probe.service))))
        .map_err(|error| fail(&error))?;
    let stream = std::mem::replace(&mut connection.stream, Box::new(tokio::io::empty()));
    let handshake = http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await;
    let (mut sender, driver) = handshake.map_err(|error| fail(&error))?;
    let answer = tokio::select! {
        biased;
        answer = async {
            let answer = sender.send_request(request).await.map_err(|error| fail(&error))?;
            look_at(probe, answer).await
        } => answer,
        ended = driver => Err(match ended {
            Ok(()) => fail(&"the connection was closed"),
            Err(error) => fail(&error),
        }),
    };
    answer.map(|()| connection.judge(Outcome::ok("serving")))
}

async fn look_at(probe: &GrpcProbe, answer: Response<Incoming>) -> Result<(), String> {
    let address = &probe.address;
    if answer.status() != 200 {
        return Err(format!("{address} answered with HTTP status {}", answer.status().as_u16()));
    }
    refusal(address, answer.headers())?;
    let body = Limited::new(answer.into_body(), ANSWER_MAX).collect().await;
    let body = body.map_err(|error| format!("the answer of {address} cannot be read: {error}"))?;
    if let Some(trailers) = body.trailers() {
        refusal(address, trailers)?;
    }
    let what = if probe.service.is_empty() { address.clone() } else { format!("`{}` at {address}", probe.service) };
    match serving_status(&body.to_bytes()) {
        Some(1) => Ok(()),
        Some(0) => Err(format!("{what} does not know whether it serves")),
        Some(2) => Err(format!("{what} does not serve")),
        Some(3) => Err(format!("{what} is unknown there")),
        _ => Err(format!("the answer of {address} is no answer to a health check")),
    }
}

/// The error in headers or trailers, if there is one.
fn refusal(address: &str, headers: &HeaderMap) -> Result<(), String> {
    let text = |name| headers.get(name).and_then(|value: &header::HeaderValue| value.to_str().ok());
    let message = text("grpc-message").unwrap_or_default();
    match text("grpc-status") {
        None | Some("0") => Ok(()),
        Some("5") => Err(format!("{address} does not know the service: {message}")),
        Some("12") => Err(format!("{address} does not offer health checks: {message}")),
        Some(code) => Err(format!("{address} answered with gRPC status {code}: {message}")),
    }
}

/// `HealthCheckRequest { service }` in the frame of a message: not compressed, four bytes of length.
fn question(service: &str) -> Vec<u8> {
    let mut message = Vec::new();
    if !service.is_empty() {
        message.push(0x0a);
        let mut length = service.len();
        while length >= 0x80 {
            message.push((length & 0x7f) as u8 | 0x80);
            length >>= 7;
        }
        message.push(length as u8);
        message.extend_from_slice(service.as_bytes());
    }
    let length = (message.len() as u32).to_be_bytes();
    [&[0], &length[..], &message].concat()
}

/// `status` in the frame of a `HealthCheckResponse`; 0, which is not sent, if it is empty.
fn serving_status(frame: &[u8]) -> Option<u8> {
    let (head, message) = frame.split_at_checked(5)?;
    match (head[0], message) {
        (0, []) => Some(0),
        (0, [0x08, status, ..]) => Some(*status),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_what_protobuf_says() {
        assert_eq!(question(""), [0, 0, 0, 0, 0]);
        assert_eq!(question("ab"), [0, 0, 0, 0, 4, 0x0a, 2, b'a', b'b']);
        assert_eq!(question(&"x".repeat(300))[..8], [0, 0, 0, 1, 0x2f, 0x0a, 0xac, 0x02]);
        assert_eq!(serving_status(&[0, 0, 0, 0, 2, 8, 1]), Some(1));
        assert_eq!(serving_status(&[0, 0, 0, 0, 0]), Some(0));
        assert_eq!(serving_status(b"HTTP"), None);
    }
}
