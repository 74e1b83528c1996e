//! Serves connections: who speaks, how many at once, how long anybody may take, and an end in order.

use std::collections::BTreeMap;
use std::future::Future;
use std::io;
use std::net::IpAddr;
use std::os::fd::AsFd as _;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::extract::Request;
use axum::http::{HeaderValue, StatusCode, header};
use axum::middleware::{Next, from_fn, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::{Extension, Router};
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::Node;
use super::host::{self, Local};
use super::peer::{Origin, authorise};
use super::refusal::Refusal;
use super::routes::{self, App};
use super::stream::Impatient;
use crate::os::peer::Caller;
use crate::policy::places::{Place, Places, Room};

/// How many connections are served at once on each socket; further ones are refused at once (503).
const CONNECTIONS_MAX: usize = 256;

/// How many of them may be of one user, one unit or one address, unless that is root or the daemon's user, from outside of all units.
const PER_PEER_MAX: usize = 64;

/// How many are kept for root and the daemon's user on the control socket, and on the port for those who ask for health. There whoever comes
/// last takes the place of the first.
const KEPT_MAX: usize = 16;

/// How long a client may take to send a request, or the next one.
const HEAD_TIMEOUT: Duration = Duration::from_secs(20);

/// The same in a place that is kept.
const KEPT_TIMEOUT: Duration = Duration::from_secs(5);

/// How long a client of the port may take nothing of an answer.
const WRITE_TIMEOUT: Duration = Duration::from_secs(20);

/// The same on the control socket, where people follow logs and look at them page by page.
const CONTROL_WRITE_TIMEOUT: Duration = Duration::from_secs(600);

/// How long a connection to the port may last; nothing there is without an end.
const LIFETIME_MAX: Duration = Duration::from_secs(300);

/// How long answers under way may take when the server, or the time of a connection, ends.
const GRACE: Duration = Duration::from_secs(2);

/// How long to wait when no connection can be accepted, for example for want of descriptors.
const ACCEPT_RETRY: Duration = Duration::from_millis(100);

/// What is said to those who get no place.
const NO_PLACE: &[u8] =
    b"HTTP/1.1 503 Service Unavailable\r\ncontent-type: application/json\r\nconnection: close\r\ncontent-length: 106\r\n\r\n\
    {\"code\":\"too_many\",\"message\":\"too many connections are open\",\"help\":\"close some of yours, then try again\"}";

/// Serves the control socket until `shutdown` completes.
pub async fn serve_control(shutdown: impl Future<Output = ()> + Send, listener: UnixListener, node: Arc<Node>) {
    let closing = CancellationToken::new();
    let app = App { node: node.clone(), closing: closing.clone() };
    let router = routes::control(app.clone()).layer(from_fn_with_state(app, authorise)).layer(from_fn(guarded));
    let door = Control { listener, node };
    let manners = Manners { write: CONTROL_WRITE_TIMEOUT, lifetime: None, makes_room: false };
    serve(shutdown, door, router, manners, closing).await;
}

/// Serves the read-only port until `shutdown` completes.
pub async fn serve_public(shutdown: impl Future<Output = ()> + Send, listener: TcpListener, node: Arc<Node>) {
    let closing = CancellationToken::new();
    let router = routes::public(App { node, closing: closing.clone() }).layer(from_fn(host::is_meant)).layer(from_fn(guarded));
    let manners = Manners { write: WRITE_TIMEOUT, lifetime: Some(LIFETIME_MAX), makes_room: true };
    serve(shutdown, listener, router, manners, closing).await;
}

/// What the sockets differ in.
#[derive(Clone, Copy, Debug)]
struct Manners {
    write: Duration,
    lifetime: Option<Duration>,
    /// Whether who comes last gets a kept place, and the first leaves.
    makes_room: bool,
}

/// Whose connections are counted together.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Who {
    User(u32),
    /// A process that is inside of units, by its user.
    Inside(u32),
    Address(IpAddr),
}

