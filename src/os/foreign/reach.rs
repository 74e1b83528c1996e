//! Connecting to somebody: names are looked up, and sockets with a path are found, by threads that may hang; and who answers, says so much and
//! no more.

use std::io;
use std::net::{SocketAddr, ToSocketAddrs as _};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use rustix::fs::{CWD, Mode, OFlags, openat};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream};

use super::{Hangs, Purpose, Table, doing, look};

/// The most a probe takes from whoever it asks, in bytes: a page of metrics with all around it. Then it fails.
pub const ANSWER_MAX: u64 = 2 << 20;

/// Whoever connects has a shorter limit of his own; this is for those who have none.
const WITHIN: Duration = Duration::from_secs(60);

/// Names are looked up by libraries that keep descriptors, and a socket has to come out.
const SHARED: (Purpose, Table) = (Purpose::Probe, Table::Shared);

fn hangs(hangs: Hangs) -> io::Error {
    io::Error::new(io::ErrorKind::TimedOut, hangs.to_string())
}

/// The addresses of `host:port`. Numbers need nobody to look them up.
///
/// # Errors
/// There is no such name, or no answer.
pub async fn resolve(address: &str) -> io::Result<Vec<SocketAddr>> {
    if let Ok(known) = address.parse() {
        return Ok(vec![known]);
    }
    let name = address.to_owned();
    let ask = move || {
        doing(format_args!("looking up the name {name}"));
        name.to_socket_addrs().map(Iterator::collect)
    };
    look(SHARED, &format!("name {address}"), WITHIN, ask).await.map_err(hangs)?
}

/// Connects to `host:port`.
///
/// # Errors
/// Nobody is there.
pub async fn tcp(address: &str) -> io::Result<TcpStream> {
    TcpStream::connect(resolve(address).await?.as_slice()).await
}

/// Connects to a socket in the file system.
///
/// # Errors
/// Nobody listens there, or his queue is full.
pub async fn unix(path: &Path) -> io::Result<UnixStream> {
    let own = path.to_owned();
    let connect = move || -> io::Result<OwnedFd> {
        doing(format_args!("connecting to {}", own.display()));
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let socket = rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
        rustix::net::connect(&socket, &SocketAddrUnix::new(own.as_path())?)?;
        Ok(socket)
    };
    let socket = look(SHARED, &format!("socket {}", path.display()), WITHIN, connect).await.map_err(hangs)??;
    UnixStream::from_std(socket.into())
}

/// A socket that others connect to by [`Pinned::path`], which leads to it without any directory.
#[derive(Debug)]
pub struct Pinned(OwnedFd);

impl Pinned {
    /// Finds the socket.
    ///
    /// # Errors
    /// It is not there.
    pub async fn find(path: &Path) -> io::Result<Self> {
        let own = path.to_owned();
        let open = move || {
            doing(format_args!("looking at {}", own.display()));
            openat(CWD, &own, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())
        };
        let found = look(SHARED, &format!("socket {}", path.display()), WITHIN, open).await.map_err(hangs)?;
        Ok(Self(found?))
    }

    /// Where it is, as long as this is there.
    #[must_use]
    pub fn path(&self) -> PathBuf {
        format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&self.0)).into()
    }
}

/// A stream from which so much is taken and no more.
#[derive(Debug)]
pub struct Counted<S> {
    stream: S,
    left: u64,
}

impl<S> Counted<S> {
    /// Takes so many bytes from it.
    pub const fn new(stream: S, most: u64) -> Self {
        Self { stream, left: most }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Counted<S> {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        std::task::ready!(Pin::new(&mut self.stream).poll_read(context, buffer))?;
        let read = (buffer.filled().len() - before) as u64;
        match self.left.checked_sub(read) {
            Some(left) => self.left = left,
            None => {
                // Who fails has read nothing.
                buffer.set_filled(before);
                return Poll::Ready(Err(io::Error::other("it says more than a probe wants to know")));
            }
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Counted<S> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;

    #[tokio::test]
    async fn who_says_too_much_is_not_heard_to_the_end() {
        let (mut one, other) = tokio::io::duplex(64);
        let talk = tokio::spawn(async move { while one.write_all(&[0; 64]).await.is_ok() {} });
        let mut heard = Vec::new();
        let why = Counted::new(other, 1000).read_to_end(&mut heard).await.unwrap_err();
        assert!(why.to_string().contains("more than a probe wants") && heard.len() <= 1064, "{why}");
        talk.await.unwrap();
    }

    #[tokio::test]
    async fn sockets_are_reached_by_path_and_by_name() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("socket");
        let _listener = std::os::unix::net::UnixListener::bind(&path).unwrap();
        unix(&path).await.unwrap();
        let pinned = Pinned::find(&path).await.unwrap();
        std::os::unix::net::UnixStream::connect(pinned.path()).unwrap();
        assert!(unix(&place.path().join("none")).await.unwrap_err().to_string().contains("No such file"));
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        tcp(&format!("localhost:{}", listener.local_addr().unwrap().port())).await.unwrap();
    }
}
