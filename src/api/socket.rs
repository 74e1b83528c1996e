//! Where the daemon listens.
#![expect(clippy::disallowed_methods, reason = "a socket is a file")]

use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{FileTypeExt as _, PermissionsExt as _};
use std::path::Path;
use std::time::Duration;

use rustix::net::{AddressFamily, SocketType, sockopt};
use tokio::net::{TcpListener, UnixListener, UnixStream};

use crate::os::clock;
use crate::os::paths::SOCKET_PATH_MAX;

/// How long whoever answers on the control socket may take to go. There is one daemon for a state directory, so it is about to.
const LEAVES_WITHIN: Duration = Duration::from_secs(5);

/// How often that is looked at.
const LOOK_AGAIN: Duration = Duration::from_millis(20);

/// Whom the mode of the control socket lets in: its owner and its group.
const MODE: u32 = 0o660;

/// What it is called until it is complete: no longer than its own name, so that the path is not, either.
const NEW: &str = "control.new";

/// Listens on the control socket. A socket that nobody listens on any more is replaced.
///
/// # Errors
/// A sentence that says why that cannot be.
pub async fn bind_control(path: &Path) -> Result<UnixListener, String> {
    let shown = path.display();
    let length = path.as_os_str().len();
    if length > SOCKET_PATH_MAX {
        return Err(format!("cannot listen on {shown}: the path has {length} bytes and the kernel allows {SOCKET_PATH_MAX}"));
    }
    look_for_others(path).await?;
    // Made beside it and put in its place: it is there all the time, with its mode, for whoever connects and whoever hides it.
    let new = path.with_file_name(NEW);
    match std::fs::remove_file(&new) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(format!("cannot remove {}: {error}", new.display())),
        _ => {}
    }
    let listener = UnixListener::bind(&new).map_err(|error| match error.kind() {
        io::ErrorKind::PermissionDenied => format!("cannot listen on {shown}: no permission to make a socket in its directory"),
        io::ErrorKind::NotFound => format!("cannot listen on {shown}: its directory does not exist"),
        _ => format!("cannot listen on {shown}: {error}"),
    })?;
    std::fs::set_permissions(&new, std::fs::Permissions::from_mode(MODE))
        .map_err(|error| format!("cannot set the permissions of {}: {error}", new.display()))?;
    std::fs::rename(&new, path).map_err(|error| format!("cannot put the new socket in the place of {shown}: {error}"))?;
    Ok(listener)
}

/// Finds fault if somebody listens there, or if what is there is no socket.
async fn look_for_others(path: &Path) -> Result<(), String> {
    let shown = path.display();
    match std::fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(format!("cannot listen on {shown}: {error}")),
        Ok(metadata) if !metadata.file_type().is_socket() => return Err(format!("cannot listen on {shown}: a file is in the way")),
        Ok(_) => {}
    }
    let patience = clock::mono() + LEAVES_WITHIN;
    loop {
        match UnixStream::connect(path).await {
            // A brain that was killed a moment ago: the kernel has not ended all of its threads.
            Ok(_) if clock::mono() < patience => tokio::time::sleep(LOOK_AGAIN).await,
            Ok(_) => return Err(format!("cannot listen on {shown}: another daemon answers there")),
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => return Ok(()),
            Err(error) => return Err(format!("cannot listen on {shown}: cannot tell whether somebody answers there: {error}")),
        }
    }
}

/// The control socket that systemd listens on for us.
///
/// # Errors
/// It is none.
pub fn passed_control(socket: &OwnedFd) -> Result<UnixListener, String> {
    let listener = std::os::unix::net::UnixListener::from(passed(socket, "control", AddressFamily::UNIX)?);
    listener.set_nonblocking(true).and_then(|()| UnixListener::from_std(listener)).map_err(|error| no_use("control", &error))
}

/// The socket for metrics and health that systemd listens on for us.
///
/// # Errors
/// It is none.
pub fn passed_public(socket: &OwnedFd) -> Result<TcpListener, String> {
    let family = sockopt::socket_domain(socket).map_err(|errno| no_use("metrics", &errno.into()))?;
    let family = if family == AddressFamily::INET6 { family } else { AddressFamily::INET };
    let listener = std::net::TcpListener::from(passed(socket, "metrics", family)?);
    listener.set_nonblocking(true).and_then(|()| TcpListener::from_std(listener)).map_err(|error| no_use("metrics", &error))
}

/// A descriptor of its own for a socket that is listened on; the next incarnation of whoever serves it gets another.
fn passed(socket: &OwnedFd, name: &str, family: AddressFamily) -> Result<OwnedFd, String> {
    let is_right = || {
        let is_stream = sockopt::socket_type(socket)? == SocketType::STREAM && sockopt::socket_acceptconn(socket)?;
        Ok::<_, io::Error>(is_stream && sockopt::socket_domain(socket)? == family)
    };
    match is_right() {
        Ok(true) => socket.try_clone().map_err(|error| no_use(name, &error)),
        Ok(false) => Err(format!(
            "cannot use the socket {name} that systemd passes on: ListenStream= must name {}",
            match name {
                "control" => "a path",
                _ => "a TCP port",
            }
        )),
        Err(error) => Err(no_use(name, &error)),
    }
}

fn no_use(name: &str, error: &io::Error) -> String {
    format!("cannot use the socket {name} that systemd passes on: {error}")
}

/// Listens where metrics and health are served.
///
/// # Errors
/// A sentence that says why that cannot be.
pub async fn bind_public(address: SocketAddr) -> Result<TcpListener, String> {
    TcpListener::bind(address).await.map_err(|error| match error.kind() {
        io::ErrorKind::AddrInUse => {
            format!("cannot serve metrics and health on {address}: another program listens there; choose another address with `--listen` or `listen:` in daemon.yaml")
        }
        _ => format!("cannot serve metrics and health on {address}: {error}"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_dead_socket_is_replaced_and_a_live_one_is_not() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("control.sock");
        drop(bind_control(&path).await.unwrap());
        let listener = bind_control(&path).await.unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, MODE);
        assert!(bind_control(&path).await.unwrap_err().ends_with("another daemon answers there"));
        drop(listener);
        std::fs::remove_file(&path).unwrap();
        std::fs::write(&path, "").unwrap();
        assert!(bind_control(&path).await.unwrap_err().ends_with("a file is in the way"));
    }

    #[tokio::test]
    async fn what_cannot_be_bound_is_told() {
        let long = "x".repeat(SOCKET_PATH_MAX);
        let text = bind_control(&Path::new("/").join(long)).await.unwrap_err();
        assert!(text.ends_with("the path has 108 bytes and the kernel allows 107"), "{text}");
        let text = bind_control(Path::new("/nonexistent/control.sock")).await.unwrap_err();
        assert!(text.ends_with("its directory does not exist"), "{text}");
        let taken = bind_public(([127, 0, 0, 1], 0).into()).await.unwrap();
        let text = bind_public(taken.local_addr().unwrap()).await.unwrap_err();
        assert!(text.contains("another program listens there"), "{text}");
    }
}