/// Who comes in.
struct Visitor {
    who: Who,
    origin: Option<Arc<Origin>>,
    local: Local,
    is_trusted: bool,
    /// Whether it may have a place that is kept.
    is_entitled: bool,
    /// Whether a kept place is for health only.
    is_limited: bool,
}

/// Where connections come from.
trait Door {
    type Stream: AsyncRead + AsyncWrite + Send + Unpin + 'static;

    /// The next connection.
    fn accept(&self) -> impl Future<Output = io::Result<Self::Stream>> + Send;

    /// Who it is.
    fn look(&self, stream: &Self::Stream) -> io::Result<Visitor>;

    /// Says that there is no place, if that can be said at once.
    fn refuse(stream: &Self::Stream);
}

/// The control socket, where the kernel tells who speaks.
struct Control {
    listener: UnixListener,
    node: Arc<Node>,
}

impl Door for Control {
    type Stream = UnixStream;

    async fn accept(&self) -> io::Result<UnixStream> {
        Ok(self.listener.accept().await?.0)
    }

    fn look(&self, stream: &UnixStream) -> io::Result<Visitor> {
        let caller = Caller::of(stream.as_fd())?;
        let origin = Origin::of(&caller, &self.node);
        let is_trusted = origin.is_trusted();
        let who = if origin.is_outside() { Who::User(origin.uid) } else { Who::Inside(origin.uid) };
        Ok(Visitor { who, origin: Some(Arc::new(origin)), local: Local::Elsewhere, is_trusted, is_entitled: is_trusted, is_limited: false })
    }

    fn refuse(stream: &UnixStream) {
        let _or_not = stream.try_write(NO_PLACE);
    }
}

impl Door for TcpListener {
    type Stream = TcpStream;

    async fn accept(&self) -> io::Result<TcpStream> {
        Ok(Self::accept(self).await?.0)
    }

    fn look(&self, stream: &TcpStream) -> io::Result<Visitor> {
        let who = Who::Address(counted_together(stream.peer_addr()?.ip()));
        let local = if stream.local_addr()?.ip().to_canonical().is_loopback() { Local::Loopback } else { Local::Elsewhere };
        Ok(Visitor { who, origin: None, local, is_trusted: false, is_entitled: true, is_limited: true })
    }

    fn refuse(stream: &TcpStream) {
        let _or_not = stream.try_write(NO_PLACE);
    }
}

/// Of IPv6 everybody has a whole network of addresses.
fn counted_together(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(address) => address.into(),
        IpAddr::V6(address) => std::net::Ipv6Addr::from_bits(address.to_bits() >> 64 << 64).into(),
    }
}

/// What all answers have in common: what they are, browsers do not guess.
async fn guarded(request: Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    response.headers_mut().insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}

/// In a place that is kept only health is told.
async fn health_only(request: Request, next: Next) -> Response {
    let path = request.uri().path();
    if ["/livez", "/readyz", "/healthz"].contains(&path) || path.starts_with("/healthz/") {
        return next.run(request).await;
    }
    let refusal = Refusal::new(StatusCode::SERVICE_UNAVAILABLE, "too_many", "too many connections are open; only health is told now");
    refusal.help("close some of yours, then try again").into_response()
}

/// The places of one socket, and how those leave who have to.
struct Seats {
    places: Places<Who>,
    leave: BTreeMap<u64, CancellationToken>,
    next: u64,
}

/// A place, until it is dropped.
struct Seat {
    seats: Arc<Mutex<Seats>>,
    number: u64,
    is_kept: bool,
    /// It is somebody else's.
    leave: CancellationToken,
}

impl Seat {
    fn take(seats: &Arc<Mutex<Seats>>, visitor: &Visitor) -> Option<Self> {
        let mut all = seats.lock().unwrap_or_else(PoisonError::into_inner);
        let number = all.next;
        all.next += 1;
        let is_kept = match all.places.take(number, visitor.who.clone(), visitor.is_trusted, visitor.is_entitled) {
            Place::Common => false,
            Place::Kept(first) => {
                if let Some(leave) = first.and_then(|first| all.leave.remove(&first)) {
                    leave.cancel();
                }
                true
            }
            Place::Refused => return None,
        };
        let leave = CancellationToken::new();
        all.leave.insert(number, leave.clone());
        drop(all);
        Some(Self { seats: seats.clone(), number, is_kept, leave })
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut all = self.seats.lock().unwrap_or_else(PoisonError::into_inner);
        all.places.give_back(self.number);
        all.leave.remove(&self.number);
    }
}

