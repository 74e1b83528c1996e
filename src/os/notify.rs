//! What units tell with sd_notify(3), and who says it.
#![expect(unsafe_code, reason = "the safe recvmsg(2) holds no process 0, which is how the kernel shows those of other name spaces")]

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd as _, OwnedFd};
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

/// What notices say together: of each kind the last one counts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Told {
    /// It is ready.
    pub ready: bool,
    /// It is alive.
    pub beat: bool,
    /// It knows itself to be broken.
    pub trigger: bool,
    /// Its main process.
    pub main_pid: Option<u32>,
    /// What it is doing.
    pub status: Option<String>,
}

impl Told {
    /// Adds what came later. What nothing follows from is left out.
    pub fn add(&mut self, notices: Vec<Notice>) {
        for notice in notices {
            match notice {
                Notice::Ready => self.ready = true,
                Notice::Watchdog => self.beat = true,
                Notice::WatchdogTrigger => self.trigger = true,
                Notice::MainPid(pid) => self.main_pid = Some(pid),
                Notice::Status(text) => self.status = Some(text),
                Notice::Reloading | Notice::Stopping | Notice::Errno(_) | Notice::ExtendTimeout(_) => {}
            }
        }
    }

    /// Whether there is nothing to tell.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// A datagram, and who has sent it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Heard {
    /// What it says.
    pub notices: Vec<Notice>,
    /// The process that sent it; 0 if that cannot be told.
    pub sender: u32,
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
    pub async fn peek(&self) -> io::Result<Heard> {
        self.socket.async_io(Interest::READABLE, || self.look()).await
    }

    fn look(&self) -> io::Result<Heard> {
        let mut buffer = [0_u8; DATAGRAM_MAX];
        // Room for who sends, and for nothing else: descriptors that come along are not taken.
        let mut control = Control { bytes: [0; CONTROL] };
        let mut piece = libc::iovec { iov_base: buffer.as_mut_ptr().cast(), iov_len: buffer.len() };
        // SAFETY: the structure is valid when zeroed.
        let mut message: libc::msghdr = unsafe { MaybeUninit::zeroed().assume_init() };
        (message.msg_iov, message.msg_iovlen) = (&raw mut piece, 1);
        // SAFETY: every bit pattern of the union is an array of bytes.
        message.msg_control = unsafe { control.bytes.as_mut_ptr() }.cast();
        message.msg_controllen = CONTROL;
        // SAFETY: all pointers of the message are to live memory, of the lengths that are said.
        let length = unsafe { libc::recvmsg(self.socket.as_raw_fd(), &raw mut message, libc::MSG_PEEK | libc::MSG_DONTWAIT) };
        let length = usize::try_from(length).map_err(|_| io::Error::last_os_error())?;
        Ok(Heard { notices: parse(&buffer[..length]), sender: sender(&message) })
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

/// How many bytes it takes to say who sends.
#[expect(clippy::cast_possible_truncation, reason = "a structure of twelve bytes")]
const CONTROL: usize = {
    // SAFETY: it only adds.
    unsafe { libc::CMSG_SPACE(size_of::<libc::ucred>() as u32) as usize }
};

/// Bytes that lie as the kernel wants them.
#[repr(C)]
union Control {
    bytes: [u8; CONTROL],
    _align: libc::cmsghdr,
}

fn sender(message: &libc::msghdr) -> u32 {
    // SAFETY: the kernel has filled in the message, whose control bytes live as long as it is used here; what lies there need not be aligned.
    unsafe {
        let header = libc::CMSG_FIRSTHDR(message);
        if header.is_null() || (*header).cmsg_level != libc::SOL_SOCKET || (*header).cmsg_type != libc::SCM_CREDENTIALS {
            return 0;
        }
        libc::CMSG_DATA(header).cast::<libc::ucred>().read_unaligned().pid.cast_unsigned()
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixDatagram;

    use super::{DATAGRAM_MAX, Duration, Heard, Notice, NotifySocket, STATUS_MAX, Told, parse};

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
        assert_eq!(socket.peek().await.unwrap().notices, [Notice::Ready]);
        assert_eq!(socket.peek().await.unwrap().notices, [Notice::Ready]);
        drop(socket);
        let socket = NotifySocket::new(ours.into()).unwrap();
        assert_eq!(socket.peek().await.unwrap().notices, [Notice::Ready], "for the next brain too");
        assert!(!socket.is_empty());
        socket.consume().unwrap();
        assert_eq!(socket.peek().await.unwrap().notices, [Notice::Status("up".into())]);
        socket.consume().unwrap();
        assert!(socket.is_empty());
        socket.consume().unwrap();
        let later = tokio::spawn(async move { socket.peek().await });
        tokio::task::yield_now().await;
        theirs.send(b"STOPPING=1").unwrap();
        assert_eq!(later.await.unwrap().unwrap().notices, [Notice::Stopping]);
    }

    #[test]
    fn of_each_kind_the_last_counts() {
        let mut told = Told::default();
        told.add(parse(b"RELOADING=1\nERRNO=2"));
        assert!(told.is_empty());
        told.add(parse(b"MAINPID=41\nSTATUS=a\nMAINPID=42"));
        told.add(parse(b"STATUS=b\nWATCHDOG=1\nREADY=1"));
        let expect = Told { ready: true, beat: true, main_pid: Some(42), status: Some("b".into()), trigger: false };
        assert_eq!(told, expect);
    }

    #[tokio::test]
    async fn who_sends_is_told_and_descriptors_are_not_taken() {
        use std::os::fd::AsFd as _;
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("s");
        let socket = NotifySocket::new(crate::os::sd_notify::bind(&path, None).unwrap()).unwrap();
        let open = || std::fs::read_dir("/proc/self/fd").unwrap().count();
        let before = open();
        let sender = crate::os::sd_notify::sender().unwrap();
        let address = crate::os::sd_notify::address(&path).unwrap();
        crate::os::sd_notify::send(&sender, &address, "READY=1", &[sender.as_fd(), sender.as_fd()]).unwrap();
        drop(sender);
        let heard = socket.peek().await.unwrap();
        assert_eq!(heard, Heard { notices: vec![Notice::Ready], sender: std::process::id() });
        socket.consume().unwrap();
        assert_eq!(open(), before);
    }
}
