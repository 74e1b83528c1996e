//! Serves connections: who speaks, how many at once, and an end in order.

use std::future::Future;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::Request;
use axum::http::{Method, StatusCode};
use axum::middleware::{Next, from_fn};
use axum::response::{IntoResponse, Response};
use axum::{Extension, Router};
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::Node;
use super::refusal::Refusal;
use super::routes::{self, App};

/// How many connections are served at once on each socket; further ones wait to be accepted.
const CONNECTIONS_MAX: usize = 256;

/// How long a client may take to send the head of a request.
const HEAD_TIMEOUT: Duration = Duration::from_secs(30);

/// How long answers under way may take when the server ends.
const GRACE: Duration = Duration::from_secs(2);

/// How long to wait when no connection can be accepted, for example for want of descriptors.
const ACCEPT_RETRY: Duration = Duration::from_millis(100);

/// Who speaks at the other end of a socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Peer {
    pub(super) uid: u32,
}

impl Peer {
    /// Root and the daemon's own user may do everything; all others may read.
    pub(super) fn may_command(self) -> bool {
        self.uid == 0 || self.uid == rustix::process::geteuid().as_raw()
    }
}

/// Serves the control socket until `shutdown` completes.
pub async fn serve_control(shutdown: impl Future<Output = ()> + Send, listener: UnixListener, node: Arc<Node>) {
    let closing = CancellationToken::new();
    let router = routes::control(App { node, closing: closing.clone() }).layer(from_fn(authorise));
    serve(shutdown, listener, router, closing).await;
}

/// Serves the read-only port until `shutdown` completes.
pub async fn serve_public(shutdown: impl Future<Output = ()> + Send, listener: TcpListener, node: Arc<Node>) {
    let closing = CancellationToken::new();
    let router = routes::public(App { node, closing: closing.clone() });
    serve(shutdown, listener, router, closing).await;
}

async fn authorise(Extension(peer): Extension<Peer>, request: Request, next: Next) -> Response {
    if may(peer, request.method()) {
        return next.run(request).await;
    }
    let refusal = Refusal::new(StatusCode::FORBIDDEN, "not_permitted", format!("user {} may only read here", peer.uid));
    refusal.help("commands are for root and for the user the daemon runs as").into_response()
}

fn may(peer: Peer, method: &Method) -> bool {
    peer.may_command() || matches!(*method, Method::GET | Method::HEAD)
}

/// Where connections come from.
trait Door {
    type Stream: AsyncRead + AsyncWrite + Send + Unpin + 'static;

    /// The next connection and who it is; nobody known on the port.
    fn accept(&self) -> impl Future<Output = io::Result<(Self::Stream, Option<Peer>)>> + Send;
}

impl Door for UnixListener {
    type Stream = tokio::net::UnixStream;

    async fn accept(&self) -> io::Result<(Self::Stream, Option<Peer>)> {
        let (stream, _) = Self::accept(self).await?;
        let peer = Peer { uid: stream.peer_cred()?.uid() };
        Ok((stream, Some(peer)))
    }
}

impl Door for TcpListener {
    type Stream = tokio::net::TcpStream;

    async fn accept(&self) -> io::Result<(Self::Stream, Option<Peer>)> {
        let (stream, _) = Self::accept(self).await?;
        Ok((stream, None))
    }
}

async fn serve<D: Door>(shutdown: impl Future<Output = ()> + Send, door: D, router: Router, closing: CancellationToken) {
    let _closed_with_the_server = closing.clone().drop_guard();
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let connections = TaskTracker::new();
    let mut shutdown = std::pin::pin!(shutdown);
    loop {
        let accepted = async {
            let place = places.clone().acquire_owned().await.map_err(io::Error::other)?;
            Ok::<_, io::Error>((place, door.accept().await?))
        };
        let accepted = tokio::select! {
            accepted = accepted => accepted,
            () = &mut shutdown => break,
        };
        match accepted {
            Ok((place, (stream, peer))) => {
                let router = match peer {
                    Some(peer) => router.clone().layer(Extension(peer)),
                    None => router.clone(),
                };
                let closing = closing.clone();
                connections.spawn(async move {
                    connection(stream, router, closing).await;
                    drop(place);
                });
            }
            Err(error) => {
                tracing::warn!("cannot accept a connection: {error}");
                tokio::time::sleep(ACCEPT_RETRY).await;
            }
        }
    }
    drop(door);
    closing.cancel();
    connections.close();
    connections.wait().await;
}

/// Serves one connection. How it ends is the client's business: nobody else can do anything about it.
async fn connection(stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static, router: Router, closing: CancellationToken) {
    let service = TowerToHyperService::new(router);
    let mut builder = http1::Builder::new();
    builder.timer(TokioTimer::new()).header_read_timeout(HEAD_TIMEOUT);
    let mut connection = std::pin::pin!(builder.serve_connection(TokioIo::new(stream), service));
    tokio::select! {
        _ended = connection.as_mut() => {}
        () = closing.cancelled() => {
            connection.as_mut().graceful_shutdown();
            drop(tokio::time::timeout(GRACE, connection).await);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_root_and_the_own_user_command() {
        let own = rustix::process::geteuid().as_raw();
        let check = |uid, method, expect| assert_eq!(may(Peer { uid }, &method), expect, "{uid} {method}");
        check(0, Method::POST, true);
        check(own, Method::POST, true);
        check(own + 1, Method::GET, true);
        check(own + 1, Method::HEAD, true);
        for method in [Method::POST, Method::PUT, Method::DELETE, Method::PATCH] {
            check(own + 1, method, false);
        }
    }
}