async fn serve<D: Door>(shutdown: impl Future<Output = ()> + Send, door: D, router: Router, manners: Manners, closing: CancellationToken) {
    let _closed_with_the_server = closing.clone().drop_guard();
    let room = Room { all: CONNECTIONS_MAX, each: PER_PEER_MAX, kept: KEPT_MAX, makes_room: manners.makes_room };
    let seats = Arc::new(Mutex::new(Seats { places: Places::new(room), leave: BTreeMap::new(), next: 0 }));
    let connections = TaskTracker::new();
    let mut shutdown = std::pin::pin!(shutdown);
    loop {
        let accepted = tokio::select! {
            accepted = door.accept() => accepted,
            () = &mut shutdown => break,
        };
        let stream = match accepted {
            Ok(stream) => stream,
            Err(error) => {
                tracing::warn!("cannot accept a connection: {error}");
                tokio::time::sleep(ACCEPT_RETRY).await;
                continue;
            }
        };
        // Who has gone again needs nothing.
        let Ok(visitor) = door.look(&stream) else { continue };
        let Some(seat) = Seat::take(&seats, &visitor) else {
            D::refuse(&stream);
            continue;
        };
        let mut router = router.clone();
        if seat.is_kept && visitor.is_limited {
            router = router.layer(from_fn(health_only));
        }
        router = router.layer(Extension(visitor.local));
        if let Some(origin) = visitor.origin {
            router = router.layer(Extension(origin));
        }
        connections.spawn(connection(stream, router, manners, closing.clone(), seat));
    }
    drop(door);
    closing.cancel();
    connections.close();
    connections.wait().await;
}

/// Serves one connection. How it ends is the client's business: nobody else can do anything about it.
async fn connection(
    stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
    router: Router,
    manners: Manners,
    closing: CancellationToken,
    seat: Seat,
) {
    let is_short = seat.is_kept && manners.makes_room;
    let (head, write) = if is_short { (KEPT_TIMEOUT, KEPT_TIMEOUT) } else { (HEAD_TIMEOUT, manners.write) };
    let service = TowerToHyperService::new(router);
    let mut builder = http1::Builder::new();
    builder.timer(TokioTimer::new()).header_read_timeout(head).keep_alive(!is_short);
    let stream = TokioIo::new(Impatient::new(stream, write));
    let mut connection = std::pin::pin!(builder.serve_connection(stream, service));
    let lifetime = async {
        match manners.lifetime {
            Some(lifetime) => tokio::time::sleep(lifetime).await,
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        _ended = connection.as_mut() => return,
        () = seat.leave.cancelled() => return,
        () = closing.cancelled() => {}
        () = lifetime => {}
    }
    connection.as_mut().graceful_shutdown();
    drop(tokio::time::timeout(GRACE, connection).await);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_refusal_is_well_formed() {
        let text = std::str::from_utf8(NO_PLACE).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        assert!(head.contains(&format!("content-length: {}", body.len())), "{}", body.len());
        assert!(serde_json::from_str::<super::super::dto::ApiError>(body).is_ok());
    }

    #[test]
    fn a_network_of_addresses_is_one_peer() {
        let check = |one: &str, other: &str, same| {
            let [one, other] = [one, other].map(|address| counted_together(address.parse().unwrap()));
            assert_eq!(one == other, same, "{one} {other}");
        };
        check("10.0.0.1", "10.0.0.2", false);
        check("::ffff:10.0.0.1", "10.0.0.1", true);
        check("2001:db8::1", "2001:db8::ffff:1", true);
        check("2001:db8::1", "2001:db8:0:1::1", false);
    }
}
