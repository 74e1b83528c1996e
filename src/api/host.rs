//! For whom a request to the port was meant. A page in a browser can have its own name stand for this machine's loopback (DNS rebinding), and then
//! read what is told here; but the browser says which name it asked for.

use axum::extract::Request;
use axum::http::{StatusCode, Uri, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use std::net::IpAddr;

use super::refusal::Refusal;

/// Which of our own addresses a connection has come to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Local {
    /// One that only this machine reaches.
    Loopback,
    /// Another. By what names this machine is known there we do not know, and whoever is there may ask anyhow.
    Elsewhere,
}

/// Lets through what names no other host than this one.
pub(super) async fn is_meant(request: Request, next: Next) -> Response {
    let local = request.extensions().get::<Local>().copied().unwrap_or(Local::Loopback);
    let named = request.headers().get(header::HOST).map(|host| host.to_str().unwrap_or("?"));
    if local == Local::Loopback && !named.is_none_or(is_own) {
        let why = "the request names another host than this one";
        let refusal = Refusal::new(StatusCode::MISDIRECTED_REQUEST, "misdirected", why);
        return refusal.help("ask for localhost, or by number").into_response();
    }
    next.run(request).await
}

/// Whether `Host:` names this machine: by number, or as localhost.
fn is_own(host: &str) -> bool {
    let Ok(uri) = format!("http://{host}/").parse::<Uri>() else { return false };
    let name = uri.host().unwrap_or_default().trim_end_matches('.').to_ascii_lowercase();
    let is_number = name.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>().is_ok();
    is_number || name == "localhost" || name.ends_with(".localhost")
}

#[cfg(test)]
mod tests {
    use super::is_own;

    #[test]
    fn only_names_of_this_machine_are_its_own() {
        for own in ["127.0.0.1:8001", "127.0.0.1", "[::1]:8001", "localhost", "LOCALHOST:8001", "localhost.:80", "a.localhost", "10.1.2.3"]
        {
            assert!(is_own(own), "{own}");
        }
        for other in ["evil.example:8001", "localhost.evil.example", "127.0.0.1.evil.example", "", "?", "a b"] {
            assert!(!is_own(other), "{other}");
        }
    }
}
