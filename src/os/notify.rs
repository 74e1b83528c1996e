//! What units tell with sd_notify(3).

use std::io;
use std::os::fd::OwnedFd;
use std::time::Duration;

use rustix::net::{RecvFlags, recv};
use tokio::io::Interest;
use tokio::net::UnixDatagram;

/// The longest datagram that is looked at; of a longer one the rest is ignored.
pub const DATAGRAM_MAX: usize = 4096;

/// The longest status text kept, in bytes.
pub const STATUS_MAX: usize = 1024;

/// One assignment of a datagram.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Notice {
    /// `READY=1`: it has started, or finished reloading.
    Ready,
    /// `RELOADING=1`: it reads its configuration again.
    Reloading,
    /// `STOPPING=1`: it is about to end.
    Stopping,
    /// `STATUS=…`: what it is doing, for people.
    Status(String),
    /// `ERRNO=…`: why it failed.
    Errno(i32),
    /// `MAINPID=…`: another process is the main one.
    MainPid(u32),
    /// `WATCHDOG=1`: it is alive.
    Watchdog,
    /// `WATCHDOG=trigger`: it knows itself to be broken.
    WatchdogTrigger,
    /// `EXTEND_TIMEOUT_USEC=…`: starting or stopping takes so much longer.
    ExtendTimeout(Duration),
}

/// Reads the assignments of a datagram. What is unknown or malformed is ignored, as systemd does.
#[must_use]
pub fn parse(datagram: &[u8]) -> Vec<Notice> {
    let text = String::from_utf8_lossy(&datagram[..datagram.len().min(DATAGRAM_MAX)]);
    text.lines().filter_map(notice).collect()
}

fn notice(line: &str) -> Option<Notice> {
    match line.split_once('=')? {
        ("READY", "1") => Some(Notice::Ready),
        ("RELOADING", "1") => Some(Notice::Reloading),
        ("STOPPING", "1") => Some(Notice::Stopping),
        ("STATUS", text) => Some(Notice::Status(text[..text.floor_char_boundary(STATUS_MAX)].to_owned())),
        ("ERRNO", number) => number.parse().ok().filter(|number| (1..=4095).contains(number)).map(Notice::Errno),
        ("MAINPID", pid) => pid.parse().ok().filter(|&pid: &u32| pid > 1 && pid <= i32::MAX.cast_unsigned()).map(Notice::MainPid),
        ("WATCHDOG", "1") => Some(Notice::Watchdog),
        ("WATCHDOG", "trigger") => Some(Notice::WatchdogTrigger),
        ("EXTEND_TIMEOUT_USEC", number) => number.parse().ok().map(|micros| Notice::ExtendTimeout(Duration::from_micros(micros))),
        _ => None,
    }
}

/// A unit's notification socket, whose other holder is the launcher.
///
/// Whoever reads peeks, acts, and only then consumes: killed in between, the next one finds the datagram again.
#[derive(Debug)]
pub struct NotifySocket {
    socket: UnixDatagram,
}

impl NotifySocket {
    /// Takes a datagram socket; must be called within a tokio runtime.
    ///
    /// # Errors
    /// When it cannot be registered with the runtime.
    pub fn new(socket: OwnedFd) -> io::Result<Self> {
        rustix::io::ioctl_fionbio(&socket, true)?;
        Ok(Self { socket: UnixDatagram::from_std(socket.into())? })
    }

    /// Waits for a datagram and reads it without taking it away. Descriptors sent along are not accepted; the kernel closes them
    /// when the datagram is consumed, which is what `sd_notify_barrier(3)` waits for.
    ///
    /// # Errors
    /// When the socket is broken.
    pub async fn peek(&self) -> io::Result<Vec<Notice>> {
        let mut buffer = [0; DATAGRAM_MAX];
        let flags = RecvFlags::PEEK | RecvFlags::DONTWAIT;
        let length = self.socket.async_io(Interest::READABLE, || Ok(recv(&self.socket, &mut buffer[..], flags)?.0)).await?;
        Ok(parse(&buffer[..length]))
    }

    /// Whether there is no datagram, as far as can be told.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        recv(&self.socket, &mut [0; 1], RecvFlags::PEEK | RecvFlags::DONTWAIT).is_err()
    }

    /// Takes away the datagram that was peeked at. Never waits; without a datagram it does nothing.
    ///
    /// # Errors
    /// When the socket is broken.
    pub fn consume(&self) -> io::Result<()> {
        match recv(&self.socket, &mut [0; 1], RecvFlags::DONTWAIT) {
            Ok(_) | Err(rustix::io::Errno::AGAIN) => Ok(()),
            Err(errno) => Err(errno.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixDatagram;

    use super::{DATAGRAM_MAX, Duration, Notice, NotifySocket, STATUS_MAX, parse};

    #[test]
    fn datagrams_parse() {
        let all = b"READY=1\nSTATUS=serving on \xff port\nMAINPID=42\nWATCHDOG=1\nEXTEND_TIMEOUT_USEC=1500000\nERRNO=2\nSTOPPING=1\nRELOADING=1\nWATCHDOG=trigger";
        let expected = vec![
            Notice::Ready,
            Notice::Status("serving on \u{fffd} port".into()),
            Notice::MainPid(42),
            Notice::Watchdog,
            Notice::ExtendTimeout(Duration::from_millis(1500)),
            Notice::Errno(2),
            Notice::Stopping,
            Notice::Reloading,
            Notice::WatchdogTrigger,
        ];
        assert_eq!(parse(all), expected);
    }

    #[test]
    fn nonsense_is_ignored() {
        for nonsense in
            ["", "\n\n", "READY", "READY=0", "READY=1 ", "FDSTORE=1", "MAINPID=1", "MAINPID=-3", "MAINPID=x", "ERRNO=99999", "=", "X=Y"]
        {
            assert_eq!(parse(nonsense.as_bytes()), [], "{nonsense:?}");
        }
        let long = format!("STATUS={}\nREADY=1", "ä".repeat(DATAGRAM_MAX));
        let notices = parse(long.as_bytes());
        assert_eq!(notices, [Notice::Status("ä".repeat(STATUS_MAX / 2))]);
    }

    #[tokio::test]
    async fn what_is_not_consumed_comes_again() {
        let (ours, theirs) = UnixDatagram::pair().unwrap();
        let socket = NotifySocket::new(ours.try_clone().unwrap().into()).unwrap();
        theirs.send(b"READY=1").unwrap();
        theirs.send(b"STATUS=up").unwrap();
        assert_eq!(socket.peek().await.unwrap(), [Notice::Ready]);
        assert_eq!(socket.peek().await.unwrap(), [Notice::Ready]);
        drop(socket);
        let socket = NotifySocket::new(ours.into()).unwrap();
        assert_eq!(socket.peek().await.unwrap(), [Notice::Ready], "for the next brain too");
        assert!(!socket.is_empty());
        socket.consume().unwrap();
        assert_eq!(socket.peek().await.unwrap(), [Notice::Status("up".into())]);
        socket.consume().unwrap();
        assert!(socket.is_empty());
        socket.consume().unwrap();
        let later = tokio::spawn(async move { socket.peek().await });
        tokio::task::yield_now().await;
        theirs.send(b"STOPPING=1").unwrap();
        assert_eq!(later.await.unwrap().unwrap(), [Notice::Stopping]);
    }
}
